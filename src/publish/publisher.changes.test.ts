/** Changes to what is published: what they do, and that they look at nothing else. */

import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { childrenArbitrary, entriesOf } from '../../test/support/arbitrary-tree.ts';
import { assertSound } from '../../test/support/garbage.ts';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import {
  assertReadsBack,
  type PublisherRepository,
  publisherRepository,
} from '../../test/support/publisher-repository.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import { openObject } from '../../test/support/storage-place.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { ContentHash } from '../core/content-hash.ts';
import type { TreeChange, TreeEntry } from '../core/tree.ts';
import type { PublishChangesOptions, PublishResult } from './publisher.ts';

const put = (...entries: readonly TreeEntry[]): TreeChange[] =>
  entries.map((one) => ({ kind: 'put', entry: one }));
const remove = (path: string): TreeChange => ({ kind: 'remove', path: path as ByteString });
const clear = (path: string): TreeChange => ({ kind: 'clear', path: path as ByteString });

function change(
  repository: PublisherRepository,
  changes: readonly TreeChange[],
  options: PublishChangesOptions = {},
): Promise<PublishResult> {
  const stream = async function* () {
    yield* changes;
  };
  return repository
    .publisher()
    .publishChanges({ name: 'changes', changes: stream }, { threads: 1, ...options });
}

const BASE = [
  entry(''),
  entry('/left'),
  entry('/left/.cvmfscatalog', { content: '' }),
  entry('/left/a', { content: 'a', linkKey: 'a' }),
  entry('/left/b', { mode: 0o100644, linkKey: 'a' }),
  entry('/left/deep'),
  entry('/left/deep/.cvmfscatalog', { content: '' }),
  entry('/left/deep/file', { content: noise(20_000) }),
  entry('/right'),
  entry('/right/.cvmfscatalog', { content: '' }),
  entry('/right/c', { content: 'c' }),
  entry('/top', { content: 'top' }),
];
const without = (...paths: readonly string[]) =>
  BASE.filter(({ path }) => !paths.some((one) => path === one || path.startsWith(`${one}/`)));

async function published(t: TestContext): Promise<PublisherRepository> {
  const repository = await publisherRepository(memoryScratch(t));
  await repository.publish(memoryTree(BASE));
  return repository;
}

const D = entry('/left/deep/d', { content: 'new' });
for (const { what, changes, result, catalogs } of [
  { what: 'a new file', changes: put(D), result: [...BASE, D], catalogs: 3 },
  {
    what: 'a file in a new folder that nobody names',
    changes: put(entry('/new/x', { content: 'x', mtimeSeconds: 7 })),
    result: [...BASE, entry('/new', { mtimeSeconds: 7 }), entry('/new/x', { content: 'x', mtimeSeconds: 7 })],
    catalogs: 1,
  },
  {
    what: 'other attributes of a folder with a catalog',
    changes: put(entry('/right', { mode: 0o040700 })),
    result: [...without('/right'), entry('/right', { mode: 0o040700 }), ...BASE.slice(9, 11)],
    catalogs: 2,
  },
  { what: 'a removed file', changes: [remove('/right/c')], result: without('/right/c'), catalogs: 2 },
  {
    what: 'a removed folder with catalogs',
    changes: [remove('/left')],
    result: without('/left'),
    catalogs: 1,
  },
  {
    what: 'a removed name of a linked file',
    changes: [remove('/left/a')],
    result: [...without('/left/a', '/left/b'), entry('/left/b', { content: 'a' })],
    catalogs: 2,
  },
  {
    what: 'an emptied folder',
    changes: [clear('/right')],
    result: without('/right/.cvmfscatalog', '/right/c'),
    catalogs: 1,
  },
  {
    what: 'a folder that is emptied and filled again',
    changes: [
      clear('/right'),
      ...put(entry('/right/.cvmfscatalog', { content: '' }), entry('/right/e', { content: 'e' })),
    ],
    result: [...without('/right/c'), entry('/right/e', { content: 'e' })],
    catalogs: 2,
  },
  {
    what: 'a file in the place of a folder',
    changes: put(entry('/left', { content: 'file' })),
    result: [...without('/left'), entry('/left', { content: 'file' })],
    catalogs: 1,
  },
  {
    what: 'a folder in the place of a file',
    changes: put(entry('/top'), entry('/top/in', { content: 'in' })),
    result: [...without('/top'), entry('/top'), entry('/top/in', { content: 'in' })],
    catalogs: 1,
  },
  {
    what: 'a marker that is gone: its catalog becomes part of the one above',
    changes: [remove('/left/.cvmfscatalog')],
    result: without('/left/.cvmfscatalog'),
    catalogs: 1,
  },
  {
    what: 'a new marker',
    changes: put(entry('/right/n'), entry('/right/n/.cvmfscatalog', { content: '' })),
    result: [...BASE, entry('/right/n'), entry('/right/n/.cvmfscatalog', { content: '' })],
    catalogs: 3,
  },
  {
    what: 'removal of what is not there',
    changes: [remove('/nothing/at/all'), remove('/left/deep/file/below'), clear('/top'), clear('/none')],
    result: BASE,
    catalogs: 0,
  },
  {
    what: 'what is taken away and comes back as it was',
    changes: [remove('/right/c'), ...put(entry('/right/c', { content: 'c' }))],
    result: BASE,
    catalogs: 0,
  },
]) {
  test(`publishChanges(): ${what}`, async (t) => {
    const repository = await published(t);
    const before = new Set(repository.objects());
    const { changed, revision } = await change(repository, changes);
    await assertReadsBack(repository, memoryTree(inOrder(result)));
    await assertSound(repository.storage, repository.publicKey);
    const written = repository.objects().filter((path) => path.endsWith('C') && !before.has(path));
    assert.deepEqual([changed, revision, written.length], [catalogs > 0, catalogs > 0 ? 2 : 1, catalogs]);
  });
}

