import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import {
  assertSound,
  collect,
  DAY,
  neededObjects,
  type Published,
  publishDaily,
  treeOf,
} from '../../test/support/garbage.ts';
import { replicate } from '../../test/support/replica.ts';
import { objectsOf } from '../../test/support/storage-place.ts';
import type { RecordedObject, Recording } from '../client/profile/recording.ts';

import { type ContentHash, NULL_HASH, objectPath } from '../core/content-hash.ts';
import { type ErrorCode, ThimbleError } from '../core/errors.ts';
import { decodeProfileIndex, type ProfileIndex } from '../core/profile-index.ts';
import { decodeProfileTable, placeObjects } from '../core/profile-table.ts';
import { parseObjectPath } from '../storage/object-set.ts';
import { publishProfile, removeProfiles } from './profiles.ts';

const refused = (code: ErrorCode) => (error: unknown) => error instanceof ThimbleError && error.code === code;

/** Every catalog and content of the newest snapshot, backwards. */
function everything(repository: Published): readonly RecordedObject[] {
  return neededObjects(repository.storage)
    .toReversed()
    .filter((path) => ['', 'C', 'P'].includes(parseObjectPath(path)!.type))
    .map((path) => path.replaceAll('/', '').slice('data'.length))
    .map((name) => ({
      hash: name.replace(/[CP]$/, '') as ContentHash,
      isCatalog: name.endsWith('C'),
    }));
}

const publish = (
  repository: Published,
  name: string,
  objects: readonly RecordedObject[],
  more: Partial<Recording> = {},
) =>
  publishProfile(repository.target, repository.ports, {
    name,
    recording: { fqrn: repository.settings.fqrn, rootCatalog: undefined, objects, ...more },
  });

function stored(repository: Published, hash: ContentHash): Buffer {
  return readFileSync(join(repository.storage, objectPath(hash, '')));
}

function indexOf(repository: Published): ProfileIndex {
  return decodeProfileIndex(inflateSync(stored(repository, repository.manifest().profiles!)));
}

test('a profile holds what was recorded, in its order, byte for byte', async (t) => {
  const repository = await publishDaily(t, 'ab');
  const recorded = everything(repository);
  const before = repository.manifest();
  const { profile, leftOut, replaced } = await publish(repository, 'all', recorded);
  assert.deepEqual([leftOut, replaced], [0, false]);
  const { rootCatalog, revision, publishedSeconds } = repository.manifest();
  assert.deepEqual(
    [rootCatalog, revision, publishedSeconds],
    [before.rootCatalog, before.revision, before.publishedSeconds],
  );
  assert.deepEqual(indexOf(repository).profiles, [profile]);
  const places = placeObjects(
    decodeProfileTable(inflateSync(stored(repository, profile.table))),
    profile.packs,
  );
  assert.deepEqual(
    places.map(({ hash }) => hash),
    recorded.map(({ hash }) => hash),
  );
  for (const { hash, type, pack, offset, storedBytes } of places) {
    const bytes = stored(repository, profile.packs[pack]!.hash).subarray(offset, offset + storedBytes);
    assert.ok(bytes.equals(readFileSync(join(repository.storage, objectPath(hash, type)))), hash);
  }
  await assertSound(repository.storage, repository.publicKey);
});

test('contents are found in the newest snapshot where no catalog was recorded, and unknown objects left out', async (t) => {
  const repository = await publishDaily(t, 'a');
  const contents = everything(repository).filter(({ isCatalog }) => !isCatalog);
  const unknown = { hash: NULL_HASH, isCatalog: false };
  const unknownCatalog = { hash: NULL_HASH, isCatalog: true };
  const { profile, leftOut } = await publish(repository, 'all', [unknown, unknownCatalog, ...contents]);
  assert.deepEqual([profile.objects, leftOut], [contents.length, 2]);
});

test('profiles stay when the next revision is published, and one of the same name is replaced', async (t) => {
  const repository = await publishDaily(t, 'a');
  const recorded = everything(repository);
  const first = await publish(repository, 'boot', recorded);
  await publish(repository, 'build', recorded.slice(0, 3));
  await repository.publish(treeOf('b'));
  assert.deepEqual(
    indexOf(repository).profiles.map(({ name }) => name),
    ['boot', 'build'],
  );
  const second = await publish(repository, 'boot', everything(repository));
  assert.equal(second.replaced, true);
  assert.deepEqual(indexOf(repository).profiles[0], second.profile);
  assert.ok(indexOf(repository).retired.some(({ hash }) => hash === first.profile.table));
  const removed = await removeProfiles(repository.target, repository.ports, ['boot', 'build']);
  assert.deepEqual(
    removed.map(({ name }) => name),
    ['boot', 'build'],
  );
  assert.deepEqual(indexOf(repository).profiles, []);
});

test('what cannot be a profile is refused, and nothing is published', async (t) => {
  const repository = await publishDaily(t, 'a');
  const recorded = everything(repository);
  await assert.rejects(publish(repository, 'a b', recorded), refused('USAGE'));
  await assert.rejects(publish(repository, 'x', recorded, { fqrn: 'other.example.org' }), refused('USAGE'));
  await assert.rejects(publish(repository, 'x', []), refused('NOT_FOUND'));
  await assert.rejects(removeProfiles(repository.target, repository.ports, ['x']), refused('NOT_FOUND'));
  const content = recorded.find(({ isCatalog }) => !isCatalog)!;
  for (const type of ['', 'P'] as const) {
    const path = join(repository.storage, objectPath(content.hash, type));
    if (repository.objects().includes(objectPath(content.hash, type))) writeFileSync(path, 'damaged');
  }
  await assert.rejects(publish(repository, 'x', recorded), refused('INTEGRITY'));
  const catalog = recorded.find(({ isCatalog }) => isCatalog)!;
  writeFileSync(join(repository.storage, objectPath(catalog.hash, 'C')), 'damaged');
  await assert.rejects(publish(repository, 'x', [catalog]), refused('INTEGRITY'));
  assert.equal(repository.manifest().profiles, undefined);
});

test('a garbage collection keeps profiles, and takes what they needed once when its time is over', async (t) => {
  const repository = await publishDaily(t, 'a');
  await publish(repository, 'boot', everything(repository));
  await collect(repository);
  assert.deepEqual(repository.objects(), neededObjects(repository.storage));
  await publish(repository, 'boot', everything(repository).slice(0, 2));
  const waiting = await collect(repository, { graceSeconds: DAY });
  assert.equal(waiting.waiting.objects, 3);
  assert.notDeepEqual(repository.objects(), neededObjects(repository.storage));
  repository.clock.seconds += DAY + 1;
  const report = await collect(repository, { graceSeconds: DAY });
  assert.equal(report.deleted.objects, 3);
  assert.deepEqual(repository.objects(), neededObjects(repository.storage));
  await assertSound(repository.storage, repository.publicKey);
});

test('a replica has the profiles too; without them at the source it does without', async (t) => {
  const repository = await publishDaily(t, 'a');
  await publish(repository, 'boot', everything(repository));
  writeFileSync(join(repository.storage, '.cvmfs_master_replica'), '');
  const copy = join(repository.scratch, 'copy');
  await replicate(repository, copy, { withTags: true });
  assert.deepEqual(
    neededObjects(repository.storage).filter((path) => !objectsOf(copy).includes(path)),
    [],
  );
  const { profiles } = repository.manifest();
  rmSync(join(repository.storage, objectPath(profiles!, '')));
  const poor = join(repository.scratch, 'poor');
  await replicate(repository, poor);
  assert.equal(objectsOf(poor).includes(objectPath(profiles!, '')), false);
});
