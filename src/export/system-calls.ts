/** What Node has no calls for: attributes, times in nanoseconds, device nodes. Paths are bytes. */

import koffi from 'koffi';
import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;

const libc = koffi.load('libc.so.6');
const lsetxattr = libc.func(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const timespec = koffi.struct({ seconds: 'int64_t', nanoseconds: 'int64_t' });
const utimensat = libc.func('utimensat', 'int', ['int', 'const void *', koffi.pointer(timespec), 'int']);
const mknod = libc.func('int mknod(const void *path, uint32_t mode, uint64_t device)');
const syncfs = libc.func('int syncfs(int fd)');

/** 0, or the `errno` of the failure. */
export type Errno = number;

export const EPERM = 1;
export const EACCES = 13;
export const EINVAL = 22;
export const EOPNOTSUPP = 95;

/** Of the link itself, for symlinks. */
export function setXattr(path: ByteString, name: ByteString, value: Bytes): Errno {
  return errnoOf(lsetxattr(zeroEnded(path), zeroEnded(name), value, value.length, 0));
}

/** Of the link itself, for symlinks; the time of access becomes the same. */
export function setTimes(path: ByteString, seconds: number, nanoseconds: number): Errno {
  const time = { seconds, nanoseconds };
  return errnoOf(utimensat(AT_FDCWD, zeroEnded(path), [time, time], AT_SYMLINK_NOFOLLOW));
}

/** Fails with EEXIST where something is, also a symlink. */
export function makeNode(path: ByteString, mode: number, device: number): Errno {
  return errnoOf(mknod(zeroEnded(path), mode, device));
}

/** Waits until the file system of an open file has written everything. */
export function syncFileSystem(fd: number): Errno {
  return errnoOf(syncfs(fd));
}

function errnoOf(result: number): Errno {
  return result === 0 ? 0 : koffi.errno();
}

function zeroEnded(text: ByteString): Buffer {
  return Buffer.from(`${text}\0`, 'latin1');
}
