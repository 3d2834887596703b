/** What a garbage collection does about damage, and what it leaves when it is interrupted. */

import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import {
  assertSound,
  changeManifest,
  collect,
  DAY,
  neededObjects,
  type Published,
  publishDaily,
  referencesOf,
  revisionsOf,
  rootsOf,
  treeOf,
  withoutHistories,
} from '../../test/support/garbage.ts';
import { entry, memoryTree } from '../../test/support/memory-tree.ts';
import { assertReadsBack } from '../../test/support/publisher-repository.ts';
import { objectsOf } from '../../test/support/storage-place.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { REFLOG_PATH } from '../core/reflog.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { FolderStorage } from './folder-storage.ts';
import { takeLock } from './lock.ts';
import { encodeReflog } from './reflog-writer.ts';

const fileOf = ({ storage }: Published, path: string) => join(storage, path);

const hashAt = (path: string) => path.replace(/^data\/(..)\/(.*)C$/, '$1$2') as ContentHash;

async function entriesOf(tree: Tree): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  for await (const one of tree.entries()) entries.push(one);
  return entries;
}

/** Paths of the nested catalogs of a root catalog, by their mount point. */
function nestedOf(repository: Published, root: ContentHash): Record<string, string> {
  const bytes = inflateSync(readFileSync(fileOf(repository, objectPath(root, 'C'))));
  const { nested } = CatalogReader.open(bytes);
  return Object.fromEntries(nested.map(({ path, hash }) => [path, objectPath(hash, 'C')]));
}

test('a repository whose manifest keeps old revisions for ever is refused, unless it is forced', async (t) => {
  const repository = await publishDaily(t, 'abc');
  await changeManifest(repository, { garbageCollectable: false });
  await assert.rejects(collect(repository), { code: 'UNSUPPORTED', hint: /--force/ });
  assert.deepEqual(revisionsOf(repository), [1, 2, 3]);
  await collect(repository, { force: true });
  assert.deepEqual(revisionsOf(repository), [2, 3]);
});

test('the storage of another repository is refused, and one that has none', async (t) => {
  const repository = await publishDaily(t, 'ab');
  await changeManifest(repository, { fqrn: 'other.example.org' });
  await assert.rejects(collect(repository), { code: 'CONFLICT', message: /has the repository other/ });
  rmSync(join(repository.storage, '.cvmfspublished'));
  await assert.rejects(collect(repository), { code: 'NOT_FOUND', message: /there is no repository in/ });
  assert.deepEqual(revisionsOf(repository), [1, 2]);
});

test('nothing is collected while somebody publishes', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const release = takeLock(join(repository.folder, 'publish.lock'), 'x');
  await assert.rejects(collect(repository), { code: 'CONFLICT', message: /is changing it/ });
  release();
  assert.deepEqual(revisionsOf(repository), [1, 2, 3]);
  await collect(repository);
  // And the other way round.
  const { entries } = treeOf('d');
  await repository.publish({
    name: 'collecting',
    async *entries() {
      await assert.rejects(collect(repository), { code: 'CONFLICT' });
      yield* entries();
    },
  });
});

for (const { what, damage, code } of [
  { what: 'is damaged', damage: (path: string) => truncateSync(path, 100), code: 'INTEGRITY' },
  { what: 'is missing', damage: (path: string) => rmSync(path), code: 'NOT_FOUND' },
]) {
  for (const where of ['the newest snapshot', 'a tag']) {
    test(`a nested catalog of ${where} that ${what} stops everything before anything is deleted`, async (t) => {
      const repository = await publishDaily(t, 'abcde');
      const [first, last] = rootsOf(repository, 1, 5);
      await repository.publisher().addTag({ name: 'old', description: '' }, { rootHash: first! });
      damage(fileOf(repository, nestedOf(repository, where === 'a tag' ? first! : last!)['/changing']!));
      const before = repository.objects();
      await assert.rejects(collect(repository), {
        code,
        message: /something that has to be kept cannot be read, so nothing is deleted$/,
        hint: /thimble check/,
      });
      assert.deepEqual(repository.objects(), before);
    });
  }
}

