/** Reads what a folder of this machine has, with owners, times and extended attributes. Paths start at the folder. */

import { type BigIntStats, lstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { type ByteString, byteStringOf, compareByteStrings } from '../core/bytes/byte-string.ts';
import { toSafeNumber } from '../core/bytes/integer.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { Xattrs } from '../core/catalog/xattrs.ts';
import { ThimbleError } from '../core/errors.ts';
import type { TreeEntry } from '../core/tree.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { readXattrs } from '../node/xattrs.ts';

const NS_PER_SECOND = 1_000_000_000n;
const NOT_ASCII = /[^\x01-\x7f]/;

export class HostFolder {
  readonly name: string;
  readonly #folder: ByteString;

  constructor(folder: string) {
    this.name = folder;
    this.#folder = byteStringOf(Buffer.from(folder.replace(/\/+$/, '') || '/'));
  }

  /** Throws NOT_FOUND, STORAGE. */
  stat(path: ByteString): BigIntStats {
    // The folder itself may be named by a symlink.
    const stat = path === '' ? statSync : lstatSync;
    return this.#attempt(path, () => stat(toHost(this.#hostPath(path)), { bigint: true }));
  }

  /** `undefined` if there is nothing. Throws STORAGE. */
  statIfThere(path: ByteString): BigIntStats | undefined {
    return this.#attempt(path, () =>
      lstatSync(toHost(this.#hostPath(path)), { bigint: true, throwIfNoEntry: false }),
    );
  }

  /** All attributes, also those that are no part of a tree. Throws NOT_FOUND, STORAGE. */
  xattrs(path: ByteString): Xattrs {
    // A slash at the end follows a symlink.
    return readXattrs(Buffer.from(`${this.#hostPath(path)}${path === '' ? '/' : ''}\0`, 'latin1'));
  }

  /** Throws NOT_FOUND, STORAGE, LIMIT. */
  entry(path: ByteString, stats: BigIntStats, xattrs: Xattrs): TreeEntry {
    const mode = Number(stats.mode);
    const kind = mode & S_IFMT;
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
      xattrs: publishable(xattrs),
      linkKey: kind === S_IFREG && stats.nlink > 1n ? `${stats.dev}:${stats.ino}` : undefined,
      content:
        kind === S_IFREG
          ? {
              kind: 'file',
              hostPath: this.#hostPath(path),
              sizeBytes: toSafeNumber(stats.size, 'a file size'),
            }
          : undefined,
    };
  }

  /** Names in byte order. Throws NOT_FOUND, STORAGE. */
  list(path: ByteString): ByteString[] {
    const names = this.#attempt(path, () =>
      readdirSync(toHost(this.#hostPath(path)), { encoding: 'latin1' }),
    );
    return (names as ByteString[]).sort(compareByteStrings);
  }

  #hostPath(path: ByteString): ByteString {
    return (this.#folder === '/' ? path || '/' : this.#folder + path) as ByteString;
  }

  #readlink(path: ByteString): ByteString {
    return this.#attempt(path, () =>
      byteStringOf(readlinkSync(toHost(this.#hostPath(path)), { encoding: 'buffer' })),
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

/** Strings are a little faster, and would be encoded as UTF-8. */
function toHost(path: ByteString): string | Buffer {
  return NOT_ASCII.test(path) ? Buffer.from(path, 'latin1') : path;
}