/** As a folder is read: parents first, names in byte order. */
function inOrder(entries: readonly TreeEntry[]): TreeEntry[] {
  const names = ({ path }: TreeEntry) => path.split('/').join('\0');
  return [...entries].sort((a, b) => (names(a) < names(b) ? -1 : 1));
}

test('publishChanges() reads no catalog that the changes do not enter', async (t) => {
  const repository = await published(t);
  const database = openObject(repository.storage, repository.manifest().rootCatalog, 'C', memoryScratch(t));
  const hashes = Object.fromEntries(
    database
      .prepare('SELECT path, sha1 FROM nested_catalogs')
      .all()
      .map((row) => [row['path'], row['sha1']]),
  ) as Record<string, ContentHash>;
  database.close();
  const left = join(repository.storage, `data/${hashes['/left']!.slice(0, 2)}/${hashes['/left']!.slice(2)}C`);
  const bytes = readFileSync(left);
  rmSync(left);
  const d = entry('/right/d', { content: 'd' });
  await change(repository, put(d));
  await assert.rejects(change(repository, put(entry('/left/x', { content: 'x' }))), { code: 'NOT_FOUND' });
  writeFileSync(left, bytes);
  await assertReadsBack(repository, memoryTree(inOrder([...BASE, d])));
  await assertSound(repository.storage, repository.publicKey);
});

test('publishChanges() to a snapshot that is no longer the newest is refused', async (t) => {
  const repository = await published(t);
  const expectedRoot = repository.manifest().rootCatalog;
  await change(repository, put(D), { expectedRoot });
  await assert.rejects(change(repository, [remove('/top')], { expectedRoot }), {
    code: 'CONFLICT',
    message: 'Cannot publish changes: revision 2 came in between',
  });
  assert.ok((await repository.read()).has('/top'));
});

test('from any tree to any other by changes is the same as publishing the other', async (t) => {
  const scratch = memoryScratch(t);
  const repository = await publisherRepository(scratch);
  await fc.assert(
    fc.asyncProperty(childrenArbitrary, childrenArbitrary, fc.boolean(), async (first, second, clears) => {
      const [from, to] = [entriesOf(first), entriesOf(second)];
      await repository.publish(memoryTree(from));
      const there = new Set(to.map(({ path }) => path));
      const gone = from.filter(({ path }) => !there.has(path)).map(({ path }) => remove(path));
      await change(repository, [...(clears ? [clear('')] : gone), ...put(...to)]);
      await assertReadsBack(repository, memoryTree(to));
      await assertSound(repository.storage, repository.publicKey);
      assert.equal((await repository.publish(memoryTree(to))).changed, false, 'no row differs');
    }),
    { numRuns: 15 },
  );
});

// ---- how a tree is published ----

