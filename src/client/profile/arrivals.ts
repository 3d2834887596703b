/**
 * What a stream of objects will bring, and when. A read whose object is about to arrive waits for it, for a bounded time;
 * any other is fetched at once.
 */

import type { Clock } from '../../core/ports.ts';
import type { PlacedObject } from '../../core/profile-table.ts';
import { type CacheId, cacheIdOf } from '../cache.ts';

/** Takes part in how the rate is reckoned: a long time ago counts less. */
const RATE_MEMORY_MS = 500;
const MIN_WAIT_MS = 30;
const MAX_WAIT_MS = 1_000;

export class Arrivals {
  readonly #clock: Clock;
  readonly #roundTripMs: number;
  readonly #indexes = new Map<CacheId, number>();
  /** Bytes of the stream up to the end of each object. */
  readonly #ends: Float64Array;
  readonly #wanted: Uint8Array;
  readonly #waiting = new Map<number, (() => void)[]>();
  #position = 0;
  #bytesPerMs = 0;
  #lastMs: number;
  #isOver = false;
  /** Reads that waited, and of those the ones that did in vain. */
  readonly counters = { waited: 0, waitedInVain: 0 };

  /** `wanted` is shared with whoever reads the stream: what is fetched otherwise is crossed out. */
  constructor(places: readonly PlacedObject[], wanted: Uint8Array, clock: Clock, roundTripMs: number) {
    this.#clock = clock;
    this.#roundTripMs = Math.max(roundTripMs, MIN_WAIT_MS);
    this.#wanted = wanted;
    this.#ends = new Float64Array(places.length);
    this.#lastMs = clock.monotonicMs();
    let end = 0;
    for (const [index, { hash, compression, storedBytes }] of places.entries()) {
      if (wanted[index] !== 0) {
        end += storedBytes;
        this.#indexes.set(cacheIdOf(hash, compression), index);
      }
      this.#ends[index] = end;
    }
  }

  /** Resolves when the object has arrived, or is late. `undefined` if it is to be fetched now. */
  expect(id: CacheId): Promise<void> | undefined {
    const index = this.#isOver ? undefined : this.#indexes.get(id);
    if (index === undefined) return undefined;
    const waitMs = this.#worthWaitingMs(index);
    if (waitMs === undefined) {
      this.#wanted[index] = 0;
      this.#indexes.delete(id);
      return undefined;
    }
    this.counters.waited++;
    return new Promise((resolve) => {
      const cancel = this.#clock.after(waitMs, () => {
        this.counters.waitedInVain++;
        resolve();
      });
      const waiters = this.#waiting.get(index) ?? [];
      waiters.push(() => {
        cancel();
        resolve();
      });
      this.#waiting.set(index, waiters);
    });
  }

  /** True for what has not arrived yet. */
  has(id: CacheId): boolean {
    return !this.#isOver && this.#indexes.has(id);
  }

  /** An object of the stream is in the cache. */
  arrived(index: number, { hash, compression }: PlacedObject): void {
    const nowMs = this.#clock.monotonicMs();
    const end = this.#ends[index]!;
    const elapsedMs = Math.max(nowMs - this.#lastMs, 0.01);
    const share = Math.min(1, elapsedMs / RATE_MEMORY_MS);
    const rate = Math.max(0, end - this.#position) / elapsedMs;
    this.#bytesPerMs = this.#bytesPerMs === 0 ? rate : this.#bytesPerMs * (1 - share) + rate * share;
    this.#position = Math.max(this.#position, end);
    this.#lastMs = nowMs;
    this.#indexes.delete(cacheIdOf(hash, compression));
    this.#wake(index);
  }

  /** Nothing more will come. */
  end(): void {
    this.#isOver = true;
    for (const index of [...this.#waiting.keys()]) this.#wake(index);
  }

  #wake(index: number): void {
    const waiters = this.#waiting.get(index);
    this.#waiting.delete(index);
    for (const wake of waiters ?? []) wake();
  }

  /** How long an object is to be waited for: as long as fetching it would take, and again; not at all if it is far off. */
  #worthWaitingMs(index: number): number | undefined {
    const aheadBytes = this.#ends[index]! - this.#position;
    const ownBytes = this.#ends[index]! - (index === 0 ? 0 : this.#ends[index - 1]!);
    if (aheadBytes <= 0) return undefined;
    // Before anything has come, only what stands at the very beginning is about to.
    const rate = this.#bytesPerMs === 0 ? MIN_RATE : this.#bytesPerMs;
    // While it is fetched, it shares the line with the stream.
    const fetchMs = this.#roundTripMs + (2 * ownBytes) / rate;
    return aheadBytes / rate <= fetchMs ? Math.min(2 * fetchMs, MAX_WAIT_MS) : undefined;
  }
}

/** 10 MB/s. */
const MIN_RATE = 10_000;
