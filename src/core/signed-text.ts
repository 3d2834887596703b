/**
 * The envelope of manifest and whitelist (docs/format.md#manifest):
 *
 *   text "--" LF hash LF signature
 *
 * `hash` is the content hash of everything before the `--` line; the signature covers the characters of `hash`.
 */

import { type Bytes, byteStringOf, concatBytes } from './bytes/byte-string.ts';
import { encodeUtf8 } from './bytes/utf8.ts';
import {
  algorithmOf,
  type ContentHash,
  type HashAlgorithm,
  hashBytes,
  parseContentHash,
} from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import type { Hashing } from './ports.ts';

export interface SignedText {
  /** Lines before `--`, without their line feeds. */
  readonly lines: readonly string[];
  readonly hash: ContentHash;
  readonly signature: Bytes;
}

/** Larger ones are refused before anything is parsed. */
export const MAX_SIGNED_TEXT_BYTES = 256 * 1024;

/** Splits and checks the hash; the signature is the caller's affair. Throws FORMAT, INTEGRITY, LIMIT. */
export function parseSignedText(hashing: Hashing, bytes: Bytes, what: string): SignedText {
  if (bytes.length > MAX_SIGNED_TEXT_BYTES) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot read ${what}: ${bytes.length} bytes, at most ${MAX_SIGNED_TEXT_BYTES} expected`,
    );
  }
  const text = byteStringOf(bytes);
  const separator = text.startsWith('--\n') ? 0 : text.indexOf('\n--\n') + 1;
  if (separator === 0) throw new ThimbleError('FORMAT', `Cannot read ${what}: the signature is missing`);
  const hashStart = separator + 3;
  const hashEnd = text.indexOf('\n', hashStart);
  if (hashEnd < 0) throw new ThimbleError('FORMAT', `Cannot read ${what}: it ends before its signature`);
  const hash = parseContentHash(text.slice(hashStart, hashEnd), `hash of ${what}`);
  const actual = hashBytes(hashing, algorithmOf(hash), bytes.subarray(0, separator));
  if (actual !== hash) {
    throw new ThimbleError(
      'INTEGRITY',
      `Cannot trust ${what}: its text hashes to ${actual}, it says ${hash}`,
    );
  }
  return {
    lines: text.slice(0, separator).split('\n').slice(0, -1),
    hash,
    signature: bytes.slice(hashEnd + 1),
  };
}

/** What a signature has to cover. */
export function signedBytes(hash: ContentHash): Bytes {
  return encodeUtf8(hash);
}

/** Puts text and signature together. `sign` gets the characters of the hash. */
export async function formatSignedText(
  hashing: Hashing,
  algorithm: HashAlgorithm,
  lines: readonly string[],
  sign: (hashText: Bytes) => Bytes | Promise<Bytes>,
): Promise<Bytes> {
  const text = encodeUtf8(lines.map((line) => `${line}\n`).join(''));
  const hash = hashBytes(hashing, algorithm, text);
  return concatBytes([text, encodeUtf8(`--\n${hash}\n`), await sign(signedBytes(hash))]);
}
