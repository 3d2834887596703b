/** A folder of this machine as a tree: depth first, names in byte order, with owners, times and extended attributes. */

import { type BigIntStats, lstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { type ByteString, byteStringOf, compareByteStrings } from '../core/bytes/byte-string.ts';
import { toSafeNumber } from '../core/bytes/integer.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { Xattrs } from '../core/catalog/xattrs.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { readXattrs } from '../node/xattrs.ts';

const NS_PER_SECOND = 1_000_000_000n;

export class FolderTree implements Tree {
  readonly name: string;
  readonly #folder: ByteString;

  constructor(folder: string) {
    this.name = folder;
    this.#folder = byteStringOf(Buffer.from(folder.replace(/\/+$/, '') || '/'));
  }

  async *entries(): AsyncGenerator<TreeEntry> {
    const root = this.#stat('' as ByteString);
    if (!root.isDirectory()) {
      throw new ThimbleError('USAGE', `Cannot publish ${this.name}: it is not a folder`);
    }
    // A stack instead of recursion: nothing is deeper than memory allows.
    const pending: ByteString[] = ['' as ByteString];
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      const entry = this.#entry(path, path === '' ? root : this.#stat(path));
      yield entry;
      if ((entry.mode & S_IFMT) !== S_IFDIR) continue;
      for (const name of this.#list(path)) pending.push(`${path}/${name}` as ByteString);
    }
  }

  #entry(path: ByteString, stats: BigIntStats): TreeEntry {
    const mode = Number(stats.mode);
    const kind = mode & S_IFMT;
    const hostPath = this.#hostPath(path);
    const [mtimeSeconds, mtimeNs] = splitNs(stats.mtimeNs);
    return {
      path,
      mode,
      uid: Number(stats.uid),
      gid: Number(stats.gid),
      mtimeSeconds,
      mtimeNs,
      symlink: kind === S_IFLNK ? this.#readlink(path) : ('' as ByteString),
      rdev:
        kind === S_IFREG || kind === S_IFDIR || kind === S_IFLNK
          ? 0
          : toSafeNumber(stats.rdev, 'a device number'),
      // A slash at the end follows a symlink.
      xattrs: publishable(readXattrs(Buffer.from(`${hostPath}${path === '' ? '/' : ''}\0`, 'latin1'))),
      linkKey: kind === S_IFREG && stats.nlink > 1n ? `${stats.dev}:${stats.ino}` : undefined,
      content:
        kind === S_IFREG
          ? { kind: 'file', hostPath, sizeBytes: toSafeNumber(stats.size, 'a file size') }
          : undefined,
    };
  }

  #hostPath(path: ByteString): ByteString {
    return (this.#folder === '/' ? path || '/' : this.#folder + path) as ByteString;
  }

  #stat(path: ByteString): BigIntStats {
    // The folder itself may be named by a symlink.
    const stat = path === '' ? statSync : lstatSync;
    return this.#attempt(path, () => stat(toBuffer(this.#hostPath(path)), { bigint: true }));
  }

  /** Names in reverse order: the last one pushed is the first one visited. */
  #list(path: ByteString): ByteString[] {
    const names = this.#attempt(path, () =>
      readdirSync(toBuffer(this.#hostPath(path)), { encoding: 'buffer' }),
    );
    return names.map((name) => byteStringOf(name)).sort((a, b) => compareByteStrings(b, a));
  }

  #readlink(path: ByteString): ByteString {
    return this.#attempt(path, () =>
      byteStringOf(readlinkSync(toBuffer(this.#hostPath(path)), { encoding: 'buffer' })),
    );
  }

  #attempt<T>(path: ByteString, action: () => T): T {
    try {
      return action();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const isGone = code === 'ENOENT' || code === 'ENOTDIR';
      const vanished = isGone && path !== '';
      throw new ThimbleError(
        isGone ? 'NOT_FOUND' : 'STORAGE',
        `Cannot read ${displayBytes(this.#hostPath(path))}`,
        {
          hint: vanished
            ? 'it vanished while it was being published; publish a tree that nobody changes'
            : undefined,
          cause: error,
        },
      );
    }
  }
}

/** What an overlay keeps for itself is not part of the tree. */
function publishable(xattrs: Xattrs): Xattrs {
  const own = [...xattrs].filter(([name]) => !name.startsWith('trusted.overlay.'));
  return own.length === xattrs.size ? xattrs : new Map(own);
}

/** Seconds round down, so that nanoseconds are never negative. */
function splitNs(ns: bigint): [seconds: number, nanoseconds: number] {
  const seconds = ns >= 0n ? ns / NS_PER_SECOND : (ns - NS_PER_SECOND + 1n) / NS_PER_SECOND;
  return [toSafeNumber(seconds, 'a time'), Number(ns - seconds * NS_PER_SECOND)];
}

function toBuffer(path: ByteString): Buffer {
  return Buffer.from(path, 'latin1');
}