test('a tree becomes a directory of the repository, and the rest stays', async (t) => {
  const repository = await published(t);
  const tree = memoryTree([entry('', { mode: 0o040750 }), entry('/x', { content: 'x' })]);
  await repository.publish(tree, { into: '/right' as ByteString });
  const right = [entry('/right', { mode: 0o040750 }), entry('/right/x', { content: 'x' })];
  await assertReadsBack(repository, memoryTree(inOrder([...without('/right'), ...right])));
  await repository.publish(tree, { into: '/some/where' as ByteString });
  const seen = await repository.read();
  assert.ok(seen.has('/some/where/x') && seen.has('/left/deep/file'));
  await assertSound(repository.storage, repository.publicKey);
});

test('a tree that keeps others adds and replaces, and removes nothing', async (t) => {
  const repository = await published(t);
  const more = [entry('/right/c', { content: 'other' }), entry('/right/d', { content: 'd' })];
  await repository.publish(memoryTree(more), { keepsOthers: true });
  await assertReadsBack(repository, memoryTree(inOrder([...without('/right/c'), ...more])));
});

test('external files are hashed and not stored, and counted as such', async (t) => {
  const repository = await published(t);
  const files = [entry('/e/small', { content: 'small' }), entry('/e/large', { content: noise(50_000, 9) })];
  const before = repository.objects().filter((path) => !/[A-Z]$/.test(path) || path.endsWith('P'));
  const { rootCatalog } = await repository.publish(memoryTree(files), {
    keepsOthers: true,
    isExternal: true,
  });
  assert.deepEqual(
    repository.objects().filter((path) => !/[A-Z]$/.test(path) || path.endsWith('P')),
    before,
  );
  const database = openObject(repository.storage, rootCatalog, 'C', memoryScratch(t));
  const rows = database
    .prepare("SELECT name, flags FROM catalog WHERE name IN ('small', 'large') ORDER BY name")
    .all();
  const counters = database.prepare("SELECT value FROM statistics WHERE counter LIKE 'self_external%'").all();
  database.close();
  assert.deepEqual(
    rows.map((row) => ({ ...row })),
    [
      { name: 'large', flags: 4 | 64 | 128 | 0x200 | 0x800 },
      { name: 'small', flags: 4 | 128 | 0x200 | 0x800 },
    ],
  );
  assert.deepEqual(
    counters.map(({ value }) => value),
    [2, 50_005],
  );
  await assertSound(repository.storage, repository.publicKey);
});

test('files to be read past the page cache keep that flag until they are published without', async (t) => {
  const repository = await published(t);
  const flagsOf = (rootCatalog: ContentHash) => {
    const database = openObject(repository.storage, rootCatalog, 'C', memoryScratch(t));
    const { flags } = database.prepare("SELECT flags FROM catalog WHERE name = 'top'").get()!;
    database.close();
    return Number(flags) & 0x1_0000;
  };
  const top = (content: string) => memoryTree([entry('/top', { content })]);
  const options = { keepsOthers: true };
  assert.equal(
    flagsOf((await repository.publish(top('1'), { ...options, isDirectIo: true })).rootCatalog),
    0x1_0000,
  );
  assert.equal(flagsOf((await repository.publish(top('2'), options)).rootCatalog), 0);
});

test('catalogs that became large are split, and merged when they have shrunk', async (t) => {
  const repository = await publisherRepository(memoryScratch(t), {
    catalogs: { maxEntries: 20, minEntries: 8 },
  });
  const files = Array.from({ length: 25 }, (_, i) => entry(`/many/${i}`, { content: String(i) }));
  await repository.publish(memoryTree([entry('/many'), ...files]));
  assert.ok((await repository.read()).has('/many/.cvmfsautocatalog'));
  // Still too many for the catalog above to take them back.
  await change(
    repository,
    files.slice(0, 10).map(({ path }) => remove(path)),
  );
  assert.ok((await repository.read()).has('/many/.cvmfsautocatalog'));
  await assertSound(repository.storage, repository.publicKey);
  await change(
    repository,
    files.slice(10, 20).map(({ path }) => remove(path)),
  );
  const seen = [...(await repository.read()).keys()];
  assert.deepEqual(seen, ['', '/many', '/many/20', '/many/21', '/many/22', '/many/23', '/many/24']);
  await assertSound(repository.storage, repository.publicKey);
});
