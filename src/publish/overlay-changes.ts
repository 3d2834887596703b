/**
 * The upper layer of an overlay as changes to the tree below it. Nothing but this layer is read; the mounts need not be
 * there. How overlayfs marks what it keeps: Documentation/filesystems/overlayfs.rst of Linux.
 *
 * Hard links: a file of the lower layer with several names is in the overlay's index once one of them was changed. The
 * file there is the same inode as its names in the upper layer, and its name says which file of the lower layer it was.
 * So names that nobody touched are found too.
 */

import type { BigIntStats } from 'node:fs';
import { type ByteString, byteStringOf } from '../core/bytes/byte-string.ts';
import type { Xattrs } from '../core/catalog/xattrs.ts';
import { parentPath } from '../core/path-key.ts';
import type { TreeChange, TreeChanges, TreeEntry } from '../core/tree.ts';
import { S_IFCHR, S_IFDIR, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { HostFolder } from './host-folder.ts';

const WHITEOUT_XATTR = 'trusted.overlay.whiteout' as ByteString;
const OPAQUE_XATTR = 'trusted.overlay.opaque' as ByteString;
/** Where the index is in the work folder. */
export const INDEX_FOLDER = 'index';

export interface OverlayLayers {
  readonly upper: string;
  readonly work: string;
  /** All names that a file has in the lower layer; `handle` is its name in the index. */
  namesOf(handle: ByteString): Promise<readonly ByteString[]>;
}

export class OverlayChanges implements TreeChanges {
  readonly name: string;
  readonly #upper: HostFolder;
  readonly #index: HostFolder;
  readonly #layers: OverlayLayers;

  /** `name` is for messages. */
  constructor(layers: OverlayLayers, name: string) {
    this.name = name;
    this.#layers = layers;
    this.#upper = new HostFolder(layers.upper);
    this.#index = new HostFolder(`${layers.work}/${INDEX_FOLDER}`);
  }

  /** Throws NOT_FOUND, STORAGE, FORMAT. */
  async *changes(): AsyncGenerator<TreeChange> {
    const seen = new Set<string>();
    // A stack instead of recursion: nothing is deeper than memory allows.
    const pending: ByteString[] = ['' as ByteString];
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      const stats = this.#upper.stat(path);
      const xattrs = this.#upper.xattrs(path);
      if (isWhiteout(stats, xattrs)) {
        yield { kind: 'remove', path };
        continue;
      }
      const entry = onceWithContent(this.#upper.entry(path, stats, xattrs), seen);
      yield { kind: 'put', entry };
      if ((entry.mode & S_IFMT) !== S_IFDIR) continue;
      if (isOpaque(xattrs)) yield { kind: 'clear', path };
      // The last one pushed is the first one visited.
      for (const name of this.#upper.list(path).reverse()) pending.push(`${path}/${name}` as ByteString);
    }
    yield* this.#untouchedNames(seen);
  }

  /** Names of the lower layer that show a file of the upper one, because another name of the file was changed. */
  async *#untouchedNames(seen: Set<string>): AsyncGenerator<TreeChange> {
    if (this.#index.statIfThere('' as ByteString) === undefined) return;
    for (const handle of this.#index.list('' as ByteString)) {
      const file = `/${handle}` as ByteString;
      const stats = this.#index.stat(file);
      const xattrs = this.#index.xattrs(file);
      if (isWhiteout(stats, xattrs)) continue;
      for (const path of await this.#layers.namesOf(handle)) {
        if (this.#hides(path)) continue;
        const entry = this.#index.entry(file, stats, xattrs);
        yield {
          kind: 'put',
          entry: onceWithContent({ ...entry, path, linkKey: linkKeyOf(entry, stats) }, seen),
        };
      }
    }
  }

  /** Whether the upper layer says what is at a path of the lower layer. */
  #hides(path: ByteString): boolean {
    const above: ByteString[] = [];
    for (let one = path; one !== ''; one = parentPath(one)) above.unshift(one);
    for (const one of above) {
      const stats = this.#upper.statIfThere(one);
      if (stats === undefined) return false;
      if (one === path || (Number(stats.mode) & S_IFMT) !== S_IFDIR) return true;
      if (isOpaque(this.#upper.xattrs(one))) return true;
    }
    return true;
  }
}

/** As of a file with several names, also if none of them is in the upper layer any more. */
function linkKeyOf({ mode }: TreeEntry, { dev, ino }: BigIntStats): string | undefined {
  return (mode & S_IFMT) === S_IFREG ? `${dev}:${ino}` : undefined;
}

/** Content comes with the first name of a file. */
function onceWithContent(entry: TreeEntry, seen: Set<string>): TreeEntry {
  const { linkKey } = entry;
  if (linkKey === undefined) return entry;
  if (seen.has(linkKey)) return { ...entry, content: undefined };
  seen.add(linkKey);
  return entry;
}

/** A character device 0/0; or, inside another overlay, an empty file with an attribute. */
function isWhiteout(stats: BigIntStats, xattrs: Xattrs): boolean {
  const kind = Number(stats.mode) & S_IFMT;
  if (kind === S_IFCHR) return stats.rdev === 0n;
  return kind === S_IFREG && stats.size === 0n && xattrs.has(WHITEOUT_XATTR);
}

/** `y` hides the lower directory; `x` only says that there are whiteouts of the second form. */
function isOpaque(xattrs: Xattrs): boolean {
  const value = xattrs.get(OPAQUE_XATTR);
  return value !== undefined && byteStringOf(value) === 'y';
}
