/** A wrapper around a cache that fails as disks do. */

import {
  type CacheId,
  type CacheStatus,
  type CacheWriter,
  type PinnedObject,
  putByWriter,
  type SteeredCache,
} from '../../src/client/cache.ts';
import { ThimbleError } from '../../src/core/errors.ts';

export interface Faults {
  /** What is read is not there any more, though `has` said so. */
  reading: boolean;
  creating: boolean;
  writing: boolean;
  committing: boolean;
}

/** A cache whose operations fail when they are told to. */
export class FaultyCache implements SteeredCache {
  readonly #inner: SteeredCache;
  readonly faults: Faults = { reading: false, creating: false, writing: false, committing: false };

  constructor(inner: SteeredCache) {
    this.#inner = inner;
  }

  get isVolatile(): boolean {
    return this.#inner.isVolatile;
  }

  set isVolatile(isVolatile: boolean) {
    this.#inner.isVolatile = isVolatile;
  }

  read(id: CacheId, position: number, length: number, into: Uint8Array, at: number): number | undefined {
    return this.faults.reading ? undefined : this.#inner.read(id, position, length, into, at);
  }

  load(id: CacheId): Uint8Array | undefined {
    return this.faults.reading ? undefined : this.#inner.load(id);
  }

  has(id: CacheId): boolean {
    return this.#inner.has(id);
  }

  put(id: CacheId, content: Uint8Array): void {
    putByWriter(this, id, content);
  }

  create(id: CacheId, sizeBytes: number): CacheWriter {
    fail(this.faults.creating);
    const writer = this.#inner.create(id, sizeBytes);
    return {
      write: (chunk) => {
        fail(this.faults.writing);
        writer.write(chunk);
      },
      commit: () => {
        fail(this.faults.committing);
        writer.commit();
      },
      abort: () => writer.abort(),
    };
  }

  discard(id: CacheId): void {
    this.#inner.discard?.(id);
  }

  hold(object: PinnedObject): void {
    this.#inner.hold(object);
  }

  pin(objects: readonly PinnedObject[]): void {
    this.#inner.pin(objects);
  }

  unpin(ids: Iterable<CacheId>): void {
    this.#inner.unpin(ids);
  }

  evict(ids: Iterable<CacheId>): number {
    return this.#inner.evict(ids);
  }

  shrink(toBytes: number): Promise<boolean> {
    return this.#inner.shrink(toBytes);
  }

  ids(which: 'all' | 'pinned'): Promise<readonly CacheId[]> {
    return this.#inner.ids(which);
  }

  stateOf(id: CacheId): 'absent' | 'right' | 'damaged' {
    return this.#inner.stateOf(id);
  }

  cleanupsWithin(seconds: number): number {
    return this.#inner.cleanupsWithin(seconds);
  }

  status(): CacheStatus {
    return this.#inner.status();
  }
}

function fail(isFailing: boolean): void {
  if (isFailing) throw new ThimbleError('STORAGE', 'Cannot use the disk: input/output error');
}
