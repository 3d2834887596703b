import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { storagePlace } from '../../test/support/storage-place.ts';
import { formatStatusTime, STATUS_PATH, updateStatus } from './status-file.ts';

test('updateStatus() changes some fields and keeps the others', async (t) => {
  const { storage, folder } = storagePlace(t);
  const status = () => JSON.parse(readFileSync(join(folder, STATUS_PATH), 'utf8')) as unknown;
  await updateStatus(storage, { last_gc: 'a' });
  assert.deepEqual(status(), { last_gc: 'a' });
  await updateStatus(storage, { last_snapshot: 'b' });
  await updateStatus(storage, { last_gc: 'c' });
  assert.deepEqual(status(), { last_gc: 'c', last_snapshot: 'b' });
});

test('updateStatus() writes anew what is no JSON object', async (t) => {
  const { storage, folder } = storagePlace(t);
  for (const text of ['', '{', '[1]', 'null', '"x"']) {
    writeFileSync(join(folder, STATUS_PATH), text);
    await updateStatus(storage, { last_gc: 'a' });
    assert.equal(readFileSync(join(folder, STATUS_PATH), 'utf8'), '{"last_gc":"a"}\n');
  }
});

test('formatStatusTime() writes times as date --utc does', () => {
  assert.equal(formatStatusTime(Date.UTC(2026, 10, 22, 12, 54, 10) / 1000), 'Sun Nov 22 12:54:10 UTC 2026');
  assert.equal(formatStatusTime(0), 'Thu Jan  1 00:00:00 UTC 1970');
});
