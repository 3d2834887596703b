/** Random trees on disk: odd names, hard links, attributes, devices, all modes and times. */

import assert from 'node:assert/strict';
import { chmodSync, chownSync, linkSync, lutimesSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import koffi from 'koffi';

export type RandomEntry =
  | { readonly kind: 'dir'; readonly entries: readonly NamedEntry[]; readonly facts: Facts }
  | {
      readonly kind: 'file';
      /** Content is made from this, so that a counterexample stays readable. */
      readonly seed: number;
      readonly sizeBytes: number;
      readonly xattr: string;
      readonly facts: Facts;
    }
  | { readonly kind: 'symlink'; readonly target: string; readonly facts: Facts }
  | { readonly kind: 'node'; readonly type: 'p' | 'c' | 'b'; readonly facts: Facts }
  /** Another name for the last file before it. */
  | { readonly kind: 'again' };

interface NamedEntry {
  /** Bytes as latin1. */
  readonly name: string;
  readonly entry: RandomEntry;
}

interface Facts {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
}

const facts = fc.record<Facts>({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0xffff_fffe }),
  gid: fc.integer({ min: 0, max: 0xffff_fffe }),
  mtimeSeconds: fc.double({ min: 0, max: 0x7fff_ffff, noNaN: true }),
});

/** Any bytes a name may have; often a dot, a space, a percent sign or what is not UTF-8. */
const nameByte = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...'abcZ09._- %+~\\\'"$:?#') },
  {
    weight: 1,
    arbitrary: fc
      .integer({ min: 1, max: 255 })
      .map((byte) => String.fromCharCode(byte === 0x2f ? 0xff : byte)),
  },
);
const name = fc
  .oneof(
    { weight: 9, arbitrary: fc.array(nameByte, { minLength: 1, maxLength: 12 }) },
    { weight: 1, arbitrary: fc.array(nameByte, { minLength: 255, maxLength: 255 }) },
  )
  .map((bytes) => bytes.join(''))
  .filter((text) => text !== '.' && text !== '..' && !text.startsWith('.cvmfs'));

/** Nothing, less than a page of the kernel, or more than one chunk. */
const sizeBytes = fc.oneof(
  fc.constant(0),
  fc.integer({ max: 200, min: 1 }),
  fc.integer({ min: 5000, max: 40_000 }),
);

const leaf: fc.Arbitrary<RandomEntry> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('file' as const),
      seed: fc.nat(255),
      sizeBytes,
      xattr: fc.oneof(fc.constant(''), fc.string({ minLength: 1, maxLength: 40 })),
      facts,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('symlink' as const),
      target: fc.stringMatching(/^[a-z/.]{1,60}$/),
      facts,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('node' as const),
      type: fc.constantFrom('p' as const, 'c' as const, 'b' as const),
      facts,
    }),
  },
  { weight: 1, arbitrary: fc.constant<RandomEntry>({ kind: 'again' }) },
);

const named = (entry: fc.Arbitrary<RandomEntry>) =>
  fc.uniqueArray(fc.record({ name, entry }), { maxLength: 8, selector: (item) => item.name });

const { directory } = fc.letrec<{ directory: RandomEntry; entry: RandomEntry }>((tie) => ({
  entry: fc.oneof({ depthSize: 'small', withCrossShrink: true }, leaf, leaf, tie('directory')),
  directory: fc.record({ kind: fc.constant('dir' as const), entries: named(tie('entry')), facts }),
}));

export const randomTree = directory;

/** Makes it on disk, as root. */
export function makeRandomTree(folder: string, tree: RandomEntry): void {
  makeEntry(folder, tree, undefined);
}

/** Returns the path of the file that a further name would belong to. */
function makeEntry(path: string, entry: RandomEntry, linkable: string | undefined): string | undefined {
  const disk = Buffer.from(path, 'latin1');
  switch (entry.kind) {
    case 'again':
      if (linkable === undefined) writeFileSync(disk, '');
      else linkSync(Buffer.from(linkable, 'latin1'), disk);
      return linkable;
    case 'dir': {
      mkdirSync(disk, { recursive: true });
      // Links cross no folder: the format keeps groups within one.
      let last: string | undefined;
      for (const child of entry.entries) last = makeEntry(`${path}/${child.name}`, child.entry, last);
      break;
    }
    case 'file':
      writeFileSync(disk, contentOf(entry.seed, entry.sizeBytes));
      if (entry.xattr !== '') setXattr(disk, entry.xattr);
      break;
    case 'symlink':
      symlinkSync(entry.target, disk);
      break;
    case 'node':
      makeNode(disk, entry.type);
      break;
  }
  const { mode, uid, gid, mtimeSeconds } = entry.facts;
  if (entry.kind !== 'symlink') {
    chownSync(disk, uid, gid);
    chmodSync(disk, mode);
  }
  lutimesSync(disk, mtimeSeconds, mtimeSeconds);
  return entry.kind === 'file' ? path : linkable;
}

/** Bytes without a pattern that a chunker could trip over, the same for the same seed. */
function contentOf(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0, state = seed; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
}

/** The C library, for what Node has no calls for; paths go there as bytes that end with zero. */
const libc = koffi.load('libc.so.6');
const mknod = libc.func('int mknod(const void *path, uint32_t mode, uint64_t device)');
const setxattr = libc.func(
  'int setxattr(const void *path, const char *name, const void *value, size_t size, int flags)',
);

const NODE_MODES = { p: 0o010000, c: 0o020000, b: 0o060000 } as const;
/** 7:300, which takes bits of both halves of a minor number. */
const DEVICE = 0x0010_072c;

function makeNode(disk: Buffer, type: 'p' | 'c' | 'b'): void {
  assert.equal(mknod(zeroEnded(disk), NODE_MODES[type] | 0o644, type === 'p' ? 0 : DEVICE), 0);
}

function setXattr(disk: Buffer, value: string): void {
  const bytes = Buffer.from(value);
  assert.equal(setxattr(zeroEnded(disk), 'user.note', bytes, bytes.length, 0), 0);
}

function zeroEnded(path: Buffer): Buffer {
  return Buffer.concat([path, Buffer.from([0])]);
}
