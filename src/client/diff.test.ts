import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { type Child, childrenArbitrary, entriesOf } from '../../test/support/arbitrary-tree.ts';
import { openClient } from '../../test/support/client-repository.ts';
import type { Described } from '../../test/support/described-tree.ts';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import {
  FQRN,
  type PublisherRepository,
  publisherRepository,
} from '../../test/support/publisher-repository.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import type { ContentHash } from '../core/content-hash.ts';
import type { TreeEntry } from '../core/tree.ts';
import { nodeHashing } from '../node/hashing.ts';
import { type Difference, type DiffSummary, diffSnapshots } from './diff.ts';
import { MountedSnapshot } from './mounted-snapshot.ts';

function open(
  { storage, publicKey }: PublisherRepository,
  rootCatalog: ContentHash,
): Promise<MountedSnapshot> {
  const { objects } = openClient({ fqrn: FQRN, storage, publicKey: readFileSync(publicKey) });
  return MountedSnapshot.open({ rootCatalog, revision: undefined, tag: undefined }, objects, {
    hashing: nodeHashing,
  });
}

async function collect(
  from: MountedSnapshot,
  to: MountedSnapshot,
): Promise<{ differences: Difference[]; summary: DiffSummary }> {
  const differences: Difference[] = [];
  const running = diffSnapshots(from, to);
  for (;;) {
    const next = await running.next();
    if (next.done) return { differences, summary: next.value };
    differences.push(next.value);
  }
}

/** Both trees, published one after the other, and how many catalogs of each were needed to compare them. */
async function diffOf(t: TestContext, before: readonly TreeEntry[], after: readonly TreeEntry[]) {
  const repository = await publisherRepository(memoryScratch(t));
  const snapshots = [];
  for (const tree of [before, after]) {
    const { rootCatalog } = await repository.publish(memoryTree([entry(''), ...tree]));
    snapshots.push(await open(repository, rootCatalog));
  }
  const [from, to] = snapshots as [MountedSnapshot, MountedSnapshot];
  const { differences, summary } = await collect(from, to);
  return {
    lines: differences.map(lineOf),
    summary,
    catalogs: [from.vfs.catalogs.count, to.vfs.catalogs.count],
  };
}

function lineOf({ path, from, to, fields }: Difference): string {
  return `${from === undefined ? '+' : to === undefined ? '-' : fields.join()} ${path}`;
}

const CHANGES: readonly [string, TreeEntry, TreeEntry][] = [
  ['content', entry('/f', { content: 'old' }), entry('/f', { content: 'new' })],
  ['content', entry('/f', { content: '' }), entry('/f', { content: noise(40_000) })],
  ['target', entry('/f', { symlink: 'a' }), entry('/f', { symlink: 'b' })],
  ['device', entry('/f', { mode: 0o020600, rdev: 1 }), entry('/f', { mode: 0o020600, rdev: 2 })],
  ['mode', entry('/f', { content: '' }), entry('/f', { content: '', mode: 0o104755 })],
  ['owner', entry('/f', { content: '' }), entry('/f', { content: '', uid: 1 })],
  ['owner', entry('/f', { content: '' }), entry('/f', { content: '', gid: 1 })],
  ['mtime', entry('/f', { content: '' }), entry('/f', { content: '', mtimeSeconds: 5 })],
  ['mtime', entry('/f', { content: '' }), entry('/f', { content: '', mtimeNs: 1 })],
  ['xattrs', entry('/f', { content: '' }), entry('/f', { content: '', xattrs: { 'user.a': '' } })],
  [
    'xattrs',
    entry('/f', { content: '', xattrs: { 'user.a': '1' } }),
    entry('/f', { content: '', xattrs: { 'user.a': '2' } }),
  ],
  ['type,mode', entry('/f', { content: 'file' }), entry('/f', { symlink: 'link' })],
  ['content,mode', entry('/f', { content: 'x' }), entry('/f', { content: 'y', mode: 0o100600 })],
];

for (const [fields, before, after] of CHANGES) {
  test(`diffSnapshots() tells that ${fields} has changed, and nothing else`, async (t) => {
    const { lines, summary } = await diffOf(t, [before], [after]);
    assert.deepEqual(lines, [`${fields} /f`]);
    assert.deepEqual([summary.added, summary.removed, summary.changed], [0, 0, 1]);
  });
}

test('diffSnapshots() tells which names are the same file, also where their number stays', async (t) => {
  const first = (path: string) => entry(path, { content: 'same', linkKey: path });
  const again = (path: string, linkKey: string) => entry(path, { mode: 0o100644, linkKey });
  const { lines } = await diffOf(
    t,
    [first('/a'), again('/b', '/a'), first('/c'), again('/d', '/c')],
    [first('/a'), first('/b'), again('/c', '/a'), again('/d', '/b')],
  );
  assert.deepEqual(lines, ['links /b', 'links /c', 'links /d']);
});

