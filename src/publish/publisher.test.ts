import assert from 'node:assert/strict';
import childProcess, { execFileSync } from 'node:child_process';
import fs, { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { describeTree } from '../../test/support/described-tree.ts';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import {
  assertReadsBack,
  type PublisherRepository,
  publisherRepository,
  VARIED_TREE,
} from '../../test/support/publisher-repository.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import { objectsOf, openObject } from '../../test/support/storage-place.ts';
import { dir, file, hardlink, makeTree } from '../../test/support/trees.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { takeLock } from '../storage/lock.ts';
import { FolderTree } from './folder-tree.ts';
import type { RepositorySettings } from './repository-settings.ts';
import { TarTree } from './tar-tree.ts';

async function newRepository(
  t: TestContext,
  changes: Partial<RepositorySettings> = {},
  name?: string,
): Promise<PublisherRepository> {
  return publisherRepository(memoryScratch(t), changes, name);
}

// ---- the same tree, however it comes ----

test('a folder, its archive, and the archive in other order give the same root hash', async (t) => {
  const folder = scratchFolder(t);
  makeTree(folder, VARIED_TREE);
  const tar = (...options: readonly string[]) => {
    const archive = execFileSync('tar', ['-C', folder, '--format=posix', ...options, '-c', '.']);
    return new TarTree(Readable.from([archive]), 'archive');
  };
  const roots = new Set<string>();
  for (const [i, tree] of [new FolderTree(folder), tar(), tar('--sort=name')].entries()) {
    const repository = await newRepository(t, {}, `r${i}`);
    roots.add((await repository.publish(tree)).rootCatalog);
    await assertReadsBack(repository, new FolderTree(folder));
  }
  assert.equal(roots.size, 1);
});

test('the same tree on the same revision at the same time gives the same root hash; another time gives another', async (t) => {
  const tree = memoryTree([
    entry(''),
    entry('/a', { content: 'x' }),
    entry('/n'),
    entry('/n/.cvmfscatalog', { content: '' }),
  ]);
  const roots: string[] = [];
  for (const seconds of [1_760_000_000, 1_760_000_000, 1_760_000_001]) {
    const repository = await newRepository(t);
    repository.clock.seconds = seconds;
    roots.push((await repository.publish(tree, { threads: roots.length + 1 })).rootCatalog);
  }
  assert.equal(roots[0], roots[1]);
  assert.notEqual(roots[0], roots[2]);
});

// ---- what is stored, and what is not ----

test('a tree that has not changed keeps its revision, and nothing is written', async (t) => {
  const repository = await newRepository(t);
  const folder = scratchFolder(t);
  makeTree(folder, VARIED_TREE);
  const first = await repository.publish(new FolderTree(folder));
  const manifest = readFileSync(join(repository.storage, '.cvmfspublished'));
  const objects = repository.objects();
  repository.clock.seconds += 1000;
  const again = await repository.publish(new FolderTree(folder));
  assert.deepEqual(again, { ...first, changed: false, newObjects: 0, newBytes: 0 });
  assert.deepEqual(readFileSync(join(repository.storage, '.cvmfspublished')), manifest);
  assert.deepEqual(repository.objects(), objects);
});

test('a changed file uploads its content, the catalogs above it and the history; other catalogs are used again', async (t) => {
  const repository = await newRepository(t);
  const treeWith = (content: string) =>
    memoryTree([
      entry(''),
      ...['/a', '/b', '/b/c'].flatMap((path) => [
        entry(path),
        entry(`${path}/.cvmfscatalog`, { content: '' }),
      ]),
      entry('/a/f', { content: 'stays' }),
      entry('/b/c/f', { content }),
      entry('/b/c/same', { content: 'stays' }),
    ]);
  await repository.publish(treeWith('old'));
  const before = repository.objects();
  const nestedOf = (path: string, root: ContentHash) => {
    const database = openObject(repository.storage, root, 'C', repository.folder);
    const row = database.prepare('SELECT sha1 FROM nested_catalogs WHERE path = ?').get(path)!;
    database.close();
    return row['sha1'] as ContentHash;
  };
  const old = repository.manifest().rootCatalog;
  const result = await repository.publish(treeWith('new'));
  const added = repository.objects().filter((path) => !before.includes(path));
  const root = result.rootCatalog;
  const touched = [root, nestedOf('/b', root), nestedOf('/b/c', nestedOf('/b', root))];
  assert.deepEqual(
    added.filter((path) => path.endsWith('C')),
    touched.map((hash) => objectPath(hash, 'C')).sort(),
  );
  assert.deepEqual(
    added.filter((path) => path.endsWith('H')),
    [objectPath(repository.manifest().history!, 'H')],
  );
  assert.equal(added.length, 5, 'three catalogs, a history, and one file');
  assert.equal(result.newObjects, 5);
  assert.equal(nestedOf('/a', root), nestedOf('/a', old));
  assert.deepEqual([result.revision, result.catalogs], [2, 4]);
});

test('files with the same content are one object, also over revisions', async (t) => {
  const repository = await newRepository(t);
  const before = repository.objects().length;
  const names = ['/a', '/b', '/c'];
  await repository.publish(memoryTree([entry(''), ...names.map((path) => entry(path, { content: 'same' }))]));
  assert.equal(repository.objects().length - before, 3, 'one file, a catalog and a history');
  const second = await repository.publish(memoryTree([entry(''), entry('/d', { content: 'same' })]));
  assert.equal(second.newObjects, 2);
});

test('a hard-linked file is read once, however many names it has', async (t) => {
  const repository = await newRepository(t);
  const folder = scratchFolder(t);
  makeTree(folder, dir({ a: file('12345'), b: hardlink('a'), d: dir({ c: hardlink('a') }) }));
  const result = await repository.publish(new FolderTree(folder));
  assert.equal(result.fileBytes, 5);
  await assertReadsBack(repository, new FolderTree(folder));
});

test('the result and the progress count what was published', async (t) => {
  const repository = await newRepository(t);
  const phases: string[] = [];
  const result = await repository.publish(
    memoryTree([entry(''), entry('/a', { content: 'abc' }), entry('/b', { symlink: 'a' })]),
    { onProgress: ({ phase }) => phases.push(phase) },
  );
  assert.deepEqual([result.entries, result.catalogs, result.changed, result.revision], [3, 1, true, 1]);
  assert.deepEqual([...new Set(phases)], ['files', 'catalogs', 'signing']);
});

// ---- manifest, history, catalogs ----

test('manifest, catalogs, history and reference log of a revision agree', async (t) => {
  const repository = await newRepository(t, { hashAlgorithm: 'sha1', ttlSeconds: 77 });
  repository.clock.seconds = 1_760_000_000;
  const nested = [entry('/n'), entry('/n/.cvmfscatalog', { content: '' })];
  const first = await repository.publish(memoryTree([entry(''), ...nested]), {
    tag: { name: 'v1', description: 'one' },
  });
  repository.clock.seconds = 1_760_000_100;
  const second = await repository.publish(
    memoryTree([entry(''), ...nested, entry('/n/f', { content: 'x' })]),
  );
  const manifest = repository.manifest();
  assert.deepEqual(
    [manifest.rootCatalog, manifest.revision, manifest.ttlSeconds, manifest.publishedSeconds],
    [second.rootCatalog, 2, 77, 1_760_000_100],
  );
  const root = openObject(repository.storage, second.rootCatalog, 'C', repository.folder);
  const properties = (database: typeof root) =>
    Object.fromEntries(
      database
        .prepare('SELECT key, value FROM properties')
        .all()
        .map((row) => Object.values(row)),
    ) as Record<string, string>;
  assert.deepEqual(
    { ...properties(root) },
    {
      schema: '2.5',
      schema_revision: '7',
      revision: '2',
      last_modified: '1760000100',
      previous_revision: first.rootCatalog,
      TTL: '77',
    },
  );
  const { sha1, size } = root.prepare('SELECT sha1, size FROM nested_catalogs').get()! as {
    sha1: ContentHash;
    size: number;
  };
  const inner = openObject(repository.storage, sha1, 'C', repository.folder);
  assert.deepEqual([properties(inner)['revision'], properties(inner)['root_prefix']], ['2', '/n']);
  const pages = inner.prepare('PRAGMA page_count').get()!['page_count'] as number;
  assert.equal(size, pages * 4096);
  assert.equal(
    manifest.rootCatalogSizeBytes,
    (root.prepare('PRAGMA page_count').get()!['page_count'] as number) * 4096,
  );
  const history = openObject(repository.storage, manifest.history!, 'H', repository.folder);
  assert.deepEqual(
    history
      .prepare('SELECT name, hash, revision FROM tags ORDER BY name')
      .all()
      .map((row) => Object.values(row)),
    [
      ['trunk', second.rootCatalog, 2],
      ['trunk-previous', first.rootCatalog, 1],
      ['v1', first.rootCatalog, 1],
    ],
  );
  for (const database of [root, inner, history]) database.close();
  const reflog = readFileSync(join(repository.storage, '.cvmfsreflog')).toString('latin1');
  for (const hash of [
    first.rootCatalog,
    second.rootCatalog,
    manifest.history!,
    manifest.certificate!,
    manifest.metainfo!,
  ]) {
    assert.ok(reflog.includes(hash));
  }
});

test('everything is on disk before the manifest names it, and the manifest comes last', async (t) => {
  const repository = await newRepository(t);
  const calls: string[] = [];
  const { renameSync: rename } = fs;
  const { spawn } = childProcess;
  t.mock.method(fs, 'renameSync', (from: string, to: string) => {
    rename(from, to);
    calls.push(to.slice(repository.storage.length + 1).replace(/^data.*(.)$/, 'object $1'));
  });
  t.mock.method(childProcess, 'spawn', (command: string, args: string[], options: object) => {
    calls.push(command);
    return spawn(command, args, options);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  const nested = [entry('/n'), entry('/n/.cvmfscatalog', { content: '' })];
  await repository.publish(memoryTree([entry(''), ...nested, entry('/f', { content: 'x' })]));
  // Contents are stored by other threads, before all of this.
  assert.deepEqual(calls, ['object C', 'object C', 'object H', 'sync', '.cvmfsreflog', '.cvmfspublished']);
});

test('a tag on an unchanged tree names the revision there is, and both stay readable', async (t) => {
  const repository = await newRepository(t);
  const one = memoryTree([entry(''), entry('/f', { content: 'one' })]);
  const first = await repository.publish(one);
  const tagged = await repository.publish(one, { tag: { name: 'v1', description: '' } });
  assert.deepEqual([tagged.revision, tagged.rootCatalog, tagged.changed], [1, first.rootCatalog, true]);
  await repository.publish(memoryTree([entry(''), entry('/f', { content: 'two' })]));
  assert.deepEqual(await repository.read(first.rootCatalog), await describeTree(one));
});

test('a clock that goes back does not make the manifest older', async (t) => {
  const repository = await newRepository(t);
  repository.clock.seconds = 1_760_000_000;
  await repository.publish(memoryTree([entry(''), entry('/a')]));
  repository.clock.seconds = 1_750_000_000;
  await repository.publish(memoryTree([entry(''), entry('/b')]));
  assert.equal(repository.manifest().publishedSeconds, 1_760_000_000);
});

test('a large catalog is split on its own, in the same way each time', async (t) => {
  const repository = await newRepository(t, { catalogs: { maxEntries: 50, minEntries: 5 } });
  const entries = ['/a', '/b', '/c'].flatMap((path) => [
    entry(path),
    ...Array.from({ length: 30 }, (_, i) => entry(`${path}/${i}`, { content: String(i) })),
  ]);
  const tree = memoryTree([entry(''), ...entries]);
  const result = await repository.publish(tree);
  assert.equal(result.catalogs, 4);
  const actual = await repository.read();
  for (const path of [...actual.keys()]) if (/\/\.cvmfs(auto)?catalog$/.test(path)) actual.delete(path);
  assert.deepEqual(actual, await describeTree(tree));
  assert.equal((await repository.publish(tree)).changed, false);
});

// ---- what is refused ----

async function assertUntouched(
  repository: PublisherRepository,
  action: () => Promise<unknown>,
  failure: object,
): Promise<void> {
  const before = await repository.read();
  const manifest = readFileSync(join(repository.storage, '.cvmfspublished'));
  await assert.rejects(action(), failure);
  assert.deepEqual(readFileSync(join(repository.storage, '.cvmfspublished')), manifest);
  assert.deepEqual(await repository.read(), before);
  assert.deepEqual(readdirSync(join(repository.storage, 'data/txn')), []);
  assert.deepEqual(
    readdirSync(repository.folder).filter((name) => /lock|publish\.db/.test(name)),
    [],
  );
}

const FAILURES: readonly { what: string; entries: readonly TreeEntry[]; tag?: string; failure: object }[] = [
  {
    what: 'a hard link of nothing',
    entries: [entry('/a', { mode: 0o100644, linkKey: '/b' })],
    failure: {
      code: 'FORMAT',
      message: 'Cannot publish /a: the file it is a hard link of does not come before it',
    },
  },
  {
    what: 'a marker in the root',
    entries: [entry('/.cvmfscatalog', { content: '' })],
    failure: { code: 'USAGE', message: /root directory/ },
  },
  {
    what: 'an attribute that is too long',
    entries: [entry('/a', { content: 'x', xattrs: { 'user.long': 'v'.repeat(256) } })],
    failure: { code: 'LIMIT', message: /^Cannot publish \/a$/ },
  },
  {
    what: 'a name that leaves the tree',
    entries: [entry('/a/../b')],
    failure: { code: 'FORMAT', message: /^Cannot publish \/a\/\.\.\/b: / },
  },
  {
    what: 'a tag that is taken',
    entries: [],
    tag: 'v1',
    failure: { code: 'CONFLICT', message: /^Cannot add tag v1: it is the name of revision 1$/ },
  },
  {
    what: 'a tag that is no name',
    entries: [],
    tag: 'v 1',
    failure: { code: 'USAGE', message: /^Cannot use "v 1" as a tag$/ },
  },
];

for (const { what, entries, tag, failure } of FAILURES) {
  test(`${what} is refused, and the repository stays at its revision`, async (t) => {
    const repository = await newRepository(t);
    await repository.publish(memoryTree([entry(''), entry('/f', { content: 'x' })]), {
      tag: { name: 'v1', description: '' },
    });
    const tree = memoryTree([entry(''), entry('/new', { content: 'new' }), ...entries]);
    const options = tag === undefined ? {} : { tag: { name: tag, description: '' } };
    await assertUntouched(repository, () => repository.publish(tree, options), failure);
  });
}

test('a tag that is taken is refused before the tree is looked at', async (t) => {
  const repository = await newRepository(t);
  const untouchable: Tree = {
    name: 'untouchable',
    entries() {
      throw new Error('the tree was read');
    },
  };
  await assert.rejects(repository.publish(untouchable, { tag: { name: 'trunk', description: '' } }), {
    code: 'USAGE',
  });
});

test('a tree that fails midway leaves the repository at its revision', async (t) => {
  const repository = await newRepository(t);
  const broken: Tree = {
    name: 'broken',
    async *entries() {
      yield entry('');
      for (let i = 0; i < 50; i++) yield entry(`/${i}`, { content: noise(3000, i + 1) });
      throw new Error('the source broke');
    },
  };
  await assertUntouched(repository, () => repository.publish(broken), { message: 'the source broke' });
});

test('while one publisher is at work another gets CONFLICT, and the first is not disturbed', async (t) => {
  const repository = await newRepository(t);
  const slow: Tree = {
    name: 'slow',
    async *entries() {
      yield entry('');
      await assert.rejects(repository.publish(memoryTree([entry('')])), {
        code: 'CONFLICT',
        message: new RegExp(`^Cannot change tree\\.example\\.org: process ${process.pid} on `),
      });
      yield entry('/f', { content: 'x' });
    },
  };
  await repository.publish(slow);
  assert.deepEqual([...(await repository.read()).keys()], ['', '/f']);
  assert.equal(repository.manifest().revision, 1);
});

test('the lock is given back when the storage is gone, and nothing is made in its place', async (t) => {
  const repository = await newRepository(t);
  renameSync(repository.storage, `${repository.storage}.moved`);
  await assert.rejects(repository.publish(memoryTree([entry('')])), {
    code: 'NOT_FOUND',
    message: `Cannot publish: there is no repository in ${repository.storage}`,
    hint: /moved/,
  });
  assert.equal(existsSync(repository.storage), false);
  takeLock(join(repository.folder, 'publish.lock'), 'x')();
});

for (const { what, damage, failure } of [
  {
    what: 'a manifest of another repository',
    damage: (storage: string) => {
      const path = join(storage, '.cvmfspublished');
      writeFileSync(path, readFileSync(path).toString('latin1').replace('Ntree.', 'Nfree.'), 'latin1');
    },
    failure: { code: 'INTEGRITY', message: /manifest/ },
  },
  {
    what: 'a catalog that is gone',
    damage: (storage: string) => {
      for (const path of objectsOf(storage)) if (path.endsWith('C')) rmSync(join(storage, path));
    },
    failure: { code: 'NOT_FOUND', message: /^Cannot use data\/.*C: it is missing in / },
  },
  {
    what: 'a damaged history',
    damage: (storage: string) => {
      for (const path of objectsOf(storage)) if (path.endsWith('H')) writeFileSync(join(storage, path), 'x');
    },
    failure: { code: 'INTEGRITY', message: /^Cannot use data\/.*H in .*: it is damaged$/ },
  },
]) {
  test(`a storage with ${what} is not published to`, async (t) => {
    const repository = await newRepository(t);
    await repository.publish(memoryTree([entry(''), entry('/a')]));
    damage(repository.storage);
    const manifest = readFileSync(join(repository.storage, '.cvmfspublished'));
    await assert.rejects(repository.publish(memoryTree([entry(''), entry('/b')])), failure);
    assert.deepEqual(readFileSync(join(repository.storage, '.cvmfspublished')), manifest);
  });
}

test('what a killed publisher left is removed by the next', async (t) => {
  const repository = await newRepository(t);
  for (const path of ['data/txn/1-abc', 'data/txn/half'])
    writeFileSync(join(repository.storage, path), 'half');
  writeFileSync(join(repository.folder, 'publish.db'), 'half');
  await repository.publish(memoryTree([entry(''), entry('/a')]));
  assert.deepEqual(readdirSync(join(repository.storage, 'data/txn')), []);
  assert.equal(existsSync(join(repository.folder, 'publish.db')), false);
});
