/** Repositories of the reference implementation, collected: with its reference log, and as a replica has them. */

import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeClock } from '../../src/node/clock.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { FolderStorage } from '../../src/storage/folder-storage.ts';
import { collectGarbage, type GarbageOptions } from '../../src/storage/garbage-collection.ts';
import { fixtureManifest, fixturePath, unpackFixture } from '../support/fixtures.ts';
import { assertSound, neededObjects } from '../support/garbage.ts';
import { memoryScratch } from '../support/scratch.ts';
import { objectsOf } from '../support/storage-place.ts';

function collect(storage: string, options: GarbageOptions = {}) {
  return collectGarbage(
    {
      fqrn: storage.split('/').at(-1)!,
      storage: new FolderStorage(storage),
      lock: `${storage}.lock`,
      state: `${storage}.gc-`,
    },
    { hashing: nodeHashing, inflating: nodeInflating, clock: nodeClock },
    // The manifests of these say that nothing may be deleted.
    { force: true, graceSeconds: 0, keepRevisions: 0, ...options },
  );
}

for (const name of ['basic', 'shake128', 'nocompress', 'overlay', 'history', 'external']) {
  test(`${name}: all that the newest revision and the tags need stays, nothing else, and it checks clean`, async (t) => {
    const storage = unpackFixture(name, memoryScratch(t));
    const before = objectsOf(storage);
    const needed = neededObjects(storage);
    for (const path of needed) assert.ok(before.includes(path), path);
    const report = await collect(storage, { unreferenced: true });
    assert.deepEqual(objectsOf(storage), needed);
    assert.equal(report.deleted.objects, before.length - needed.length);
    const { fqrn } = fixtureManifest(name);
    await assertSound(storage, join(fixturePath(name), `${fqrn}.pub`));
  });
}

test('history: the reference log that is made anew leads to the same', async (t) => {
  const scratch = memoryScratch(t);
  const storage = unpackFixture('history', scratch);
  const needed = neededObjects(storage);
  rmSync(join(storage, '.cvmfsreflog'));
  await collect(storage, { rebuildReflog: true });
  assert.deepEqual(objectsOf(storage), needed);
  assert.ok(existsSync(join(storage, '.cvmfsreflog')));
});

test('history: with all revisions kept, nothing is deleted but what a rollback left', async (t) => {
  const storage = unpackFixture('history', memoryScratch(t));
  const { revisions } = await collect(storage, { keepRevisions: 99, dryRun: true });
  const few = await collect(storage, { dryRun: true });
  assert.ok(revisions.kept > few.revisions.kept);
  assert.equal(revisions.kept + revisions.deleted, few.revisions.kept + few.revisions.deleted);
});
