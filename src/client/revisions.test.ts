import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openClient } from '../../test/support/client-repository.ts';
import { fixturePath, unpackFixture } from '../../test/support/fixtures.ts';
import { entry, memoryTree } from '../../test/support/memory-tree.ts';
import { FQRN, publisherRepository } from '../../test/support/publisher-repository.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { parseFqrn } from '../core/fqrn.ts';
import { findRevision, listRevisions, type Revision } from './revisions.ts';

/** Written by the reference: five releases, then a rollback to v2. */
function golden(t: TestContext) {
  const storage = unpackFixture('history', scratchFolder(t));
  const publicKey = readFileSync(fixturePath('history/history.peer.test.pub'));
  const { repository } = openClient({ fqrn: parseFqrn('history.peer.test'), storage, publicKey });
  return { storage, repository };
}

const summary = (revisions: readonly Revision[]) =>
  revisions.map(({ revision, tags }) => [revision, ...tags].join(' '));

const ALL = ['6 v2 trunk', '5', '4', '3 v2-alias', '2 v1', '1 generic-2026-11-22T14:12:51Z'];

test('listRevisions() finds those without a tag in older histories, newest first', async (t) => {
  const revisions = await listRevisions(golden(t).repository);
  assert.deepEqual(summary(revisions), ALL);
  assert.deepEqual(revisions[0], {
    revision: 6,
    timestampSeconds: 1_795_356_793,
    rootCatalog: 'd4c599eebf158bc195754af5c6a116bc20040c5c',
    tags: ['v2', 'trunk'],
    message: 'second_release_changes_and_removals',
  });
});

test('listRevisions() loads no more histories than it needs', async (t) => {
  const { repository, storage } = golden(t);
  // Of revision 4.
  const hash = 'd364aec0c2ae0f1625e74a105dbe53c630478cec' as ContentHash;
  rmSync(join(storage, objectPath(hash, 'H')));
  assert.deepEqual(summary(await listRevisions(repository, 2)), ALL.slice(0, 2));
});

test('listRevisions() goes as far back as histories are kept, and knows those with tags', async (t) => {
  const { repository, storage } = golden(t);
  // The one before the rollback.
  const hash = '1836b2669ae0fae9d9249e433444fddfdc017bba' as ContentHash;
  rmSync(join(storage, objectPath(hash, 'H')));
  assert.deepEqual(
    summary(await listRevisions(repository)),
    ALL.filter((text) => text !== '5' && text !== '4'),
  );
});

test('listRevisions() gives a revision all its names, and their messages once', async (t) => {
  const { publisher, publish, storage, publicKey } = await publisherRepository(memoryScratch(t));
  await publish(memoryTree([entry(''), entry('/a')]), { tag: { name: 'v1', description: 'first' } });
  await publisher().addTag({ name: 'stable', description: 'tested' });
  await publisher().addTag({ name: 'also', description: 'first' });
  const { repository } = openClient({ fqrn: FQRN, storage, publicKey: readFileSync(publicKey) });
  const [newest, oldest, ...more] = await listRevisions(repository);
  assert.deepEqual(newest?.tags.toSorted(), ['also', 'stable', 'trunk', 'v1']);
  assert.equal(newest.tags.at(-1), 'trunk');
  assert.deepEqual(newest.message.split('; ').sort(), ['first', 'tested']);
  assert.deepEqual([oldest?.revision, oldest?.tags, more], [0, ['trunk-previous'], []]);
});

const CATALOG_OF = async (repository: Parameters<typeof listRevisions>[0], revision: number) =>
  (await listRevisions(repository)).find((one) => one.revision === revision)!.rootCatalog;

for (const [revision, tag] of [
  [6, 'v2'],
  [5, undefined],
  [2, 'v1'],
] as const) {
  test(`findRevision() finds revision ${revision}, ${tag === undefined ? 'which has no tag' : `which is ${tag}`}`, async (t) => {
    const { repository } = golden(t);
    const rootCatalog = await CATALOG_OF(repository, revision);
    assert.deepEqual(await findRevision(repository, revision), { rootCatalog, revision, tag });
  });
}

test('findRevision() goes back from catalog to catalog where histories are gone', async (t) => {
  const { repository, storage } = golden(t);
  const wanted = await CATALOG_OF(repository, 4);
  const hash = '1836b2669ae0fae9d9249e433444fddfdc017bba' as ContentHash;
  rmSync(join(storage, objectPath(hash, 'H')));
  const again = golden(t);
  rmSync(join(again.storage, objectPath(hash, 'H')));
  assert.equal(
    (await listRevisions(again.repository)).some(({ revision }) => revision === 4),
    false,
  );
  assert.deepEqual(await findRevision(again.repository, 4), {
    rootCatalog: wanted,
    revision: 4,
    tag: undefined,
  });
});

test('findRevision() says which revisions there are when there is none of that number', async (t) => {
  const { repository } = golden(t);
  for (const revision of [7, 100]) {
    await assert.rejects(findRevision(repository, revision), {
      code: 'NOT_FOUND',
      message: `Cannot find revision ${revision} of history.peer.test`,
      hint: /1 to 6$/,
    });
  }
});

test('findRevision() stops where a catalog on the way is gone', async (t) => {
  const { repository, storage } = golden(t);
  const above = await CATALOG_OF(repository, 5);
  const again = golden(t);
  rmSync(join(again.storage, objectPath('1836b2669ae0fae9d9249e433444fddfdc017bba' as ContentHash, 'H')));
  rmSync(join(again.storage, objectPath(above, 'C')));
  await assert.rejects(findRevision(again.repository, 4), { code: 'NOT_FOUND' });
  assert.ok(storage !== again.storage);
});
