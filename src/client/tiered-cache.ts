/** A cache that is filled, above others that are only read: what is in any of them need not be fetched. */

import type { Bytes } from '../core/bytes/byte-string.ts';
import type {
  CacheId,
  CacheStatus,
  CacheWriter,
  LowerStatus,
  ObjectCache,
  PinnedObject,
  SteeredCache,
} from './cache.ts';

export interface LowerCache extends Pick<ObjectCache, 'read' | 'load' | 'has'> {
  discard(id: CacheId): void;
  status(): LowerStatus;
}

export type CacheTrouble = Pick<CacheStatus, 'state' | 'sinceSeconds' | 'lastError'>;

export class TieredCache implements SteeredCache {
  readonly #upper: SteeredCache;
  readonly #lower: readonly LowerCache[];
  readonly #trouble: CacheTrouble | undefined;

  /** Asks `upper` first, then those of `lower` in order. `trouble` is why it is not what was wanted. */
  constructor(upper: SteeredCache, lower: readonly LowerCache[], trouble?: CacheTrouble) {
    this.#upper = upper;
    this.#lower = lower;
    this.#trouble = trouble;
  }

  get isVolatile(): boolean {
    return this.#upper.isVolatile;
  }

  set isVolatile(isVolatile: boolean) {
    this.#upper.isVolatile = isVolatile;
  }

  read(id: CacheId, position: number, length: number, into: Bytes, at: number): number | undefined {
    let count = this.#upper.read(id, position, length, into, at);
    for (let i = 0; count === undefined && i < this.#lower.length; i++) {
      count = this.#lower[i]!.read(id, position, length, into, at);
    }
    return count;
  }

  load(id: CacheId): Bytes | undefined {
    let bytes = this.#upper.load(id);
    for (let i = 0; bytes === undefined && i < this.#lower.length; i++) bytes = this.#lower[i]!.load(id);
    return bytes;
  }

  has(id: CacheId): boolean {
    return this.#upper.has(id) || this.#lower.some((lower) => lower.has(id));
  }

  put(id: CacheId, content: Bytes): void {
    this.#upper.put(id, content);
  }

  create(id: CacheId, sizeBytes: number): CacheWriter {
    return this.#upper.create(id, sizeBytes);
  }

  discard(id: CacheId): void {
    this.#upper.discard?.(id);
    for (const lower of this.#lower) lower.discard(id);
  }

  hold(object: PinnedObject): void {
    this.#upper.hold(object);
  }

  pin(objects: readonly PinnedObject[]): void {
    this.#upper.pin(objects);
  }

  unpin(ids: Iterable<CacheId>): void {
    this.#upper.unpin(ids);
  }

  evict(ids: Iterable<CacheId>): number {
    return this.#upper.evict(ids);
  }

  shrink(toBytes: number): Promise<boolean> {
    return this.#upper.shrink(toBytes);
  }

  ids(which: 'all' | 'pinned'): Promise<readonly CacheId[]> {
    return this.#upper.ids(which);
  }

  stateOf(id: CacheId): 'absent' | 'right' | 'damaged' {
    const state = this.#upper.stateOf(id);
    return state === 'absent' && this.#lower.some((lower) => lower.has(id)) ? 'right' : state;
  }

  cleanupsWithin(seconds: number): number {
    return this.#upper.cleanupsWithin(seconds);
  }

  openContent(id: CacheId, sizeBytes: number): number | undefined {
    return this.#upper.openContent?.(id, sizeBytes);
  }

  status(): CacheStatus {
    return { ...this.#upper.status(), ...this.#trouble, lower: this.#lower.map((lower) => lower.status()) };
  }
}