test('diffSnapshots() lists all that is below a folder which comes, goes or becomes a file, parents first', async (t) => {
  const folder = (path: string) => [
    entry(path),
    entry(`${path}/.cvmfscatalog`, { content: '' }),
    entry(`${path}/f`, { content: 'f' }),
  ];
  const { lines, summary } = await diffOf(
    t,
    [...folder('/goes'), ...folder('/turns')],
    [...folder('/comes'), entry('/turns', { content: 'a file' })],
  );
  assert.deepEqual(lines, [
    'links ',
    '+ /comes',
    '+ /comes/.cvmfscatalog',
    '+ /comes/f',
    '- /goes',
    '- /goes/.cvmfscatalog',
    '- /goes/f',
    'type,mode /turns',
    '- /turns/.cvmfscatalog',
    '- /turns/f',
  ]);
  assert.deepEqual(summary, { added: 3, removed: 5, changed: 2, newContentBytes: 'a file'.length });
});

test('diffSnapshots() fetches no nested catalog that is the same on both sides', async (t) => {
  const tree = (content: string) => [
    ...['/same', '/same/deep', '/other'].flatMap((path) => [
      entry(path),
      entry(`${path}/.cvmfscatalog`, { content: '' }),
    ]),
    entry('/other/f', { content }),
  ];
  const { lines, catalogs } = await diffOf(t, tree('old'), tree('new'));
  assert.deepEqual(lines, ['content /other/f']);
  assert.deepEqual(catalogs, [2, 2]);
});

test('diffSnapshots() counts new content once, by chunks, and none that has only moved', async (t) => {
  const large = noise(100_000);
  const changed = large.slice();
  changed[99_999]! ^= 1;
  const { summary, lines } = await diffOf(
    t,
    [entry('/large', { content: large }), entry('/z-moves', { content: 'moved content' })],
    [
      entry('/a-moved', { content: 'moved content' }),
      entry('/large', { content: changed }),
      entry('/new', { content: 'twice' }),
      entry('/new-too', { content: 'twice' }),
    ],
  );
  assert.deepEqual(lines, ['+ /a-moved', 'content /large', '+ /new', '+ /new-too', '- /z-moves']);
  assert.ok(
    summary.newContentBytes > 5 && summary.newContentBytes <= 5 + 16_384,
    String(summary.newContentBytes),
  );
});

test('diffSnapshots() of a snapshot with itself looks into nothing', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  const { rootCatalog } = repository.manifest();
  const mounted = await open(repository, rootCatalog);
  const none = { added: 0, removed: 0, changed: 0, newContentBytes: 0 };
  assert.deepEqual(await collect(mounted, mounted), { differences: [], summary: none });
});

/** Makes another tree of a tree: `choose` decides over each entry, which stays, goes, or takes something of `others`. */
function edited(children: readonly Child[], others: readonly Child[], choose: () => number): Child[] {
  const changed = children.flatMap((child): Child[] => {
    const other = others[choose() % Math.max(1, others.length)] ?? child;
    switch (choose() % 8) {
      case 0:
        return [];
      case 1:
        return [{ ...child, node: other.node }];
      case 2:
        return [{ ...child, attributes: other.attributes }];
      case 3:
        return [child, other];
      default: {
        if (child.node.kind !== 'dir') return [child];
        return [{ ...child, node: { ...child.node, children: edited(child.node.children, others, choose) } }];
      }
    }
  });
  return [...new Map(changed.map((child) => [child.name, child])).values()];
}

/** As a listing has it: names of one file are told by the first of them. */
function listingOf(described: ReadonlyMap<string, Described>): Map<string, object> {
  return new Map(
    [...described].map(([path, { links, ...values }]) => [
      path,
      { ...values, links: links.length, linkedTo: links[0] },
    ]),
  );
}

test('the difference of two trees, applied to the listing of one, gives the listing of the other', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  await fc.assert(
    fc.asyncProperty(
      childrenArbitrary,
      childrenArbitrary,
      fc.array(fc.nat(1000), { minLength: 1, maxLength: 50 }),
      async (children, others, choices) => {
        let chosen = 0;
        const other = edited(children, others, () => choices[chosen++ % choices.length]!);
        const roots: ContentHash[] = [];
        for (const tree of [children, other]) {
          roots.push((await repository.publish(memoryTree(entriesOf(tree)))).rootCatalog);
        }
        const [before, after] = (await Promise.all(roots.map((root) => repository.read(root)))).map(
          listingOf,
        );
        const [from, to] = await Promise.all(roots.map((root) => open(repository, root)));
        const { differences, summary } = await collect(from!, to!);
        const applied = new Map(before);
        for (const { path, from: old, to: now, fields } of differences) {
          assert.equal(old !== undefined, before!.has(path), path);
          if (now === undefined) applied.delete(path);
          else applied.set(path, after!.get(path)!);
          assert.equal(old !== undefined && now !== undefined, fields.length > 0, path);
        }
        const sorted = [...applied].sort(([a], [b]) => (a < b ? -1 : 1));
        assert.deepEqual(new Map(sorted), new Map([...after!].sort(([a], [b]) => (a < b ? -1 : 1))));
        assert.equal(summary.added + summary.removed + summary.changed, differences.length);
        const paths = differences.map(({ path }) => path);
        assert.equal(new Set(paths).size, paths.length);
        const isNoise = differences.some(
          ({ path, fields }) =>
            fields.some((field) => field !== 'links') &&
            JSON.stringify(before!.get(path)) === JSON.stringify(after!.get(path)),
        );
        assert.equal(isNoise, false, 'nothing is told that is the same');
      },
    ),
    { numRuns: 20 },
  );
});
