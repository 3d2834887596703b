/** Keeps a cache folder within its limit, and leaves room on its disk. */

import { statfsSync } from 'node:fs';
import { messageOf } from '../../core/errors.ts';
import type { Log } from '../../core/ports.ts';
import { Eviction, SHARDS } from './eviction.ts';
import type { Journal } from './journal.ts';
import type { Pins } from './pins.ts';
import { countResidents, namesIn } from './residents.ts';
import type { Suspects } from './suspects.ts';

/** Dropping goes on until the cache is this part of its limit, so that it is not needed for every object. */
const DROP_TO = 0.9;
/** Of a small disk, this part is enough to be left free. */
const KEEP_FREE_PART = 0.1;
/** `sums` is written anew when it is longer than twice the lines it needs, and than this. */
const MIN_COMPACTED_BYTES = 64 * 1024;
const SUM_LINE_BYTES = 80;
const DAY_MS = 24 * 3600 * 1000;
/** Times of cleanups that are remembered. */
const MAX_CLEANUPS = 10_000;
/** Counting begins so long after opening: a mount has better things to do at first. */
const COUNT_AFTER_MS = 2_000;

export interface RoomOptions {
  readonly folder: string;
  readonly limitBytes: number;
  readonly keepFreeBytes: number;
  readonly journal: Journal;
  readonly suspects: Suspects;
  readonly pins: Pins;
  /** Names of files in `tmp`. */
  readonly temporaryPath: (name: string) => string;
  readonly log: Log;
}

export interface DiskRoom {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export class Room {
  readonly #options: RoomOptions;
  readonly #eviction: Eviction;
  #untilLookBytes = 0;
  #sinceCountBytes = 0;
  #counting: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  /** When it was made, of the last day. */
  readonly #cleanupsMs: number[] = [];
  readonly dropped = { bytes: 0, objects: 0 };

  constructor(options: RoomOptions) {
    this.#options = options;
    this.#eviction = new Eviction(() => [`${options.folder}/objects`, ...options.suspects.generations]);
  }