test('a history that is damaged stops everything: it may name anything', async (t) => {
  const repository = await publishDaily(t, 'abc');
  truncateSync(fileOf(repository, objectPath(repository.manifest().history!, 'H')), 50);
  await assert.rejects(collect(repository), { code: 'INTEGRITY', message: /nothing is deleted/ });
  assert.deepEqual(revisionsOf(repository), [1, 2, 3]);
});

test('the line of revisions ends where one is gone; those before it have expired', async (t) => {
  const repository = await publishDaily(t, 'abcde');
  rmSync(fileOf(repository, objectPath(rootsOf(repository, 3)[0]!, 'C')));
  await collect(repository, { keepRevisions: 99 });
  assert.deepEqual(revisionsOf(repository), [4, 5]);
  assert.equal(referencesOf(repository, 'catalog').length, 2);
  // Contents that only revision 3 named cannot be found through it any more.
  assert.ok(repository.objects().length > neededObjects(repository.storage).length);
  await collect(repository, { unreferenced: true });
  repository.clock.seconds = Date.now() / 1000 + 1;
  await collect(repository, { unreferenced: true });
  assert.deepEqual(repository.objects(), neededObjects(repository.storage));
});

test('an old catalog that is damaged is deleted; what only it named is found by looking at all objects', async (t) => {
  const repository = await publishDaily(t, 'abcd');
  const { '/changing': path } = nestedOf(repository, rootsOf(repository, 1)[0]!);
  truncateSync(fileOf(repository, path!), 100);
  const waiting = await collect(repository, { graceSeconds: DAY });
  assert.equal(waiting.damagedCatalogs, 1);
  const report = await collect(repository);
  assert.equal(report.damagedCatalogs, 1);
  assert.equal(existsSync(fileOf(repository, path!)), false);
  const needed = neededObjects(repository.storage);
  assert.equal(repository.objects().length, needed.length + 1, 'the file in that folder');
  repository.clock.seconds = Date.now() / 1000 + 1;
  await collect(repository, { unreferenced: true });
  assert.deepEqual(repository.objects(), needed);
});

// ---- the reference log ----

for (const { what, damage, code } of [
  { what: 'missing', damage: (path: string) => rmSync(path), code: 'NOT_FOUND' },
  { what: 'damaged', damage: (path: string) => truncateSync(path, 5000), code: 'FORMAT' },
]) {
  test(`a reference log that is ${what} is refused, and made anew if asked for`, async (t) => {
    const repository = await publishDaily(t, 'abcde');
    // A name that is gone again is in the histories.
    await repository
      .publisher()
      .addTag({ name: 'x', description: '' }, { rootHash: rootsOf(repository, 2)[0]! });
    await repository.publisher().removeTags(['x']);
    const types = ['catalog', 'certificate', 'history', 'metainfo'] as const;
    const all = () => types.map((type) => referencesOf(repository, type).sort());
    const before = all();
    damage(fileOf(repository, REFLOG_PATH));
    await assert.rejects(collect(repository), {
      code,
      message: `Cannot collect garbage of ${repository.settings.fqrn}: the reference log .cvmfsreflog is ${what}`,
      hint: /--rebuild-reflog/,
    });
    const dry = await collect(repository, { rebuildReflog: true, dryRun: true });
    assert.equal(dry.revisions.deleted, 4);
    const kept = await collect(repository, { rebuildReflog: true, keepRevisions: 99 });
    assert.equal(kept.deleted.objects, 0);
    assert.deepEqual(all(), before);
    await collect(repository, { keepRevisions: undefined, keepDays: 3 });
    assert.deepEqual(revisionsOf(repository), [3, 4, 5], 'times are those of the revisions');
    await assertSound(repository.storage, repository.publicKey);
  });
}

