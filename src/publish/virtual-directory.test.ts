import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { assertSound } from '../../test/support/garbage.ts';
import { entry, memoryTree } from '../../test/support/memory-tree.ts';
import { type PublisherRepository, publisherRepository } from '../../test/support/publisher-repository.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import { openObject } from '../../test/support/storage-place.ts';
import { objectPath } from '../core/content-hash.ts';
import { decodeHistory } from '../core/history.ts';
import { decodeReflog } from '../core/reflog.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { FolderStorage } from '../storage/folder-storage.ts';
import { StoredObjects } from '../storage/stored-objects.ts';

async function tagsOf({ storage, manifest }: PublisherRepository): Promise<Record<string, number>> {
  const objects = new StoredObjects(new FolderStorage(storage), {
    hashing: nodeHashing,
    inflating: nodeInflating,
  });
  const { tags } = decodeHistory(await objects.load(manifest().history!, 'H', 1e6));
  return Object.fromEntries(tags.map(({ name, revision }) => [name, revision]));
}

/** Rows of the catalog of `/.cvmfs`, and what its bind mount points show. */
function virtualRows(t: TestContext, { storage, manifest }: PublisherRepository) {
  const root = openObject(storage, manifest().rootCatalog, 'C', memoryScratch(t));
  const { flags } = root.prepare("SELECT flags FROM catalog WHERE name = '.cvmfs'").get()!;
  const { sha1 } = root.prepare("SELECT sha1 FROM nested_catalogs WHERE path = '/.cvmfs'").get()!;
  root.close();
  const nested = openObject(storage, sha1 as never, 'C', memoryScratch(t));
  const rows = nested.prepare('SELECT name, flags, mode, size FROM catalog ORDER BY name').all();
  const binds = nested.prepare('SELECT path, sha1 FROM bind_mountpoints ORDER BY path').all();
  nested.close();
  return { flags, rows: rows.map((row) => ({ ...row })), binds: binds.map((row) => ({ ...row })) };
}

const tree = (content: string) => memoryTree([entry('', { mode: 0o040750 }), entry('/f', { content })]);
const tag = (name: string) => ({ tag: { name, description: '' } });

test('each tagged snapshot is shown in /.cvmfs/snapshots, in a revision that follows the one with the tag', async (t) => {
  const repository = await publisherRepository(memoryScratch(t), { virtualDirectory: true });
  const first = await repository.publish(tree('1'), tag('v1'));
  const second = await repository.publish(tree('2'), tag('v2'));
  await assertSound(repository.storage, repository.publicKey);
  const tags = await tagsOf(repository);
  assert.deepEqual(
    [tags['v1'], tags['v2'], tags['trunk']],
    [first.revision - 1, second.revision - 1, second.revision],
  );
  const { flags, rows, binds } = virtualRows(t, repository);
  assert.equal(flags, 32771);
  assert.deepEqual(rows, [
    { name: '.cvmfs', flags: 32801, mode: 16749, size: 97 },
    { name: '.cvmfscatalog', flags: 4 | 0x200, mode: 0o100444, size: 0 },
    { name: 'snapshots', flags: 1, mode: 16749, size: 97 },
    { name: 'v1', flags: 16385, mode: 0o040750, size: 4096 },
    { name: 'v2', flags: 16385, mode: 0o040750, size: 4096 },
  ]);
  assert.deepEqual(
    binds.map(({ path }) => path),
    ['/.cvmfs/snapshots/v1', '/.cvmfs/snapshots/v2'],
  );
  assert.equal((await repository.read()).has('/.cvmfs'), false, 'it is hidden');
});

test('the directory follows tags that are added and removed, and stays when nothing changes', async (t) => {
  const repository = await publisherRepository(memoryScratch(t), { virtualDirectory: true });
  await repository.publish(tree('1'), tag('v1'));
  const before = repository.manifest();
  assert.equal((await repository.publish(tree('1'))).changed, false);
  assert.equal(repository.manifest().rootCatalog, before.rootCatalog);
  await repository.publisher().addTag({ name: 'same', description: '' }, { tag: 'v1' });
  assert.equal(repository.manifest().revision, before.revision + 1);
  const shown = () => virtualRows(t, repository).binds.map(({ path }) => path);
  assert.deepEqual(shown(), ['/.cvmfs/snapshots/same', '/.cvmfs/snapshots/v1']);
  await repository.publisher().removeTags(['v1']);
  assert.deepEqual(shown(), ['/.cvmfs/snapshots/same']);
  await assertSound(repository.storage, repository.publicKey);
});

test('the revision that is shown by the next one is in the reference log, too', async (t) => {
  const repository = await publisherRepository(memoryScratch(t), { virtualDirectory: true });
  const before = repository.objects();
  await repository.publish(tree('1'));
  await repository.publish(tree('2'), tag('v2'));
  const reflog = decodeReflog(readFileSync(join(repository.storage, '.cvmfsreflog')));
  const logged = new Set(reflog.map(({ hash }) => objectPath(hash, 'C')));
  const roots = repository.objects().filter((path) => path.endsWith('C') && !before.includes(path));
  // Two revisions with a root each, one that shows v2, and two catalogs of /.cvmfs.
  assert.equal(roots.filter((path) => logged.has(path)).length, roots.length - 1);
});

test('a rollback shows the snapshots that are left', async (t) => {
  const repository = await publisherRepository(memoryScratch(t), { virtualDirectory: true });
  await repository.publish(tree('1'), tag('v1'));
  await repository.publish(tree('2'), tag('v2'));
  await repository.publisher().rollback('v1');
  assert.deepEqual(
    virtualRows(t, repository).binds.map(({ path }) => path),
    ['/.cvmfs/snapshots/v1'],
  );
  await assertSound(repository.storage, repository.publicKey);
});

test('without a tag, each publish gets one of its time, and old ones go', async (t) => {
  const repository = await publisherRepository(memoryScratch(t), { automaticTags: { keepDays: 2 } });
  const day = 24 * 3600;
  const named = async () =>
    Object.keys(await tagsOf(repository)).filter((name) => name.startsWith('generic'));
  await repository.publish(tree('1'));
  repository.clock.seconds += day;
  await repository.publish(tree('2'));
  await repository.publish(tree('3'), tag('v3'));
  assert.equal((await named()).length, 2, 'a publish with a tag has one already');
  repository.clock.seconds += 1.5 * day;
  await repository.publish(tree('3'));
  assert.equal((await named()).length, 2, 'nothing has changed, so there is nothing to name');
  await repository.publish(tree('4'));
  assert.deepEqual((await named()).sort(), ['generic-2025-06-16T15:06:40Z', 'generic-2025-06-18T03:06:40Z']);
});
