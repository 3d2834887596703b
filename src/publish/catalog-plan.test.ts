import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { whole } from '../../test/support/catalog-contents.ts';
import { draftOf } from '../../test/support/draft.ts';
import { entry } from '../../test/support/memory-tree.ts';
import type { TreeEntry } from '../core/tree.ts';
import { type CatalogPlan, planCatalogs, type SplitLimits } from './catalog-plan.ts';

const EMPTY = whole(0);
const NEVER: SplitLimits = { maxEntries: 1_000_000, minEntries: 1 };

async function plan(entries: readonly TreeEntry[], limits = NEVER): Promise<CatalogPlan> {
  return planCatalogs((await draftOf(...entries)).root, limits, EMPTY);
}

const file = (path: string) => entry(path, { content: 'x' });
const marked = (path: string) => [entry(path), file(`${path}/.cvmfscatalog`)];
const files = (folder: string, count: number) =>
  Array.from({ length: count }, (_, i) => file(`${folder}/${String(i).padStart(3, '0')}`));

/** None of these trees was published: every catalog is planned. */
const nestedOf = ({ nested }: CatalogPlan) => nested as readonly CatalogPlan[];

/** Roots of all catalogs with how many entries each has, its root included. */
function catalogsOf(one: CatalogPlan): Record<string, number> {
  return Object.assign({ [one.root.path]: one.nodes.length + 1 }, ...nestedOf(one).map(catalogsOf)) as Record<
    string,
    number
  >;
}

test('a tree without markers is one catalog', async () => {
  const { nodes, nested } = await plan([entry('/a'), file('/a/x'), file('/b')]);
  assert.deepEqual(
    nodes.map(({ path }) => path),
    ['/a', '/b', '/a/x'],
  );
  assert.deepEqual(nested, []);
});

test('siblings stand together in byte order, before what is below them', async () => {
  const { nodes } = await plan([
    entry('/b'),
    file('/b/2'),
    file('/b/1'),
    entry('/a'),
    file('/a/z'),
    file('/a.x'),
  ]);
  assert.deepEqual(
    nodes.map(({ path }) => path),
    ['/a', '/a.x', '/b', '/a/z', '/b/1', '/b/2'],
  );
});

test('a folder with .cvmfscatalog is the root of a catalog: the parent has its entry, and nothing below', async () => {
  const root = await plan([entry('/usr'), ...marked('/usr/lib'), file('/usr/lib/a'), file('/usr/b')]);
  assert.deepEqual(
    root.nodes.map(({ path }) => path),
    ['/usr', '/usr/b', '/usr/lib'],
  );
  const [lib] = nestedOf(root);
  assert.equal(lib!.root, root.nodes[2], 'the transition point');
  assert.deepEqual(
    lib!.nodes.map(({ path }) => path),
    ['/usr/lib/.cvmfscatalog', '/usr/lib/a'],
  );
});

test('catalogs are nested in catalogs', async () => {
  const root = await plan([
    ...marked('/a'),
    ...marked('/a/b'),
    entry('/a/b/c'),
    ...marked('/a/b/c/d'),
    ...marked('/e'),
  ]);
  assert.deepEqual(catalogsOf(root), { '': 3, '/a': 3, '/a/b': 4, '/a/b/c/d': 2, '/e': 2 });
  assert.deepEqual(
    nestedOf(root).map(({ root: { path } }) => path),
    ['/a', '/e'],
  );
});

test('a marker in the root folder is refused', async () => {
  await assert.rejects(plan([file('/.cvmfscatalog')]), {
    code: 'USAGE',
    message: /\.cvmfscatalog/,
    hint: /remove it/,
  });
});

for (const marker of [entry('/a/.cvmfscatalog'), entry('/a/.cvmfscatalog', { symlink: 'x' })]) {
  test(`a marker that is a ${marker.symlink === '' ? 'folder' : 'symlink'} is refused with its path`, async () => {
    await assert.rejects(plan([entry('/a'), marker]), {
      code: 'USAGE',
      message: 'Cannot publish /a/.cvmfscatalog: it has to be a regular file',
    });
  });
}

