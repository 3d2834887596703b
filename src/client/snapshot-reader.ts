/** Reads files of a snapshot by path, following symlinks within the snapshot. */

import { type ByteString, type Bytes, byteStringOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { MountedSnapshot } from './mounted-snapshot.ts';
import { listDirectory, lookupChild, readFileContent, rootOf, type WalkedEntry } from './walk.ts';

const MAX_SYMLINKS = 40;

export class SnapshotReader {
  readonly #mounted: MountedSnapshot;

  constructor(mounted: MountedSnapshot) {
    this.#mounted = mounted;
  }

  get root(): WalkedEntry {
    return rootOf(this.#mounted);
  }

  /** What is at a path, symlinks followed; `undefined` if there is nothing. Throws FORMAT for a loop of symlinks. */
  async find(path: string): Promise<WalkedEntry | undefined> {
    const pending = path.split('/').filter((name) => name !== '');
    const above: WalkedEntry[] = [];
    let here = this.root;
    let symlinks = 0;
    for (let name = pending.shift(); name !== undefined; name = pending.shift()) {
      if (name === '.') continue;
      if (name === '..') {
        here = above.pop() ?? this.root;
        continue;
      }
      const child = await lookupChild(this.#mounted, here, name as ByteString);
      if (child === undefined) return undefined;
      if ((child.attributes.mode & S_IFMT) !== S_IFLNK) {
        above.push(here);
        here = child;
        continue;
      }
      if (++symlinks > MAX_SYMLINKS)
        throw new ThimbleError('FORMAT', `Cannot open ${path}: symlinks form a loop`);
      const target = this.#mounted.vfs.readlink(child.node) ?? '';
      if (target.startsWith('/')) {
        above.length = 0;
        here = this.root;
      }
      pending.unshift(...target.split('/').filter((part) => part !== ''));
    }
    return here;
  }

  /** The content of a regular file. Throws NOT_FOUND. */
  async readFile(path: string): Promise<Bytes> {
    const entry = await this.find(path);
    if (entry === undefined || (entry.attributes.mode & S_IFMT) !== S_IFREG) {
      throw new ThimbleError('NOT_FOUND', `Cannot read ${path}: there is no such file in the snapshot`);
    }
    return readFileContent(this.#mounted, entry.node, 0, entry.attributes.sizeBytes);
  }

  async readText(path: string): Promise<string> {
    return byteStringOf(await this.readFile(path));
  }

  /** Names in a directory; none if it does not exist. */
  async list(path: string): Promise<string[]> {
    const entry = await this.find(path);
    if (entry === undefined || (entry.attributes.mode & S_IFMT) !== S_IFDIR) return [];
    const children = await listDirectory(this.#mounted, entry);
    return children.map((child) => displayBytes(child.path.slice(child.path.lastIndexOf('/') + 1))).sort();
  }
}
