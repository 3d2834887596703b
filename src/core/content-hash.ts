/**
 * Content hashes and object names (docs/format.md#hashes). A hash is kept in its textual form without type suffix,
 * for instance `28d94b83...65122-shake128`: comparable, printable, and a key for maps.
 */

import type { Bytes } from './bytes/byte-string.ts';
import { decodeHex, encodeHex } from './bytes/hex.ts';
import { ThimbleError } from './errors.ts';
import type { Hashing } from './ports.ts';

export type HashAlgorithm = 'sha1' | 'rmd160' | 'shake128';
export type ContentHash = string & { readonly __brand: 'ContentHash' };

/** What an object is; the letter ends its file name and is not part of the hash. */
export type ObjectType = '' | 'C' | 'H' | 'X' | 'M' | 'P';

export const DIGEST_BYTES = 20;
export const NULL_HASH = '0'.repeat(2 * DIGEST_BYTES) as ContentHash;

/** The position is the id in catalog flags, bits 8 to 10. */
export const HASH_ALGORITHMS: readonly HashAlgorithm[] = ['sha1', 'rmd160', 'shake128'];

const SUFFIX: Record<HashAlgorithm, string> = { sha1: '', rmd160: '-rmd160', shake128: '-shake128' };
const TEXT = /^([0-9a-f]{40})(-rmd160|-shake128)?$/;

export function isContentHash(text: string): text is ContentHash {
  return TEXT.test(text);
}

/** Throws FORMAT unless `text` is `<40 hex>[-rmd160|-shake128]`. */
export function parseContentHash(text: string, what = 'content hash'): ContentHash {
  if (!isContentHash(text)) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot read ${what}: ${JSON.stringify(text.slice(0, 80))} is not a content hash`,
    );
  }
  return text;
}

export function contentHashOf(algorithm: HashAlgorithm, digest: Bytes): ContentHash {
  if (digest.length !== DIGEST_BYTES) {
    throw new ThimbleError('FORMAT', `Cannot use digest: ${digest.length} bytes, ${DIGEST_BYTES} expected`);
  }
  return (encodeHex(digest) + SUFFIX[algorithm]) as ContentHash;
}

export function hashBytes(hashing: Hashing, algorithm: HashAlgorithm, data: Bytes): ContentHash {
  return contentHashOf(algorithm, hashing.digest(algorithm, data));
}

export function algorithmOf(hash: ContentHash): HashAlgorithm {
  return hash.length === 40 ? 'sha1' : hash.endsWith('-rmd160') ? 'rmd160' : 'shake128';
}

export function digestOf(hash: ContentHash): Bytes {
  return decodeHex(hash.slice(0, 2 * DIGEST_BYTES));
}

/** Path of an object below the repository URL. */
export function objectPath(hash: ContentHash, type: ObjectType): string {
  return `data/${hash.slice(0, 2)}/${hash.slice(2)}${type}`;
}

/** `8B:A3:...:CE[-SHAKE128]`, the form used in whitelists (docs/format.md#fingerprints). */
export function formatFingerprint(hash: ContentHash): string {
  const pairs = hash.slice(0, 2 * DIGEST_BYTES).match(/../g)!;
  return (pairs.join(':') + hash.slice(2 * DIGEST_BYTES)).toUpperCase();
}

/** Tolerates missing colons, either case, and a trailing comment. Throws FORMAT. */
export function parseFingerprint(line: string): ContentHash {
  const text = line
    .replace(/[ \t#].*$/s, '')
    .replaceAll(':', '')
    .toLowerCase();
  return parseContentHash(text, 'certificate fingerprint');
}
