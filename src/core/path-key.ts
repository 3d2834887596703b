/**
 * Path keys: catalogs index entries by the MD5 of their absolute path, read as two little-endian signed 64-bit integers
 * (docs/format.md#path-keys). Here a key is four 32-bit halves, since 64-bit arithmetic on numbers is inexact and on
 * bigints slow.
 */

import { type ByteString, type Bytes, bytesOf } from './bytes/byte-string.ts';
import type { Hashing } from './ports.ts';

/** `[high1, low1, high2, low2]`: signed high halves, low halves as signed 32-bit patterns. */
export type PathKey = Int32Array;

export const NO_PARENT: PathKey = new Int32Array(4);

export function pathKeyOf(hashing: Hashing, path: ByteString): PathKey {
  return pathKeyOfDigest(hashing.digest('md5', bytesOf(path)));
}

export function pathKeyOfDigest(digest: Bytes): PathKey {
  const view = new DataView(digest.buffer, digest.byteOffset, 16);
  return Int32Array.of(
    view.getInt32(4, true),
    view.getInt32(0, true),
    view.getInt32(12, true),
    view.getInt32(8, true),
  );
}

/** The two signed 64-bit integers that stand in the catalog columns `md5path_1` and `md5path_2`. */
export function pathKeyColumns(key: PathKey): [bigint, bigint] {
  return [joinHalves(key[0]!, key[1]!), joinHalves(key[2]!, key[3]!)];
}

function joinHalves(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low >>> 0);
}

/** The parent of an absolute path: `/usr/bin` gives `/usr`, `/usr` gives the root, which is the empty string. */
export function parentPath(path: ByteString): ByteString {
  return path.slice(0, path.lastIndexOf('/')) as ByteString;
}

export function baseName(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf('/') + 1) as ByteString;
}
