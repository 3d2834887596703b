/** Trees of anything that a tree may have: names and targets of any bytes, all kinds, hard links, nested catalogs. */

import fc from 'fast-check';
import type { TreeEntry } from '../../src/core/tree.ts';
import { entry, noise } from './memory-tree.ts';

const byteString = (minLength: number, maxLength: number, forbidden: readonly string[]) =>
  fc
    .uint8Array({ minLength, maxLength })
    .map((bytes) => Buffer.from(bytes).toString('latin1'))
    // Not by a filter: few of 255 bytes pass one, and of those biased to zero none.
    .map((text) => forbidden.reduce((rest, part) => rest.replaceAll(part, '_'), text));
const nameArbitrary = fc
  .oneof(
    { weight: 5, arbitrary: byteString(1, 12, ['/', '\0']) },
    { weight: 1, arbitrary: byteString(255, 255, ['/', '\0']) },
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

export interface Child {
  readonly name: string;
  readonly attributes: Record<string, unknown> & { readonly permissions: number };
  readonly node: Node;
}
export type Node =
  | { readonly kind: 'dir'; readonly isNested: boolean; readonly children: readonly Child[] }
  | { readonly kind: 'file'; readonly content: Uint8Array; readonly names: readonly string[] }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'special'; readonly type: number; readonly rdev: number };

export const { children: childrenArbitrary } = fc.letrec<{ node: Node; children: readonly Child[] }>(
  (tie) => ({
    node: fc.oneof(
      // Without a limit, one tree in a hundred takes minutes to make.
      { depthSize: 'small', maxDepth: 3, withCrossShrink: true },
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
  }),
);

/** The entries of a tree whose root has these children. */
export function entriesOf(children: readonly Child[]): TreeEntry[] {
  return [entry(''), ...entriesBelow(children, '')];
}

function entriesBelow(children: readonly Child[], folder: string): TreeEntry[] {
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
        ...entriesBelow(node.children, path),
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
