/** Gives one folder the attributes of another, times to the nanosecond. Node's own calls take seconds as floating point. */

import { chmodSync, chownSync, statSync } from 'node:fs';
import koffi from 'koffi';
import { ThimbleError } from '../core/errors.ts';
import { readXattrs } from './xattrs.ts';

const libc = koffi.load('libc.so.6');
const utimensat = libc.func('int utimensat(int folder, const char *path, const void *times, int flags)');
const setxattr = libc.func(
  'int setxattr(const char *path, const void *name, const void *value, size_t size, int flags)',
);

const AT_FDCWD = -100;
const NS_PER_SECOND = 1_000_000_000n;

/** Owner, mode, extended attributes and times. Throws STORAGE. */
export function copyAttributes(from: string, to: string): void {
  try {
    const stats = statSync(from, { bigint: true });
    chownSync(to, Number(stats.uid), Number(stats.gid));
    chmodSync(to, Number(stats.mode) & 0o7777);
    for (const [name, value] of readXattrs(Buffer.from(`${from}\0`))) {
      check(
        setxattr(to, Buffer.from(`${name}\0`, 'latin1'), value, value.length, 0),
        'set an attribute of',
        to,
      );
    }
    const { atimeNs, mtimeNs } = stats;
    const times = BigInt64Array.of(...timespec(atimeNs), ...timespec(mtimeNs));
    check(utimensat(AT_FDCWD, to, Buffer.from(times.buffer), 0), 'set the time of', to);
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('STORAGE', `Cannot copy the attributes of ${from} to ${to}`, { cause: error });
  }
}

/** Nanoseconds are never negative. */
function timespec(ns: bigint): [seconds: bigint, nanoseconds: bigint] {
  const rest = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  return [(ns - rest) / NS_PER_SECOND, rest];
}

function check(result: number, what: string, path: string): void {
  if (result !== 0) throw new ThimbleError('STORAGE', `Cannot ${what} ${path}: errno ${koffi.errno()}`);
}