test('a reference log that is made anew keeps what the old one said, and passes over what is gone or damaged', async (t) => {
  const repository = await publishDaily(t, 'abcd');
  await collect(repository);
  const before = referencesOf(repository, 'catalog');
  const histories = referencesOf(repository, 'history').map((hash) => objectPath(hash, 'H'));
  for (const path of histories) {
    if (!path.includes(repository.manifest().history!.slice(2))) truncateSync(fileOf(repository, path), 10);
  }
  const report = await collect(repository, { rebuildReflog: true });
  assert.equal(report.deleted.objects, 0);
  assert.deepEqual(referencesOf(repository, 'catalog').sort(), before.sort());
});

test('the reference log gets back a snapshot that is kept and that it does not name', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const before = referencesOf(repository, 'catalog').sort();
  const change = { removed: [{ hash: repository.manifest().rootCatalog }], timestampSeconds: 0 };
  const path = fileOf(repository, REFLOG_PATH);
  const temporary = join(repository.scratch, 'db');
  writeFileSync(path, encodeReflog(repository.settings.fqrn, readFileSync(path), change, temporary));
  await collect(repository, { keepRevisions: 9 });
  assert.deepEqual(referencesOf(repository, 'catalog').sort(), before);
});

// ---- objects that nothing leads to ----

/** An object of a publish that was never finished. */
function leave(
  repository: Published,
  path: string,
  modifiedSeconds: number,
  bytes: Uint8Array = Buffer.from('x'),
) {
  const file = fileOf(repository, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  utimesSync(file, modifiedSeconds, modifiedSeconds);
}

test('objects that nothing leads to go only if asked for, and only after the grace period', async (t) => {
  const repository = await publishDaily(t, 'ab');
  repository.clock.seconds = Date.now() / 1000 + 10;
  await collect(repository, { unreferenced: true });
  const needed = repository.objects();
  const nowSeconds = repository.clock.seconds;
  const name = 'b'.repeat(38);
  for (const type of ['', 'P', 'C', 'H', 'X', 'M'])
    leave(repository, `data/bb/${name}${type}`, nowSeconds - 500);
  // Not ours to know, such as what a later version keeps.
  leave(repository, `data/bb/${name}T`, 0);
  leave(repository, 'data/bb/readme', 0);
  await collect(repository);
  await collect(repository, { unreferenced: true, graceSeconds: 501 });
  assert.equal(repository.objects().length, needed.length + 8);
  const report = await collect(repository, { unreferenced: true, graceSeconds: 500 });
  assert.equal(report.deleted.objects, 6);
  assert.equal(report.damagedCatalogs, 1);
  assert.deepEqual(
    repository.objects().filter((path) => !needed.includes(path)),
    [`data/bb/${name}T`, 'data/bb/readme'],
  );
});

/** Publishes a tree, and makes everything forget it but the objects; answers its root catalog. */
async function publishAndForget(repository: Published, tree: Tree): Promise<ContentHash> {
  const files = ['.cvmfspublished', REFLOG_PATH].map((path) => fileOf(repository, path));
  const before = files.map((path) => readFileSync(path));
  const { rootCatalog } = await repository.publish(tree);
  for (const [i, path] of files.entries()) writeFileSync(path, before[i]!);
  return rootCatalog;
}

test('a catalog that nothing leads to, and that is young, keeps what is below it however old that is', async (t) => {
  const repository = await publishDaily(t, 'a');
  repository.clock.seconds = Math.floor(Date.now() / 1000) + 10_000;
  const root = await publishAndForget(repository, treeOf('z'));
  const left = neededObjects(repository.storage, [root]);
  for (const path of left) if (!path.endsWith('C')) utimesSync(fileOf(repository, path), 0, 0);
  await collect(repository, { unreferenced: true, graceSeconds: 20_000 });
  for (const path of left) assert.ok(existsSync(fileOf(repository, path)), path);
  await collect(repository, { unreferenced: true, graceSeconds: 5000 });
  assert.deepEqual(...withoutHistories(repository.objects(), neededObjects(repository.storage)));
});

for (const isReplica of [true, false]) {
  const what = isReplica ? 'on a replica' : 'where one publishes';
  const outcome = isReplica ? 'keep' : 'do not keep';
  test(`${what}, catalogs that nothing leads to ${outcome} what is below them`, async (t) => {
    const repository = await publishDaily(t, 'zab');
    const more = [entry('/changing/more', { content: 'more' })];
    const root = await publishAndForget(repository, memoryTree([...(await entriesOf(treeOf('z'))), ...more]));
    const { '/changing': nested } = nestedOf(repository, root);
    const below = neededObjects(repository.storage, [hashAt(nested!)]);
    rmSync(fileOf(repository, objectPath(root, 'C')));
    // A replication that failed after others had not; a publisher stores again what is missing.
    if (isReplica) writeFileSync(fileOf(repository, '.cvmfs_last_snapshot'), '');
    const report = await collect(repository);
    // Revision 1 goes, which has a file in common with it.
    assert.equal(report.revisions.deleted, 2);
    assert.equal(
      below.every((path) => existsSync(fileOf(repository, path))),
      isReplica,
    );
    repository.clock.seconds = Date.now() / 1000 + 10;
    await collect(repository, { unreferenced: true });
    assert.deepEqual(repository.objects(), neededObjects(repository.storage));
  });
}

test('a partial replica may lack nested catalogs, though not root catalogs', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const [second, third] = rootsOf(repository, 2, 3);
  rmSync(fileOf(repository, nestedOf(repository, third!)['/changing']!));
  await assert.rejects(collect(repository), { code: 'NOT_FOUND' });
  writeFileSync(fileOf(repository, '.cvmfs_partial_replication'), 'version 1\n/shared\n');
  await collect(repository);
  assert.deepEqual(revisionsOf(repository), [2, 3]);
  rmSync(fileOf(repository, objectPath(second!, 'C')));
  await assert.rejects(collect(repository), { code: 'NOT_FOUND' });
});

