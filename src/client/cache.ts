/**
 * The local cache as the client sees it: inflated, verified content under ids. Reading is immediate, filling is not.
 */

import type { Bytes } from '../core/bytes/byte-string.ts';
import type { Compression } from '../core/catalog/flags.ts';
import type { ContentHash } from '../core/content-hash.ts';

/** Names inflated content: the same stored bytes mean different content when they are read as zlib or as they are. */
export type CacheId = string & { readonly __brand: 'CacheId' };

export function cacheIdOf(hash: ContentHash, compression: Compression): CacheId {
  return (compression === 'none' ? `${hash}.plain` : hash) as string as CacheId;
}

export interface CacheWriter {
  /** Throws STORAGE, for instance when the disk is full. */
  write(chunk: Bytes): void;
  /** Makes the content visible under its id, whole. Throws STORAGE. */
  commit(): void;
  /** Drops what was written; harmless after `commit`. */
  abort(): void;
}

export interface ObjectCache {
  /** Reads from content at `position` into `into` at `at`; `undefined` if the content is not here. */
  read(id: CacheId, position: number, length: number, into: Bytes, at: number): number | undefined;
  /** All of it; `undefined` if the content is not here. */
  load(id: CacheId): Bytes | undefined;
  has(id: CacheId): boolean;
  /** Throws STORAGE, also for content larger than the whole cache. */
  create(id: CacheId, sizeBytes: number): CacheWriter;
}

/**
 * Keeps the newest content in memory, up to a limit. The cache of last resort when no disk can be written, and the cache
 * of tests.
 */
export class MemoryCache implements ObjectCache {
  readonly #limitBytes: number;
  readonly #contents = new Map<CacheId, Bytes>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  read(id: CacheId, position: number, length: number, into: Bytes, at: number): number | undefined {
    const content = this.#contents.get(id);
    if (content === undefined) return undefined;
    const piece = content.subarray(position, position + length);
    into.set(piece, at);
    return piece.length;
  }

  load(id: CacheId): Bytes | undefined {
    return this.#contents.get(id);
  }

  has(id: CacheId): boolean {
    return this.#contents.has(id);
  }

  create(id: CacheId): CacheWriter {
    const chunks: Bytes[] = [];
    return {
      write: (chunk) => void chunks.push(new Uint8Array(chunk)),
      commit: () => this.put(id, chunks),
      abort: () => void (chunks.length = 0),
    };
  }

  put(id: CacheId, chunks: readonly Bytes[]): void {
    const content = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of chunks) {
      content.set(chunk, at);
      at += chunk.length;
    }
    this.#bytes += content.length - (this.#contents.get(id)?.length ?? 0);
    this.#contents.delete(id);
    this.#contents.set(id, content);
    // Oldest first; what was just put stays even if it alone is over the limit, or a large read could never end.
    for (const [oldest, bytes] of this.#contents) {
      if (this.#bytes <= this.#limitBytes || oldest === id) break;
      this.#contents.delete(oldest);
      this.#bytes -= bytes.length;
    }
  }
}
