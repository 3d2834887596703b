/** Trees that exist in memory alone: for tests of what consumes a tree, and needs no folder for it. */

import type { ByteString, Bytes } from '../../src/core/bytes/byte-string.ts';
import type { Tree, TreeEntry } from '../../src/core/tree.ts';
import { S_IFDIR, S_IFLNK, S_IFREG } from '../../src/core/vfs.ts';

type EntryValues = Partial<Omit<TreeEntry, 'path' | 'content' | 'xattrs' | 'symlink'>> & {
  readonly content?: string | Uint8Array;
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly symlink?: string;
};

/** One entry; it is a regular file if it has content, a symlink if it has a target, else what `mode` says or a folder. */
export function entry(path: string, values: EntryValues = {}): TreeEntry {
  const { content, xattrs, symlink, mode, ...more } = values;
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const usual =
    bytes !== undefined ? S_IFREG | 0o644 : symlink !== undefined ? S_IFLNK | 0o777 : S_IFDIR | 0o755;
  return {
    path: path as ByteString,
    mode: mode ?? usual,
    uid: 0,
    gid: 0,
    mtimeSeconds: 1_700_000_000,
    mtimeNs: 0,
    rdev: 0,
    linkKey: undefined,
    ...more,
    symlink: (symlink ?? '') as ByteString,
    xattrs: new Map(
      Object.entries(xattrs ?? {}).map(([name, value]) => [name as ByteString, Buffer.from(value, 'latin1')]),
    ),
    content:
      bytes === undefined ? undefined : { kind: 'stream', sizeBytes: bytes.length, chunks: pieces(bytes) },
  };
}

/** A tree that can be published any number of times. */
export function memoryTree(entries: readonly TreeEntry[], name = 'memory'): Tree {
  return {
    name,
    async *entries() {
      yield* entries;
    },
  };
}

function pieces(bytes: Uint8Array): AsyncIterable<Bytes> {
  return {
    async *[Symbol.asyncIterator]() {
      for (let at = 0; at < bytes.length; at += 5000) yield bytes.subarray(at, at + 5000);
    },
  };
}

/** Bytes that do not compress and are the same in every run: the generator of docs/format.md#chunking. */
export function noise(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    // Of the product, only the lower 31 bits count.
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    bytes[i] = (state >> 16) & 0xff;
  }
  return bytes;
}
