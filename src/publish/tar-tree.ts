/** A tar stream as a tree. */

import { readTar, type TarEntry } from '../archive/tar.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from '../core/vfs.ts';

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
    for await (const entry of readTar(this.#source)) {
      const path = absolutePath(entry.path);
      const isDevice = entry.type === 'character' || entry.type === 'block';
      yield {
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
        linkKey:
          entry.type === 'file' ? path : entry.type === 'hardlink' ? absolutePath(entry.link) : undefined,
        content:
          entry.type === 'file'
            ? { kind: 'stream', sizeBytes: entry.sizeBytes, chunks: entry.content }
            : undefined,
      };
    }
  }
}

/** `./usr/bin`, `usr/bin` and `/usr/bin` are the same; `..` is refused. */
function absolutePath(path: ByteString): ByteString {
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
