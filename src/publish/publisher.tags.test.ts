/** Tags come and go, and older trees come back. */

import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { entry, memoryTree } from '../../test/support/memory-tree.ts';
import {
  assertReadsBack,
  type PublisherRepository,
  publisherRepository,
} from '../../test/support/publisher-repository.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import { openDatabase, openObject } from '../../test/support/storage-place.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import type { PublishResult } from './publisher.ts';

const treeOf = (content: string) =>
  memoryTree([
    entry(''),
    entry('/f', { content }),
    entry('/n'),
    entry('/n/.cvmfscatalog', { content: '' }),
    entry('/n/f', { content }),
  ]);
const named = (name: string, description = '') => ({ name, description });

interface Place extends PublisherRepository {
  /** Of revisions 1, 2 and 3, tagged v1, v2 and v3, 100 seconds apart. */
  readonly published: readonly PublishResult[];
  readonly scratch: string;
}

async function threeRevisions(t: TestContext): Promise<Place> {
  const scratch = memoryScratch(t);
  const repository = await publisherRepository(scratch);
  const published = [];
  for (const name of ['v1', 'v2', 'v3']) {
    repository.clock.seconds += 100;
    published.push(await repository.publish(treeOf(name), { tag: named(name, `the ${name}`) }));
  }
  repository.clock.seconds += 100;
  return { ...repository, published, scratch };
}

/** `name revision`, in the order of names. */
function tagsOf({ storage, scratch, manifest }: Place): string[] {
  const database = openObject(storage, manifest().history!, 'H', scratch);
  const rows = database.prepare('SELECT name, revision FROM tags ORDER BY name').all();
  database.close();
  return rows.map((row) => `${row['name']} ${row['revision']}`);
}

function propertiesOf(
  { storage, scratch }: Place,
  hash: ContentHash,
  type: 'C' | 'H',
): Record<string, unknown> {
  const database = openObject(storage, hash, type, scratch);
  const rows = database.prepare('SELECT key, value FROM properties').all();
  database.close();
  return Object.fromEntries(rows.map((row) => [row['key'], row['value']]));
}

function isInReflog({ storage, scratch }: Place, hash: ContentHash): boolean {
  const database = openDatabase(readFileSync(join(storage, '.cvmfsreflog')), scratch);
  const row = database.prepare('SELECT type FROM refs WHERE hash = ?').get(hash);
  database.close();
  return row !== undefined;
}

test('a tag is added to the newest snapshot: a history and a manifest are written, nothing else changes', async (t) => {
  const place = await threeRevisions(t);
  const before = place.manifest();
  const objects = place.objects();
  const added = await place.publisher().addTag(named('stable', 'tested'));
  assert.deepEqual(added, {
    name: 'stable',
    description: 'tested',
    rootCatalog: before.rootCatalog,
    rootCatalogSizeBytes: before.rootCatalogSizeBytes,
    revision: 3,
    timestampSeconds: 1_750_000_300,
    branch: '',
  });
  const { history, publishedSeconds, reflog } = place.manifest();
  assert.deepEqual(place.manifest(), { ...before, history, publishedSeconds, reflog });
  assert.equal(publishedSeconds, 1_750_000_400);
  assert.notEqual(reflog, before.reflog);
  assert.deepEqual(
    place.objects().filter((path) => !objects.includes(path)),
    [objectPath(history!, 'H')],
  );
  assert.equal(propertiesOf(place, history!, 'H')['previous_revision'], before.history);
  assert.ok(isInReflog(place, history!));
  assert.deepEqual(tagsOf(place), ['stable 3', 'trunk 3', 'trunk-previous 2', 'v1 1', 'v2 2', 'v3 3']);
});

test('a tag is added to the snapshot of another tag, of a date or of a root hash', async (t) => {
  const place = await threeRevisions(t);
  const rootHash = place.published[0]!.rootCatalog;
  await place.publisher().addTag(named('by-tag'), { tag: 'v2' });
  await place.publisher().addTag(named('by-date'), { dateSeconds: 1_750_000_250 });
  const added = await place.publisher().addTag(named('by-hash'), { rootHash });
  assert.deepEqual([added.rootCatalog, added.timestampSeconds], [rootHash, 1_750_000_100]);
  const tags = tagsOf(place).filter((text) => text.startsWith('by-'));
  assert.deepEqual(tags, ['by-date 2', 'by-hash 1', 'by-tag 2']);
});

