/** A tree as a tar stream. */

import type { TarType } from '../archive/tar.ts';
import { type TarMember, writeTar } from '../archive/tar-writer.ts';
import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { Losses } from './losses.ts';

const TYPES: ReadonlyMap<number, TarType> = new Map([
  [S_IFREG, 'file'],
  [S_IFLNK, 'symlink'],
  [S_IFCHR, 'character'],
  [S_IFBLK, 'block'],
  [S_IFDIR, 'directory'],
  [S_IFIFO, 'fifo'],
]);

const NO_BYTES: AsyncIterable<Bytes> = { async *[Symbol.asyncIterator]() {} };

/** Same tree, same bytes. Throws FORMAT, and what the tree throws. */
export function tarOf(tree: Tree, losses: Losses): AsyncGenerator<Bytes> {
  return writeTar(membersOf(tree, losses));
}

async function* membersOf(tree: Tree, losses: Losses): AsyncGenerator<TarMember> {
  const firstOfLink = new Map<string, ByteString>();
  for await (const entry of tree.entries()) {
    const type = TYPES.get(entry.mode & S_IFMT);
    if (type === undefined) {
      losses.note('socket', entry.path, 'tar has none');
      continue;
    }
    const { linkKey, content } = entry;
    const first = linkKey === undefined ? undefined : firstOfLink.get(linkKey);
    if (first !== undefined && content === undefined) {
      yield memberOf({ ...entry, symlink: first }, 'hardlink');
      continue;
    }
    if (linkKey !== undefined) firstOfLink.set(linkKey, entry.path);
    yield memberOf(entry, type);
  }
}

/** The device number is in the kernel's encoding: 12 bits of major between the low 8 and the high 12 of the minor. */
function memberOf(entry: TreeEntry, type: TarType): TarMember {
  const { path, mode, uid, gid, mtimeSeconds, mtimeNs, symlink, rdev, xattrs, content } = entry;
  const stream = content?.kind === 'stream' ? content : { sizeBytes: 0, chunks: NO_BYTES };
  return {
    ...{ path, type, mode: mode & 0o7777, uid, gid, mtimeSeconds, mtimeNs, link: symlink, xattrs },
    major: (rdev >>> 8) & 0xfff,
    minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00),
    sizeBytes: stream.sizeBytes,
    content: stream.chunks,
  };
}