test('a catalog with too many entries is split at its heaviest folders, and these get markers', async () => {
  const entries = [
    entry('/a'),
    ...files('/a', 10),
    entry('/b'),
    ...files('/b', 30),
    entry('/c'),
    ...files('/c', 3),
    ...files('', 5),
  ];
  const root = await plan(entries, { maxEntries: 40, minEntries: 5 });
  // 52 entries; without the 30 of /b there are 22, which is still more than half of the limit.
  assert.deepEqual(catalogsOf(root), { '': 12, '/a': 13, '/b': 33 });
  const { nodes } = nestedOf(root)[0]!;
  assert.deepEqual(
    nodes.slice(0, 2).map(({ name }) => name),
    ['.cvmfsautocatalog', '.cvmfscatalog'],
  );
  assert.deepEqual(nodes[0]!.content, EMPTY);
});

test('a tree with exactly as many entries as a catalog may have is not split', async () => {
  const entries = [entry('/a'), ...files('/a', 8)];
  assert.deepEqual(catalogsOf(await plan(entries, { maxEntries: 10, minEntries: 1 })), { '': 10 });
  assert.deepEqual(catalogsOf(await plan([...entries, file('/b')], { maxEntries: 10, minEntries: 1 })), {
    '': 3,
    '/a': 11,
  });
});

test('a folder that was split off still counts as one entry of what is left', async () => {
  // 11 entries; without the 5 below /a there are 6, one more than half of the limit.
  const entries = [entry('/a'), ...files('/a', 5), entry('/b'), ...files('/b', 3)];
  assert.deepEqual(catalogsOf(await plan(entries, { maxEntries: 10, minEntries: 1 })), {
    '': 3,
    '/a': 8,
    '/b': 6,
  });
});

test('no folder with fewer entries than the minimum becomes a catalog', async () => {
  const entries = [...files('', 20), entry('/a'), ...files('/a', 3)];
  assert.deepEqual(catalogsOf(await plan(entries, { maxEntries: 10, minEntries: 5 })), { '': 25 });
});

test('of folders with as many entries the one that sorts first is split off', async () => {
  const entries = ['/b', '/a', '/c'].flatMap((path) => [entry(path), ...files(path, 9)]);
  assert.deepEqual(catalogsOf(await plan(entries, { maxEntries: 30, minEntries: 5 })), {
    '': 13,
    '/a': 12,
    '/b': 12,
  });
});

test('what is in a nested catalog by marker does not count for its parent', async () => {
  const entries = [...marked('/a'), ...files('/a', 20), entry('/b'), ...files('/b', 5)];
  assert.deepEqual(catalogsOf(await plan(entries, { maxEntries: 10, minEntries: 1 })), { '': 8, '/a': 22 });
});

const pathsArbitrary = fc.array(
  fc
    .array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1, maxLength: 6 })
    .map((names) => `/${names.join('/')}`),
  { maxLength: 60 },
);

test('however a tree is split, each entry is in one catalog, transition points in two, and the same tree is split in the same way', async () => {
  await fc.assert(
    fc.asyncProperty(pathsArbitrary, fc.integer({ min: 2, max: 20 }), async (paths, maxEntries) => {
      // All of them folders: what is below stays possible.
      const entries = paths.map((path) => entry(path));
      const limits = { maxEntries, minEntries: 1 };
      const root = await plan(entries, limits);
      const isMarker = (path: string) => /\/\.cvmfs(auto)?catalog$/.test(path);
      const seen = (one: CatalogPlan): string[] => [
        ...one.nodes.map(({ path }) => path),
        ...nestedOf(one).flatMap(seen),
      ];
      const all = new Set(
        paths.flatMap((path) => path.split('/').map((_, i, names) => names.slice(0, i + 1).join('/'))),
      );
      all.delete('');
      assert.deepEqual(
        seen(root)
          .filter((path) => !isMarker(path))
          .sort(),
        [...all].sort(),
      );
      assert.deepEqual(catalogsOf(await plan([...entries].reverse(), limits)), catalogsOf(root));
      for (const [path, count] of Object.entries(catalogsOf(root))) {
        const hasMarker = seen(root).includes(`${path}/.cvmfscatalog`);
        assert.equal(hasMarker, path !== '', `${path} with ${count} entries`);
      }
    }),
  );
});
