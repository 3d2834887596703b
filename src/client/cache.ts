/**
 * The local cache as the client sees it: inflated, verified content under ids. Reading is immediate, filling is not.
 */

import { type Bytes, concatBytes } from '../core/bytes/byte-string.ts';
import type { Compression } from '../core/catalog/flags.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';

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
  /** Puts content that is here whole, and does not hold on to its memory. Throws STORAGE, also for content larger than the whole cache. */
  put(id: CacheId, content: Bytes): void;
  /** For content that comes in pieces. Throws like `put`. */
  create(id: CacheId, sizeBytes: number): CacheWriter;
  /** Forgets content that is not what it should be; other content may come under the id. */
  discard?(id: CacheId): void;
}

/** `put`, for caches that do nothing else with it than with what comes in pieces. */
export function putByWriter(cache: Pick<ObjectCache, 'create'>, id: CacheId, content: Bytes): void {
  const writer = cache.create(id, content.length);
  try {
    writer.write(content);
    writer.commit();
  } catch (error) {
    writer.abort();
    throw error;
  }
}

/** Content and its bytes, for caches that are told what to keep. */
export interface PinnedObject {
  readonly id: CacheId;
  readonly sizeBytes: number;
}

/** `full`: the disk is, or all of the cache is pinned. In all but the first, what is fetched is served from memory. */
export type CacheState = 'good' | 'full' | 'failing' | 'read-only';

export interface CacheStatus {
  readonly kind: 'folder' | 'memory';
  readonly folder: string | undefined;
  readonly state: CacheState;
  /** Seconds since 1970. */
  readonly sinceSeconds: number;
  readonly lastError: string | undefined;
  readonly usedBytes: number;
  readonly objects: number;
  readonly limitBytes: number;
  readonly keepFreeBytes: number;
  /** Of the disk, for this user; `undefined` where there is none. */
  readonly freeBytes: number | undefined;
  readonly pinnedBytes: number;
  /** Reads that found something, and that did not. */
  readonly hits: number;
  readonly misses: number;
  readonly droppedObjects: number;
  readonly droppedBytes: number;
  /** Objects found damaged, or on a part of the disk that cannot be read. */
  readonly readFailures: number;
  readonly writeFailures: number;
  /** Read-only folders that are asked before the network. */
  readonly lower: readonly LowerStatus[];
}

export interface LowerStatus {
  readonly folder: string;
  readonly hits: number;
  readonly damaged: number;
}

/** A cache that a mount uses: it can be watched, and told what to keep. */
export interface SteeredCache extends ObjectCache {
  /** Content put from now on is the first to be dropped. */
  isVolatile: boolean;
  /** Does not drop an object as long as this cache is open; not for too many. */
  hold(object: PinnedObject): void;
  /** Does not drop objects until `unpin`. Throws LIMIT, STORAGE, UNSUPPORTED. */
  pin(objects: readonly PinnedObject[]): void;
  unpin(ids: Iterable<CacheId>): void;
  /** Drops these objects now, but for those that are pinned. Answers how many were here. */
  evict(ids: Iterable<CacheId>): number;
  /** Drops what was used longest ago until no more than this is left. False where the rest is pinned. */
  shrink(toBytes: number): Promise<boolean>;
  /** All objects that are here, or those that are pinned. */
  ids(which: 'all' | 'pinned'): Promise<readonly CacheId[]>;
  /** Whether an object is here, and still what was put here; reads all of it. */
  stateOf(id: CacheId): 'absent' | 'right' | 'damaged';
  /** How often it has made room in the last so many seconds, of a day at most. */
  cleanupsWithin(seconds: number): number;
  /**
   * A descriptor of a file that holds this content and nothing else, for the caller to close; `undefined` if there is none at once.
   * Of caches that keep files. Never throws.
   */
  openContent?(id: CacheId, sizeBytes: number): number | undefined;
  status(): CacheStatus;
}

/**
 * Keeps the newest content in memory, up to a limit. The cache of last resort when no disk can be written, and the cache
 * of tests.
 */
export class MemoryCache implements SteeredCache {
  readonly #limitBytes: number;
  readonly #contents = new Map<CacheId, Bytes>();
  #bytes = 0;
  #dropped = { objects: 0, bytes: 0 };
  #hits = 0;
  #misses = 0;
  /** All of it is. */
  isVolatile = false;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  read(id: CacheId, position: number, length: number, into: Bytes, at: number): number | undefined {
    const content = this.#contents.get(id);
    if (content === undefined) {
      this.#misses++;
      return undefined;
    }
    this.#hits++;
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
      commit: () => this.#keep(id, concatBytes(chunks)),
      abort: () => void (chunks.length = 0),
    };
  }

  put(id: CacheId, content: Bytes): void {
    this.#keep(id, new Uint8Array(content));
  }

  #keep(id: CacheId, content: Bytes): void {
    this.discard(id);
    this.#bytes += content.length;
    this.#contents.set(id, content);
    // Oldest first; what was just put stays even if it alone is over the limit, or a large read could never end.
    for (const [oldest, bytes] of this.#contents) {
      if (this.#bytes <= this.#limitBytes || oldest === id) break;
      this.discard(oldest);
      this.#dropped.objects++;
      this.#dropped.bytes += bytes.length;
    }
  }

  discard(id: CacheId): void {
    this.#bytes -= this.#contents.get(id)?.length ?? 0;
    this.#contents.delete(id);
  }

  /** Nothing that a mount needs is lost with it: what is dropped is fetched again. */
  hold(): void {}

  pin(): void {
    throw new ThimbleError('UNSUPPORTED', 'Cannot pin content: the cache is in memory', {
      hint: 'mount with a cache folder: --cache FOLDER',
    });
  }

  unpin(): void {}

  evict(ids: Iterable<CacheId>): number {
    let count = 0;
    for (const id of ids) {
      if (!this.#contents.has(id)) continue;
      this.discard(id);
      count++;
    }
    return count;
  }

  async shrink(toBytes: number): Promise<boolean> {
    for (const oldest of this.#contents.keys()) {
      if (this.#bytes <= toBytes) break;
      this.discard(oldest);
    }
    return true;
  }

  async ids(which: 'all' | 'pinned'): Promise<readonly CacheId[]> {
    return which === 'all' ? [...this.#contents.keys()] : [];
  }

  stateOf(id: CacheId): 'absent' | 'right' {
    return this.has(id) ? 'right' : 'absent';
  }

  /** What comes pushes out what was there, one by one: there is nothing to count. */
  cleanupsWithin(): number {
    return 0;
  }

  status(): CacheStatus {
    return {
      kind: 'memory',
      folder: undefined,
      state: 'good',
      sinceSeconds: 0,
      lastError: undefined,
      usedBytes: this.#bytes,
      objects: this.#contents.size,
      limitBytes: this.#limitBytes,
      keepFreeBytes: 0,
      freeBytes: undefined,
      pinnedBytes: 0,
      hits: this.#hits,
      misses: this.#misses,
      droppedObjects: this.#dropped.objects,
      droppedBytes: this.#dropped.bytes,
      readFailures: 0,
      writeFailures: 0,
      lower: [],
    };
  }
}