test('addTag() refuses what it cannot name, and the storage stays as it is', async (t) => {
  const place = await threeRevisions(t);
  const nested = openObject(place.storage, place.manifest().rootCatalog, 'C', place.scratch);
  const child = nested.prepare('SELECT sha1 FROM nested_catalogs').get()!['sha1'] as ContentHash;
  nested.close();
  const manifest = place.manifest();
  const missing = `${'a'.repeat(40)}-shake128` as ContentHash;
  for (const [name, selection, code, message] of [
    ['v1', {}, 'CONFLICT', /^Cannot add tag v1: it is the name of revision 1$/],
    ['trunk', {}, 'USAGE', /^Cannot use trunk as a tag/],
    ['a b', {}, 'USAGE', /^Cannot use "a b" as a tag$/],
    ['new', { tag: 'nope' }, 'NOT_FOUND', /^Cannot find tag "nope"/],
    ['new', { dateSeconds: 5 }, 'NOT_FOUND', /^Cannot find a snapshot .* as old as/],
    [
      'new',
      { rootHash: missing },
      'NOT_FOUND',
      /^Cannot add tag new: there is no catalog a{40}-shake128 in /,
    ],
    ['new', { rootHash: child }, 'USAGE', /^Cannot add a tag to .*: it is the catalog of \/n$/],
  ] as const) {
    await assert.rejects(place.publisher().addTag(named(name), selection), { code, message });
  }
  assert.deepEqual(place.manifest(), manifest);
});

test('tags are removed, all or none, and their snapshots stay', async (t) => {
  const place = await threeRevisions(t);
  const manifest = place.manifest();
  for (const [names, code] of [
    [['v1', 'nope'], 'NOT_FOUND'],
    [['v1', 'trunk'], 'USAGE'],
    [['trunk-previous'], 'USAGE'],
  ] as const) {
    await assert.rejects(place.publisher().removeTags(names), { code });
  }
  assert.deepEqual(place.manifest(), manifest);
  const removed = await place.publisher().removeTags(['v1', 'v3', 'v1']);
  assert.deepEqual(removed.map(({ name }) => name).sort(), ['v1', 'v3']);
  assert.deepEqual(tagsOf(place), ['trunk 3', 'trunk-previous 2', 'v2 2']);
  assert.equal(place.manifest().rootCatalog, manifest.rootCatalog);
  assert.ok((await place.read(place.published[0]!.rootCatalog)).has('/n/f'));
});

test('rollback() publishes an older tree as the next revision, moves its tag and removes younger ones', async (t) => {
  const place = await threeRevisions(t);
  await place.publisher().addTag(named('alias'), { tag: 'v1' });
  const before = place.manifest();
  const objects = place.objects();
  const result = await place.publisher().rollback('v1');
  assert.equal(result.revision, 4);
  assert.deepEqual([result.target.name, result.target.revision], ['v1', 1]);
  assert.deepEqual(result.removedTags.toSorted(), ['v2', 'v3']);
  const { revision, rootCatalog, history } = place.manifest();
  assert.deepEqual([revision, rootCatalog], [4, result.rootCatalog]);
  assert.deepEqual(
    place.objects().filter((path) => !objects.includes(path)),
    [objectPath(rootCatalog, 'C'), objectPath(history!, 'H')].sort(),
  );
  assert.deepEqual(propertiesOf(place, rootCatalog, 'C'), {
    ...propertiesOf(place, place.published[0]!.rootCatalog, 'C'),
    revision: '4',
    last_modified: '1750000400',
    previous_revision: before.rootCatalog,
  });
  assert.ok(isInReflog(place, rootCatalog) && isInReflog(place, history!));
  assert.deepEqual(tagsOf(place), ['alias 1', 'trunk 4', 'v1 4']);
  await assertReadsBack(place, treeOf('v1'));
});

test('rollback() undoes the last publish where nothing else is said; the next publish can be undone again', async (t) => {
  const place = await threeRevisions(t);
  assert.equal((await place.publisher().rollback()).target.revision, 2);
  await assertReadsBack(place, treeOf('v2'));
  assert.deepEqual(tagsOf(place), ['trunk 4', 'v1 1', 'v2 2']);
  await assert.rejects(place.publisher().rollback(), {
    code: 'NOT_FOUND',
    message: /^Cannot find tag "trunk-previous"/,
  });
  const next = await place.publish(treeOf('v5'));
  assert.equal(next.revision, 5);
  assert.deepEqual(tagsOf(place), ['trunk 5', 'trunk-previous 4', 'v1 1', 'v2 2']);
  await place.publisher().rollback();
  await assertReadsBack(place, treeOf('v2'));
});

test('rollback() refuses the newest revision, and a snapshot whose catalog is gone', async (t) => {
  const place = await threeRevisions(t);
  const manifest = place.manifest();
  for (const name of ['trunk', 'v3']) {
    await assert.rejects(place.publisher().rollback(name), {
      code: 'CONFLICT',
      message: `Cannot roll back to ${name}: it is the newest revision already`,
    });
  }
  rmSync(join(place.storage, objectPath(place.published[0]!.rootCatalog, 'C')));
  await assert.rejects(place.publisher().rollback('v1'), { code: 'NOT_FOUND' });
  assert.deepEqual(place.manifest(), manifest);
});
