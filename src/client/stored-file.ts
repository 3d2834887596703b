/**
 * Where the content of a regular file is: its pieces, and what to ask for to have each
 * (docs/format.md#chunking, docs/format.md#external-data).
 */

import { type ByteString, bytesOf } from '../core/bytes/byte-string.ts';
import type { CatalogReader, Chunk } from '../core/catalog/catalog-reader.ts';
import { FLAG_CHUNKED, FLAG_EXTERNAL } from '../core/catalog/flags.ts';
import { ThimbleError } from '../core/errors.ts';
import type { ObjectNeed } from '../core/vfs.ts';

/** A piece of a file, and how to get it. */
export type StoredChunk = Chunk & { readonly need: ObjectNeed };

export interface StoredFile {
  readonly sizeBytes: number;
  /** By offset, without gap or overlap. */
  readonly chunks: readonly StoredChunk[];
}

/**
 * The file that the reader's row shows. `pathOf` tells its path as this catalog's keys are made from; it may move the
 * reader's row, and is not asked before somebody wants to know: finding out takes longer than all the rest. Throws
 * FORMAT, UNSUPPORTED.
 */
export function storedFileOf(reader: CatalogReader, pathOf: () => ByteString): StoredFile {
  const { flags, sizeBytes, hash, compression } = reader.row;
  const isChunked = (flags & FLAG_CHUNKED) !== 0;
  const pieces = isChunked
    ? reader.chunks(reader.row.key(new Int32Array(4)), sizeBytes, flags)
    : [{ offset: 0, sizeBytes, hash: hash ?? missingHash(pathOf()) }];
  const externalPath = (flags & FLAG_EXTERNAL) === 0 ? undefined : externalPathOf(pathOf());
  const chunks = pieces.map((piece): StoredChunk => {
    const range = isChunked ? { offset: piece.offset, length: piece.sizeBytes } : undefined;
    const need: ObjectNeed = {
      kind: 'object',
      hash: piece.hash,
      type: isChunked ? 'P' : '',
      compression,
      sizeBytes: piece.sizeBytes,
      get label() {
        return pathOf();
      },
      ...(externalPath === undefined ? {} : { external: { path: externalPath, range } }),
    };
    return { ...piece, need };
  });
  return { sizeBytes, chunks };
}

/** Index of the chunk that holds `offset`. */
export function chunkAt(chunks: readonly Chunk[], offset: number): number {
  let low = 0;
  let high = chunks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (chunks[middle]!.offset <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Below the address of an external server; all bytes but RFC 3986's unreserved ones and `/` percent-encoded. */
function externalPathOf(path: ByteString): string {
  const names = path.slice(1).split('/');
  // Servers take these for steps through their folders.
  if (names.some((name) => name === '' || name === '.' || name === '..')) {
    throw new ThimbleError('FORMAT', `Cannot read ${path}: an external file cannot have this path`);
  }
  return names.map(percentEncode).join('/');
}

function percentEncode(name: string): string {
  return Array.from(bytesOf(name as ByteString), (byte) => {
    const char = String.fromCharCode(byte);
    return /[A-Za-z0-9._~-]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }).join('');
}

function missingHash(path: ByteString): never {
  throw new ThimbleError('FORMAT', `Cannot read ${path}: it has neither a hash nor chunks`);
}
