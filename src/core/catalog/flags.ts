/** The `flags` column of catalogs (docs/format.md#flags): entry kind, hash algorithm, compression. */

import { HASH_ALGORITHMS, type HashAlgorithm } from '../content-hash.ts';
import { ThimbleError } from '../errors.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../vfs.ts';

export const FLAG_DIRECTORY = 1;
/** Set in the parent catalog, on the directory where a nested catalog takes over. */
export const FLAG_NESTED_MOUNTPOINT = 2;
/** Regular files; also set for symlinks and special files. */
export const FLAG_FILE = 4;
export const FLAG_SYMLINK = 8;
export const FLAG_SPECIAL = 16;
/** Set on the root row of a nested catalog. */
export const FLAG_NESTED_ROOT = 32;
export const FLAG_CHUNKED = 64;
export const FLAG_EXTERNAL = 128;
export const FLAG_BIND_MOUNTPOINT = 0x4000;
export const FLAG_HIDDEN = 0x8000;
export const FLAG_DIRECT_IO = 0x1_0000;

const HASH_SHIFT = 8;
const COMPRESSION_SHIFT = 11;
const THREE_BITS = 7;

export type Compression = 'zlib' | 'none';
const COMPRESSIONS: readonly Compression[] = ['zlib', 'none'];

/** The flags that say what an entry of this `st_mode` is. */
export function kindFlags(mode: number): number {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return FLAG_DIRECTORY;
    case S_IFREG:
      return FLAG_FILE;
    case S_IFLNK:
      return FLAG_FILE | FLAG_SYMLINK;
    default:
      return FLAG_FILE | FLAG_SPECIAL;
  }
}

export function hashAlgorithmFlags(algorithm: HashAlgorithm): number {
  return HASH_ALGORITHMS.indexOf(algorithm) << HASH_SHIFT;
}

export function compressionFlags(compression: Compression): number {
  return COMPRESSIONS.indexOf(compression) << COMPRESSION_SHIFT;
}

/** Throws UNSUPPORTED for an algorithm this version does not know. */
export function hashAlgorithmOfFlags(flags: number): HashAlgorithm {
  return known(HASH_ALGORITHMS, (flags >> HASH_SHIFT) & THREE_BITS, 'hash algorithm');
}

/** Throws UNSUPPORTED for a compression this version does not know. */
export function compressionOfFlags(flags: number): Compression {
  return known(COMPRESSIONS, (flags >> COMPRESSION_SHIFT) & THREE_BITS, 'compression');
}

function known<T>(list: readonly T[], id: number, what: string): T {
  const value = list[id];
  if (value === undefined)
    throw new ThimbleError('UNSUPPORTED', `Cannot use entry: ${what} ${id} is not known`);
  return value;
}
