import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { readOwnership } from './ownership.ts';

const AS_PUBLISHED = { claimOwnership: false, uidMap: undefined, gidMap: undefined, worldReadable: false };

test('without any setting files are shown as they were published', () => {
  assert.equal(readOwnership(AS_PUBLISHED), undefined);
});

test('maps come from their files', (t) => {
  const gidMap = join(scratchFolder(t), 'gids');
  writeFileSync(gidMap, '1 2\n');
  assert.deepEqual(readOwnership({ ...AS_PUBLISHED, gidMap })?.gids, {
    ids: new Map([[1, 2]]),
    others: undefined,
  });
  writeFileSync(gidMap, 'staff 2\n');
  assert.throws(() => readOwnership({ ...AS_PUBLISHED, gidMap }), { code: 'FORMAT' });
});

test('a map that is not there is named', () => {
  assert.throws(() => readOwnership({ ...AS_PUBLISHED, uidMap: '/none/uids' }), {
    code: 'NOT_FOUND',
    message: /\/none\/uids/,
  });
});

test('who claims ownership is who mounts', () => {
  const claimed = readOwnership({ ...AS_PUBLISHED, claimOwnership: true, worldReadable: true });
  assert.deepEqual(claimed?.everythingOf, { uid: process.getuid!(), gid: process.getgid!() });
  assert.equal(claimed.isWorldReadable, true);
});