// ---- what is remembered ----

test('notes that are damaged are refused, and what to do is said', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const path = join(repository.folder, 'gc-expired.json');
  for (const text of ['{', '[1]', '{"x": 1}', `{"${rootsOf(repository, 1)[0]}": "soon"}`, 'null']) {
    writeFileSync(path, text);
    await assert.rejects(collect(repository), { code: 'FORMAT', hint: /remove it/ }, text);
  }
  rmSync(path);
  for (const name of ['gc-expired.json', 'gc-condemned']) {
    const unreadable = join(repository.folder, name);
    mkdirSync(unreadable);
    await assert.rejects(collect(repository), { code: 'STORAGE', message: `Cannot read ${unreadable}` });
    rmSync(unreadable, { recursive: true });
  }
  assert.deepEqual(revisionsOf(repository), [1, 2, 3]);
});

test('where nothing can be written down, nothing is deleted', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const path = join(repository.folder, 'gc-condemned');
  mkdirSync(`${path}.new`);
  await assert.rejects(collect(repository), { code: 'STORAGE', message: `Cannot write ${path}` });
  assert.deepEqual(revisionsOf(repository), [1, 2, 3]);
});

test('a list of an interrupted run cannot name anything but objects, nor what is in use', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const needed = neededObjects(repository.storage);
  const list = [...needed, '.cvmfspublished', '../r-publisher/client.pub', 'data/../.cvmfswhitelist', ''];
  writeFileSync(join(repository.folder, 'gc-condemned'), list.join('\n'));
  await collect(repository, { dryRun: true });
  assert.ok(existsSync(join(repository.folder, 'gc-condemned')));
  await collect(repository);
  await assertSound(repository.storage, repository.publicKey);
  assert.deepEqual(repository.objects(), needed);
});

