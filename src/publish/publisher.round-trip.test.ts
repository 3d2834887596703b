/** What is published is what clients read. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import { needs } from '../../test/support/needs.ts';
import {
  assertReadsBack,
  publisherRepository,
  VARIED_TREE,
} from '../../test/support/publisher-repository.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, makeTree } from '../../test/support/trees.ts';
import type { TreeEntry } from '../core/tree.ts';
import { FolderTree } from './folder-tree.ts';

test(
  'devices, FIFOs, owners, set-user-id bits, attributes, odd names and nanoseconds come back from a folder',
  needs('root', 'attr'),
  async (t) => {
    const repository = await publisherRepository(memoryScratch(t));
    const folder = scratchFolder(t);
    makeTree(folder, VARIED_TREE);
    makeTree(
      join(folder, 'more'),
      dir({ [`${'n'.repeat(255)}`]: file('x', { uid: 1000, gid: 3_000_000_000 }), ' \n\t': dir({}) }),
    );
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0xfe, 0x80])]), 'not UTF-8');
    for (const args of [
      ['null', 'c', '1', '3'],
      ['disk', 'b', '259', '300'],
      ['fifo', 'p'],
    ]) {
      assert.equal(spawnSync('mknod', [join(folder, args[0]!), ...args.slice(1)]).status, 0);
    }
    spawnSync('setfattr', [
      '-n',
      'security.capability',
      '-v',
      '0x0100000200200000000000000000000000000000',
      join(folder, 'large'),
    ]);
    spawnSync('touch', ['-d', '1969-12-31T23:59:58.123456789Z', join(folder, 'nothing')]);
    await repository.publish(new FolderTree(folder));
    await assertReadsBack(repository, new FolderTree(folder));
    const { mtime, content } = (await repository.read()).get('/nothing')!;
    assert.deepEqual([mtime, content?.slice(0, 7)], ['-2+123456789', '0 bytes']);
  },
);

/** Anything that a tree may have: names and targets of any bytes, all kinds, hard links, nested catalogs. */
const byteString = (minLength: number, maxLength: number, forbidden: readonly string[]) =>
  fc
    .uint8Array({ minLength, maxLength })
    .map((bytes) => Buffer.from(bytes).toString('latin1'))
    .filter((text) => !forbidden.some((part) => text.includes(part)));
const nameArbitrary = fc
  .oneof(
    { weight: 5, arbitrary: byteString(1, 12, ['/', '\0']) },
    { weight: 1, arbitrary: byteString(255, 255, ['\0']).map((text) => text.replaceAll('/', '_')) },
  )
  .filter((name) => name !== '.' && name !== '..' && !name.startsWith('.cvmfs'));
const attributesArbitrary = fc.record({
  permissions: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.oneof(fc.integer({ min: 0, max: 70_000 }), fc.constant(4_294_967_294)),
  gid: fc.integer({ min: 0, max: 4_294_967_294 }),
  mtimeSeconds: fc.integer({ min: -(2 ** 31), max: 2 ** 34 }),
  mtimeNs: fc.integer({ min: 0, max: 999_999_999 }),
  xattrs: fc.oneof(
    { weight: 4, arbitrary: fc.constant({}) },
    {
      weight: 1,
      arbitrary: fc.dictionary(
        byteString(1, 20, ['\0']).map((text) => `user.${text}`),
        byteString(0, 255, []),
        { maxKeys: 3 },
      ),
    },
  ),
});
const contentArbitrary = fc
  .tuple(
    fc.oneof(
      fc.integer({ min: 0, max: 40 }),
      fc.constantFrom(1024, 4096, 16384),
      fc.integer({ min: 0, max: 60_000 }),
    ),
    fc.nat(5),
  )
  .map(([length, seed]) => noise(length, seed + 1));

interface Child {
  readonly name: string;
  readonly attributes: Record<string, unknown> & { readonly permissions: number };
  readonly node: Node;
}
type Node =
  | { readonly kind: 'dir'; readonly isNested: boolean; readonly children: readonly Child[] }
  | { readonly kind: 'file'; readonly content: Uint8Array; readonly names: readonly string[] }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'special'; readonly type: number; readonly rdev: number };

const { children: childrenArbitrary } = fc.letrec<{ node: Node; children: readonly Child[] }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({
      kind: fc.constant('file' as const),
      content: contentArbitrary,
      names: fc.array(nameArbitrary, { maxLength: 2 }),
    }),
    // The client expands variables in targets.
    fc.record({ kind: fc.constant('symlink' as const), target: byteString(1, 300, ['\0', '$']) }),
    fc.record({
      kind: fc.constant('special' as const),
      type: fc.constantFrom(0o010000, 0o020000, 0o060000, 0o140000),
      rdev: fc.integer({ min: 0, max: 0xffff }),
    }),
    fc.record({ kind: fc.constant('dir' as const), isNested: fc.boolean(), children: tie('children') }),
    fc.record({ kind: fc.constant('dir' as const), isNested: fc.boolean(), children: tie('children') }),
  ) as fc.Arbitrary<Node>,
  children: fc.uniqueArray(
    fc.record({
      name: nameArbitrary,
      attributes: attributesArbitrary,
      node: tie('node') as fc.Arbitrary<Node>,
    }),
    { maxLength: 8, selector: ({ name }) => name },
  ),
}));

function entriesOf(children: readonly Child[], folder = ''): TreeEntry[] {
  const taken = new Set(children.map(({ name }) => name));
  return children.flatMap((child) => entriesOfChild(child, `${folder}/${child.name}`, taken));
}

function entriesOfChild({ attributes, node }: Child, path: string, taken: Set<string>): TreeEntry[] {
  const { permissions, ...values } = attributes;
  switch (node.kind) {
    case 'dir': {
      const marker = node.isNested ? [entry(`${path}/.cvmfscatalog`, { content: '' })] : [];
      return [
        entry(path, { ...values, mode: 0o040000 | permissions }),
        ...marker,
        ...entriesOf(node.children, path),
      ];
    }
    case 'file': {
      const folder = path.slice(0, path.lastIndexOf('/'));
      const others = node.names.filter((other) => !taken.has(other) && taken.add(other));
      const shared = {
        ...values,
        mode: 0o100000 | permissions,
        ...(others.length > 0 ? { linkKey: path } : {}),
      };
      return [
        entry(path, { ...shared, content: node.content }),
        ...others.map((other) => entry(`${folder}/${other}`, shared)),
      ];
    }
    case 'symlink':
      return [entry(path, { ...values, mode: 0o120777, symlink: node.target })];
    case 'special': {
      const isDevice = node.type === 0o020000 || node.type === 0o060000;
      return [entry(path, { ...values, mode: node.type | permissions, rdev: isDevice ? node.rdev : 0 })];
    }
  }
}

test('any tree that is published is read back as it was, whatever was published before', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  await fc.assert(
    fc.asyncProperty(childrenArbitrary, async (children) => {
      const tree = memoryTree([entry(''), ...entriesOf(children)]);
      await repository.publish(tree, { threads: 1 });
      await assertReadsBack(repository, tree);
      assert.equal((await repository.publish(tree, { threads: 1 })).changed, false);
    }),
    { numRuns: 20 },
  );
});
