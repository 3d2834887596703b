/** Extended attributes of files on this machine. Node has no such calls; these go to the C library. */

import koffi from 'koffi';
import { type ByteString, byteStringOf } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';

const ENOENT = 2;
const ERANGE = 34;
const ENODATA = 61;
const ENOTSUP = 95;
/** The kernel allows no more than 64 kB, for the list and for a value. */
const MAX_BYTES = 64 * 1024;

const libc = koffi.load('libc.so.6');
const llistxattr = libc.func('long llistxattr(const void *path, _Out_ void *list, size_t size)');
const lgetxattr = libc.func(
  'long lgetxattr(const void *path, const void *name, _Out_ void *value, size_t size)',
);
const list = Buffer.alloc(MAX_BYTES);
const value = Buffer.alloc(MAX_BYTES);
const none: ReadonlyMap<ByteString, Uint8Array> = new Map();

/** All attributes of a file, of the link itself for symlinks. `path` ends with a zero byte. Throws NOT_FOUND, STORAGE. */
export function readXattrs(path: Buffer): ReadonlyMap<ByteString, Uint8Array> {
  const length = llistxattr(path, list, list.length) as number;
  if (length === 0) return none;
  if (length < 0) {
    const errno = koffi.errno();
    if (errno === ENOTSUP) return none;
    throw failure(path, errno);
  }
  const xattrs = new Map<ByteString, Uint8Array>();
  for (const name of byteStringOf(list, 0, length).split('\0')) {
    if (name === '') continue;
    // Names are bytes, and a string argument would be encoded as UTF-8.
    const size = lgetxattr(path, Buffer.from(`${name}\0`, 'latin1'), value, value.length) as number;
    if (size >= 0) {
      xattrs.set(name as ByteString, Uint8Array.prototype.slice.call(value, 0, size));
      continue;
    }
    const errno = koffi.errno();
    // Removed meanwhile, or listed but not readable.
    if (errno !== ENODATA && errno !== ENOTSUP && errno !== ERANGE) throw failure(path, errno);
  }
  return xattrs;
}

function failure(path: Buffer, errno: number): ThimbleError {
  const name = path.toString('utf8', 0, path.length - 1);
  return new ThimbleError(
    errno === ENOENT ? 'NOT_FOUND' : 'STORAGE',
    `Cannot read attributes of ${name}: errno ${errno}`,
  );
}