// ---- a storage that fails ----

/** Fails at one of its changes, and at all that come after it. */
class FailingStorage extends FolderStorage {
  #left: number;

  constructor(folder: string, changes: number) {
    super(folder);
    this.#left = changes;
  }

  get left(): number {
    return this.#left;
  }

  #change(): void {
    if (--this.#left < 0) throw new ThimbleError('STORAGE', 'Cannot do it');
  }

  override async remove(paths: readonly string[]): Promise<void> {
    // Each path counts: a batch may end anywhere.
    for (const path of paths) {
      this.#change();
      await super.remove([path]);
    }
  }

  override async replace(path: string, bytes: Uint8Array): Promise<void> {
    this.#change();
    await super.replace(path, bytes);
  }

  override async flush(): Promise<void> {
    this.#change();
  }

  override async create(): Promise<void> {
    this.#change();
  }
}

/** Every catalog that is there is there with all below it, and so is all that the reference log names. */
function assertWholeTrees(repository: Published): void {
  const { storage } = repository;
  const paths = objectsOf(storage);
  const present = new Set(paths);
  for (const [type, letter] of [
    ['catalog', 'C'],
    ['history', 'H'],
  ] as const) {
    for (const hash of referencesOf(repository, type)) assert.ok(present.has(objectPath(hash, letter)), hash);
  }
  for (const path of paths.filter((one) => one.endsWith('C'))) {
    for (const needed of neededObjects(storage, [hashAt(path)])) assert.ok(present.has(needed), needed);
  }
}

for (const isReplica of [false, true]) {
  const what = isReplica ? 'a replica' : 'a publisher';
  test(`interrupted at any of its changes, it leaves ${what} a sound repository without half trees, and the next run ends the work`, async (t) => {
    const repository = await publishDaily(t, 'abcd');
    const { storage, folder } = repository;
    if (isReplica) writeFileSync(join(storage, '.cvmfs_last_snapshot'), '');
    const saved = [storage, folder].map((path) => ({ path, copy: `${path}.copy` }));
    for (const { path, copy } of saved) cpSync(path, copy, { recursive: true });
    const counting = new FailingStorage(storage, 10_000);
    await collect(repository, {}, counting);
    const changes = 10_000 - counting.left;
    const expected = repository.objects();
    assert.deepEqual(expected, neededObjects(storage));
    assert.ok(changes > 20, `${changes} changes`);
    for (let at = 0; at < changes; at++) {
      for (const { path, copy } of saved) {
        rmSync(path, { recursive: true });
        cpSync(copy, path, { recursive: true });
      }
      const failing = new FailingStorage(storage, at);
      await assert.rejects(collect(repository, {}, failing), { message: 'Cannot do it' });
      assertWholeTrees(repository);
      // In between, something comes back into use.
      const isBack = at % 2 === 1;
      if (isBack) {
        await repository.publish(treeOf('a'));
        await assertReadsBack(repository, treeOf('a'));
        assertWholeTrees(repository);
      }
      const told = await collect(repository, { dryRun: true });
      const done = await collect(repository);
      assert.deepEqual(told.deleted, done.deleted, `${at}`);
      assert.deepEqual(repository.objects(), isBack ? neededObjects(storage) : expected, `${at}`);
    }
    await assertSound(storage, repository.publicKey);
  });
}

test('a storage that cannot be read stops it before anything is deleted', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const failing = new FolderStorage(repository.storage);
  const { read } = failing;
  let reads = 0;
  failing.read = async (path) => {
    if (path.endsWith('C') && ++reads === 5) throw new ThimbleError('STORAGE', 'Cannot read');
    return read.call(failing, path);
  };
  const before = repository.objects();
  await assert.rejects(collect(repository, {}, failing), { code: 'STORAGE' });
  assert.deepEqual(repository.objects(), before);
  await collect(repository);
  assert.deepEqual(repository.objects(), neededObjects(repository.storage));
});