  /** Makes room for what has just been announced. Throws ENOSPC where nothing can be dropped. */
  admit(usedBytes: number, sizeBytes: number): void {
    if (usedBytes > this.#options.limitBytes) this.#keepLimit(sizeBytes);
    if (this.#options.keepFreeBytes === 0) return;
    this.#untilLookBytes -= sizeBytes;
    if (this.#untilLookBytes <= 0) this.#keepFree();
  }

  /** The disk is full: whether something could be dropped. */
  couldDrop(): boolean {
    try {
      this.#countCleanup();
      return this.#drop(this.#options.journal.usage.bytes / 2).droppedBytes > 0;
    } catch {
      // What made room necessary is told about.
      return false;
    }
  }

  /** Goes on until no more than this is left, and lets others work in between. False where the rest is pinned. */
  async shrink(toBytes: number): Promise<boolean> {
    const { journal } = this.#options;
    if (journal.usage.bytes > toBytes) this.#countCleanup();
    for (let idleShards = 0; journal.usage.bytes > toBytes; ) {
      if (idleShards >= SHARDS || this.#isClosed) return false;
      const { droppedBytes, shards } = this.#drop(journal.usage.bytes - toBytes);
      idleShards = droppedBytes > 0 ? 0 : idleShards + shards;
      await new Promise((resolve) => setImmediate(resolve));
    }
    return true;
  }

  /** Of all objects, a little at a time. */
  async ids(): Promise<string[]> {
    const ids: string[] = [];
    await this.#eviction.count(
      (id) => void ids.push(id),
      () => this.#isClosed,
    );
    return ids;
  }

  /** Times that room was made in the last so many seconds, of a day at most. */
  cleanupsWithin(seconds: number): number {
    const sinceMs = performance.now() - 1000 * seconds;
    return this.#cleanupsMs.filter((ms) => ms >= sinceMs).length;
  }

  /** `undefined` where the disk does not even say that: it fails elsewhere too, and is told about there. */
  disk(): DiskRoom | undefined {
    try {
      const { bavail, blocks, bsize } = statfsSync(this.#options.folder);
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    } catch {
      return undefined;
    }
  }

  countSoon(): void {
    this.#sinceCountBytes = 0;
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.count();
    }, COUNT_AFTER_MS);
    this.#timer.unref();
  }

  /** Counts everything, and forgets the sums of objects that are gone; readers hardly notice. Never throws. */
  count(): Promise<void> {
    this.#counting ??= this.#count()
      .catch((error: unknown) => {
        this.#options.log.warn('cached objects cannot be counted', { error: messageOf(error) });
      })
      .finally(() => {
        this.#counting = undefined;
      });
    return this.#counting;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #keepLimit(announcedBytes: number): void {
    const { journal, limitBytes } = this.#options;
    this.#countCleanup();
    let idleShards = 0;
    while (journal.usage.bytes > limitBytes) {
      const slice = this.#drop(journal.usage.bytes - limitBytes * DROP_TO);
      idleShards = slice.droppedBytes > 0 ? 0 : idleShards + slice.shards;
      if (idleShards < SHARDS) continue;
      // All that is there is pinned, or the count is wrong: processes that were killed had reserved some.
      const { totalBytes } = slice;
      if (totalBytes === undefined || totalBytes + announcedBytes > limitBytes) {
        this.countSoon();
        throw noSpace('all that is in the cache is pinned');
      }
      journal.change(totalBytes + announcedBytes - journal.usage.bytes, 0);
    }
  }

  /** Looks at the disk now and then: others fill it too. */
  #keepFree(): void {
    const disk = this.disk();
    if (disk === undefined) return;
    const keepBytes = Math.min(this.#options.keepFreeBytes, disk.totalBytes * KEEP_FREE_PART);
    let missingBytes = keepBytes - disk.freeBytes;
    if (missingBytes > 0) this.#countCleanup();
    let idleShards = 0;
    while (missingBytes > 0) {
      const { droppedBytes, shards } = this.#drop(missingBytes + keepBytes / 2);
      idleShards = droppedBytes > 0 ? 0 : idleShards + shards;
      if (idleShards >= SHARDS) throw noSpace('the disk is full, and nothing is left to be dropped');
      missingBytes -= droppedBytes;
    }
    this.#untilLookBytes = keepBytes / 2;
  }

  #countCleanup(): void {
    const now = performance.now();
    while (this.#cleanupsMs.length > 0 && this.#cleanupsMs[0]! < now - DAY_MS) this.#cleanupsMs.shift();
    if (this.#cleanupsMs.length === MAX_CLEANUPS) this.#cleanupsMs.shift();
    this.#cleanupsMs.push(now);
  }

  /** Drops objects of one slice. `totalBytes` is what was there, if that was all. */
  #drop(wantedBytes: number): { droppedBytes: number; totalBytes: number | undefined; shards: number } {
    const { journal, pins, limitBytes, log } = this.#options;
    const { dropped, total, shards } = this.#eviction.dropSlice(wantedBytes, pins.all());
    if (dropped.objects > 0) {
      journal.change(-dropped.bytes, -dropped.objects);
      this.dropped.bytes += dropped.bytes;
      this.dropped.objects += dropped.objects;
      this.#sinceCountBytes += dropped.bytes;
      log.debug('dropped objects from the cache', { ...dropped, usedBytes: journal.usage.bytes });
      if (this.#sinceCountBytes > limitBytes / 2) this.countSoon();
    }
    return { droppedBytes: dropped.bytes, totalBytes: total?.bytes, shards };
  }

  async #count(): Promise<void> {
    const { journal, folder, temporaryPath } = this.#options;
    if (this.#isClosed) return;
    journal.catchUp();
    const before = journal.usage;
    const end = journal.sizeBytes;
    const ids = new Set<string>();
    const isLong = end > Math.max(MIN_COMPACTED_BYTES, 2 * SUM_LINE_BYTES * before.objects);
    const counted = await this.#eviction.count(
      (id) => void (isLong && ids.add(id)),
      () => this.#isClosed,
    );
    if (counted === undefined || this.#isClosed) return;
    let reserved = 0;
    for (const name of namesIn(`${folder}/tmp`)) reserved += Number(name.split('-')[2]) || 0;
    journal.catchUp();
    const since = journal.usage;
    // What came meanwhile may count twice, and is not missed.
    journal.setTotal({
      bytes: counted.bytes + reserved + Math.max(0, since.bytes - before.bytes),
      objects: counted.objects + Math.max(0, since.objects - before.objects),
    });
    if (isLong && countResidents(folder) === 1) journal.compact(ids, end, temporaryPath('sums'));
    journal.saveTotal(temporaryPath('usage'));
  }
}

function noSpace(why: string): Error {
  return Object.assign(new Error(why), { code: 'ENOSPC' });
}
