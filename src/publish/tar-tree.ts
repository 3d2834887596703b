/** A tar stream as a tree. */

import { readTar, type TarEntry } from '../archive/tar.ts';
import { type ByteString, byteStringOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';

const TYPE_BITS: Readonly<Record<TarEntry['type'], number>> = {
  file: S_IFREG,
  hardlink: S_IFREG,
  symlink: S_IFLNK,
  character: S_IFCHR,
  block: S_IFBLK,
  directory: S_IFDIR,
  fifo: S_IFIFO,
};

export class TarTree implements Tree {
  readonly name: string;
  readonly #source: AsyncIterable<Uint8Array>;

  /** `name` is for messages. */
  constructor(source: AsyncIterable<Uint8Array>, name: string) {
    this.#source = source;
    this.name = name;
  }

  async *entries(): AsyncGenerator<TreeEntry> {
    // Symlinks and special files have hard links in archives as files have; in a repository each name is its own.
    const others = new Map<ByteString, TreeEntry>();
    for await (const entry of readTar(uncompressed(this.#source, this.name))) {
      const path = absolutePath(entry.path);
      const linked = entry.type === 'hardlink' ? others.get(absolutePath(entry.link)) : undefined;
      const translated = linked === undefined ? treeEntryOf(entry, path) : { ...linked, path };
      const kind = translated.mode & S_IFMT;
      if (kind === S_IFREG || kind === S_IFDIR) others.delete(path);
      else others.set(path, translated);
      yield translated;
    }
  }
}

/** First bytes of what people take for archives. */
const COMPRESSED: Readonly<Record<string, string>> = {
  gzip: '\x1f\x8b',
  bzip2: 'BZh',
  xz: '\xfd7zXZ\0',
  zstd: '\x28\xb5\x2f\xfd',
};

/** Hands the source on. Throws FORMAT if it begins as a compressed file does. */
async function* uncompressed(source: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  let isFirst = true;
  for await (const piece of source) {
    const start = isFirst ? byteStringOf(piece, 0, Math.min(piece.length, 8)) : '';
    const format = Object.keys(COMPRESSED).find((key) => start.startsWith(COMPRESSED[key]!));
    if (format !== undefined) {
      throw new ThimbleError('FORMAT', `Cannot publish ${name}: it is compressed with ${format}`, {
        hint: `decompress it on the way: ${format} -dc FILE | thimble publish NAME -`,
      });
    }
    isFirst = false;
    yield piece;
  }
}

/** The entry as a tree has it, at `path`. Throws LIMIT. */
export function treeEntryOf(entry: TarEntry, path: ByteString): TreeEntry {
  const isDevice = entry.type === 'character' || entry.type === 'block';
  return {
    path,
    mode: TYPE_BITS[entry.type] | entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNs: entry.mtimeNs,
    symlink: entry.type === 'symlink' ? entry.link : ('' as ByteString),
    rdev: isDevice ? makeDevice(entry.major, entry.minor) : 0,
    xattrs: entry.xattrs,
    // Any file may turn out to have more names later in the archive.
    linkKey: entry.type === 'file' ? path : entry.type === 'hardlink' ? absolutePath(entry.link) : undefined,
    content:
      entry.type === 'file'
        ? { kind: 'stream', sizeBytes: entry.sizeBytes, chunks: entry.content }
        : undefined,
  };
}

/** `./usr/bin`, `usr/bin` and `/usr/bin` are the same. Throws FORMAT for `..`. */
export function absolutePath(path: ByteString): ByteString {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..')) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot publish tar entry ${displayBytes(path)}: its path leaves the tree`,
    );
  }
  return names.map((name) => `/${name}`).join('') as ByteString;
}

/** `makedev` of the C library. Throws LIMIT where a catalog could not hold the result exactly. */
function makeDevice(major: number, minor: number): number {
  if (major > 0xfff || minor > 0xfffff) {
    throw new ThimbleError('LIMIT', `Cannot publish device ${major}:${minor}: its number is too large`);
  }
  return major * 0x100 + (minor & 0xff) + Math.floor(minor / 0x100) * 0x10_0000;
}
