/** Deleting what is no longer needed, as somebody does it who reads docs/manual/garbage-collection.md. */

import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { CheckReport } from '../../src/client/check-repository.ts';
import type { GarbageReport } from '../../src/storage/garbage-collection.ts';
import { assertFails, soundRepository } from '../support/cli-failures.ts';
import { fileScope } from '../support/file-scope.ts';
import { neededObjects } from '../support/garbage.ts';
import { FQRN } from '../support/publisher-repository.ts';
import { objectsOf } from '../support/storage-place.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';

const { scratch, config, storage, publicKey } = await soundRepository(fileScope());
const CONFIG = ['--config', config];
const KEPT = ['--keep-revisions', '0'];

const gc = (...args: string[]) => thimble(['gc', ...args, ...CONFIG]);
const gcJson = (...args: string[]) => thimbleJson<GarbageReport>(['gc', ...args, ...CONFIG]);

/** In a second of its own: what is as old as a revision that stays, stays too. */
async function publishAgain(content: string): Promise<void> {
  await setTimeout(1000 - (Date.now() % 1000));
  writeFileSync(join(scratch, 'tree/whole'), content);
  await thimbleJson(['publish', FQRN, join(scratch, 'tree'), ...CONFIG]);
}

await publishAgain('second');
await publishAgain('third');

test('"gc" deletes nothing of the last three days', async () => {
  const before = objectsOf(storage);
  const { status, stdout, stderr } = await gc(FQRN);
  assert.equal(status, 0, stderr);
  assert.equal(stdout, 'Deleted 0 objects, 0 B, of 0 revisions\n');
  assert.match(stderr, new RegExp(`Collect garbage of ${FQRN} {2}4 revisions stay`));
  assert.deepEqual(objectsOf(storage), before);
});

test('"gc --dry-run" tells what would be deleted, and what waits', async () => {
  const before = objectsOf(storage);
  const [deletes, waits] = [
    await gc(FQRN, ...KEPT, '--dry-run', '--grace', '0'),
    await gc(FQRN, ...KEPT, '--dry-run'),
  ];
  assert.match(
    deletes.stdout,
    /^Would delete \d+ objects, [\d.]+ kB \(\d+ files, \d+ catalogs, \d+ histories\), of 2 revisions\n$/,
  );
  assert.match(
    waits.stdout,
    /^Would delete 0 .*\nNo longer needed: \d+ objects, .* of 2 revisions; to be deleted 1d after a run that is no dry one\n$/,
  );
  assert.deepEqual(objectsOf(storage), before);
});

test('"gc" by the storage folder is the same as by name: what the one begins, the other ends', async () => {
  const before = objectsOf(storage);
  const first = await gc(storage, ...KEPT, '--grace', '1h');
  assert.match(first.stdout, /; to be deleted by a run after 20\d\d-\d\d-\d\dT[\d:]+Z\n$/);
  assert.deepEqual(objectsOf(storage), before);
  assert.ok(existsSync(join(config, 'repositories', FQRN, 'gc-expired.json')));
  const report = await gcJson(FQRN, ...KEPT, '--grace', '0');
  assert.deepEqual(report.revisions, { kept: 2, waiting: 0, deleted: 2 });
  assert.equal(report.deleted.objects, before.length - objectsOf(storage).length);
  assert.deepEqual(Object.keys(report), [
    'fqrn',
    'dryRun',
    'revisions',
    'deleted',
    'waiting',
    'nextSeconds',
    'damagedCatalogs',
  ]);
  assert.deepEqual(objectsOf(storage), neededObjects(storage));
  const checked = await thimbleJson<CheckReport>(['check', FQRN, '--data', '--all-tags', ...CONFIG]);
  assert.deepEqual(checked.findings, []);
});

test('a replica is collected in its folder, with the lock of those who replicate to it', async () => {
  const replica = join(scratch, 'replica', FQRN);
  const replicate = () =>
    thimbleJson(['replicate', storage, replica, '--history', '--key', publicKey, ...CONFIG]);
  await replicate();
  await publishAgain('fourth');
  await publishAgain('fifth');
  await replicate();
  await publishAgain('sixth');
  await replicate();
  const before = objectsOf(replica);
  const report = await gcJson(replica, ...KEPT, '--grace', '0');
  assert.ok(report.revisions.deleted > 0);
  assert.ok(objectsOf(replica).length < before.length);
  assert.deepEqual(objectsOf(replica), neededObjects(replica));
  const lock = join(replica, '.thimble_replicate.lock');
  assert.equal(existsSync(lock), false);
  writeFileSync(lock, '1 elsewhere boot-id 1');
  assertFails(await gc(replica), { code: 'CONFLICT', says: /process 1 on elsewhere is changing it/ });
  rmSync(lock);
  await replicate();
  assert.deepEqual(
    (await thimbleJson<CheckReport>(['check', replica, '--key', publicKey, '--data'])).findings,
    [],
  );
});

test('a folder that is neither published from here nor a replica is refused, unless it is forced', async () => {
  const copy = join(scratch, 'copy', FQRN);
  cpSync(storage, copy, { recursive: true });
  assertFails(await gc(copy), {
    code: 'CONFLICT',
    says: /it is no replica, and not published from here/,
    hint: /--config/,
  });
  await gcJson(copy, ...KEPT, '--grace', '0', '--force');
  assert.deepEqual(objectsOf(copy), neededObjects(copy));
});

test('a reference log that is missing can be made anew', async () => {
  rmSync(join(storage, '.cvmfsreflog'));
  assertFails(await gc(FQRN), {
    code: 'NOT_FOUND',
    says: /\.cvmfsreflog is missing/,
    hint: /--rebuild-reflog/,
  });
  await gcJson(FQRN, '--rebuild-reflog');
  assert.ok(existsSync(join(storage, '.cvmfsreflog')));
});

for (const { args, code, says } of [
  { args: ['nobody.example.org'], code: 'NOT_FOUND', says: /Cannot find repository nobody\.example\.org/ },
  { args: ['./folder'], code: 'USAGE', says: /Cannot tell which repository "\.\/folder" is/ },
  { args: [FQRN, '--grace', '1w'], code: 'USAGE', says: /Cannot use "1w" as a grace period/ },
  { args: [FQRN, '--grace', '5'], code: 'USAGE', says: /Cannot use "5" as a grace period/ },
  { args: [FQRN, '--keep-days', '-1'], code: 'USAGE', says: /Cannot use "-1" as a number of days/ },
  { args: [FQRN, '--keep-revisions', 'all'], code: 'USAGE', says: /as a number of revisions/ },
] as const) {
  test(`"gc ${args.join(' ')}" is refused with ${code}`, async () => {
    assertFails(await gc(...args), { code, says });
  });
}

test('"gc" of a folder without a repository is refused and leaves it empty', async () => {
  const folder = join(scratch, 'empty', FQRN);
  mkdirSync(folder, { recursive: true });
  assertFails(await gc(folder, '--force'), { code: 'NOT_FOUND', says: /there is no repository in/ });
  assert.deepEqual(objectsAndMore(folder), []);
});

function objectsAndMore(folder: string): string[] {
  return existsSync(join(folder, 'data')) ? ['data'] : [];
}
