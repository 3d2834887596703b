/**
 * Files that are stored in pieces, put together in the cache as one object: what the kernel is to read by itself has to be one file.
 * Such an object is dropped, checked and counted as every other one; the pieces stay too, until others need the room.
 */

import { createHash } from 'node:crypto';
import { closeSync } from 'node:fs';
import { type CacheId, cacheIdOf, type ObjectCache, type SteeredCache } from '../client/cache.ts';
import type { StoredChunk } from '../client/stored-file.ts';
import { messageOf } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';

/** One that may have files of its own for what is in it. */
export type FileCache = ObjectCache & Pick<SteeredCache, 'openContent'>;

const PIECE_BYTES = 1024 * 1024;
/** Files that were in vain are not tried again, as far as this many are remembered. */
const MAX_REFUSED = 1000;

/** Of all pieces of a file, in their order. */
export function wholeIdOf(chunks: readonly StoredChunk[]): CacheId {
  const ids = chunks.map(({ hash, need }) => cacheIdOf(hash, need.compression));
  if (ids.length === 1) return ids[0]!;
  return `${createHash('sha1').update(ids.join('\n')).digest('hex')}.whole` as CacheId;
}

/** The size of a file. */
export function bytesOf(chunks: readonly StoredChunk[]): number {
  return chunks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

export class WholeFiles {
  readonly #cache: FileCache;
  readonly #log: Log;
  readonly #refused = new Set<CacheId>();
  #waiting: Promise<void> = Promise.resolve();
  #isStopped = false;
  /** How many have been put together. */
  made = 0;

  constructor(cache: FileCache, log: Log) {
    this.#cache = cache;
    this.#log = log;
  }

  /** True if all pieces are in the cache. */
  areHere(chunks: readonly StoredChunk[]): boolean {
    return chunks.every(({ hash, need }) => this.#cache.has(cacheIdOf(hash, need.compression)));
  }

  /** Puts a file together when those before it are done; what is not here is not fetched. Never throws. */
  make(chunks: readonly StoredChunk[]): Promise<void> {
    const id = wholeIdOf(chunks);
    this.#waiting = this.#waiting.then(async () => {
      if (this.#isStopped || this.#refused.has(id)) return;
      try {
        if (await this.#make(id, chunks)) this.made++;
      } catch (error) {
        if (this.#refused.size === MAX_REFUSED) this.#refused.clear();
        this.#refused.add(id);
        this.#log.info('a file is not put together', { id, error: messageOf(error) });
      }
    });
    return this.#waiting;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** False if it is there, or a piece was dropped meanwhile. Throws STORAGE. */
  async #make(id: CacheId, chunks: readonly StoredChunk[]): Promise<boolean> {
    const wholeBytes = bytesOf(chunks);
    const there = this.#cache.openContent?.(id, wholeBytes);
    if (there !== undefined) closeSync(there);
    if (there !== undefined) return false;
    // One that would have to be checked: at once, which takes long for one so large.
    this.#cache.discard?.(id);
    const writer = this.#cache.create(id, wholeBytes);
    const piece = new Uint8Array(PIECE_BYTES);
    try {
      for (const { hash, need, sizeBytes } of chunks) {
        for (let at = 0; at < sizeBytes; at += PIECE_BYTES) {
          const length = Math.min(PIECE_BYTES, sizeBytes - at);
          const count = this.#cache.read(cacheIdOf(hash, need.compression), at, length, piece, 0);
          if (count !== length || this.#isStopped) return false;
          writer.write(piece.subarray(0, length));
          // Whoever waits for an answer comes first.
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
      writer.commit();
      return true;
    } finally {
      writer.abort();
    }
  }
}
