/**
 * The cache on disk. Layout of its folder:
 *
 *   objects/ab/cdef...   inflated, verified content; named by `CacheId`, its time of change is that of its last use
 *   suspect/N/ab/...     what `objects` held when it could no longer be trusted (`suspects.ts`)
 *   sums, usage          length and CRC-32 of each object, and how much there is in all (`journal.ts`)
 *   pins/                what is not dropped (`pins.ts`)
 *   running/, boot       who uses the folder, and since which start of the machine (`residents.ts`)
 *   tmp/RESIDENT-N-BYTES content on its way; renamed when it is whole
 *
 * Several mounts and processes share one folder, and none of them is in charge: whoever goes over the limit drops what was
 * used longest ago. docs/adr/0005-cache-folder.md
 */

import { closeSync, existsSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { CacheId, CacheStatus, CacheWriter, PinnedObject, SteeredCache } from '../../client/cache.ts';
import type { Bytes } from '../../core/bytes/byte-string.ts';
import { messageOf, ThimbleError } from '../../core/errors.ts';
import { type Log, silentLog } from '../../core/ports.ts';
import { makeFolder } from '../make-folder.ts';
import { Eviction } from './eviction.ts';
import {
  type CacheReaderSettings,
  COUNTED_HITS,
  COUNTED_MISSES,
  COUNTED_READ_FAILURES,
  COUNTERS_BYTES,
  FolderCacheReader,
  setUsed,
} from './folder-reader.ts';
import { CacheHealth } from './health.ts';
import { Journal } from './journal.ts';
import { Pins } from './pins.ts';
import * as residents from './residents.ts';
import { renameInto, Suspects } from './suspects.ts';

/** Dropping goes on until the cache is this part of its limit, so that it is not needed for every object. */
const DROP_TO = 0.9;
/** What people pin may take this part of the limit. */
const MAX_PINNED_PART = 0.75;
/** The same for what one mount holds for itself. */
const MAX_HELD_PART = 0.25;
/** Of a small disk, this part is enough to be left free. */
const KEEP_FREE_PART = 0.1;
/** Objects up to this are written in one go when they are committed; for larger ones room is reserved before. */
const SMALL_BYTES = 128 * 1024;
/** Slices that are dropped for one object on a full disk. */
const MAX_TRIES = 8;
/** `sums` is written anew when it is longer than twice the lines it needs, and than this. */
const MIN_COMPACTED_BYTES = 64 * 1024;
const SUM_LINE_BYTES = 80;
/** Counting begins so long after opening: a mount has better things to do at first. */
const COUNT_AFTER_MS = 2_000;

export interface FolderCacheOptions {
  readonly limitBytes: number;
  /** Left free on the disk, but no more than a tenth of it. */
  readonly keepFreeBytes?: number;
  readonly log?: Log;
}

export class FolderCache extends FolderCacheReader implements SteeredCache {
  readonly limitBytes: number;
  /** Content put from now on is the first to be dropped. */
  isVolatile = false;
  readonly #keepFreeBytes: number;
  readonly #log: Log;
  readonly #resident = residents.nextResident();
  readonly #journal: Journal;
  readonly #suspects: Suspects;
  readonly #eviction: Eviction;
  readonly #pins: Pins;
  readonly #health = new CacheHealth();
  /** What a second thread counts. */
  readonly #otherCounters = new SharedArrayBuffer(COUNTERS_BYTES);
  #untilLookBytes = 0;
  #counter = 0;
  #dropped = { bytes: 0, objects: 0 };
  #sinceCountBytes = 0;
  #counting: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** Opens or makes a cache folder; may be open more than once. Throws STORAGE if it cannot be used. */
  static open(folder: string, options: FolderCacheOptions): FolderCache {
    try {
      return new FolderCache(folder, options);
    } catch (error) {
      throw new ThimbleError('STORAGE', `Cannot use cache folder ${folder}`, {
        hint: 'give another one with --cache, or --cache none for a cache in memory',
        cause: error,
      });
    }
  }

  /** Throws what `node:fs` throws. */
  protected constructor(
    folder: string,
    { limitBytes, keepFreeBytes = 0, log = silentLog }: FolderCacheOptions,
  ) {
    super(folder);
    this.limitBytes = limitBytes;
    this.#keepFreeBytes = keepFreeBytes;
    this.#log = log;
    for (const part of ['objects', 'tmp', 'running', 'suspect', 'pins'])
      makeFolder(`${folder}/${part}`, 0o700);
    this.#suspects = new Suspects(folder, log);
    this.#eviction = new Eviction(() => [`${folder}/objects`, ...this.#suspects.generations]);
    this.#pins = new Pins(folder, this.#resident);
    const isClean = residents.clearUpAfterTheDead(folder);
    const isSameBoot = residents.isSameBoot(folder);
    if (!isClean || !isSameBoot) {
      this.#suspects.suspectEverything(this.#temporaryPath('old'));
      log.info('cached objects are checked on first use', {
        folder,
        because: isClean ? 'the machine was started anew' : 'a process ended without closing the cache',
      });
    }
    residents.forgetTheDead(folder);
    residents.enter(folder, this.#resident);
    residents.rememberBoot(folder, this.#resident);
    this.#journal = new Journal(folder);
    if (!isClean || !this.#journal.isCounted) this.#countSoon();
  }

  get usedBytes(): number {
    return this.#journal.usage.bytes;
  }

  /** Says goodbye: without this, the next process checks every object again. */
  override close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    super.close();
    try {
      this.#pins.release();
      this.#journal.saveTotal(this.#temporaryPath('usage'));
      residents.leave(this.folder, this.#resident);
    } catch (error) {
      this.#log.warn('cache cannot be closed in order', { folder: this.folder, error: messageOf(error) });
    }
    this.#journal.close();
  }

  load(id: CacheId): Bytes | undefined {
    return this.loadFile(id);
  }

  create(id: CacheId, sizeBytes: number): CacheWriter {
    if (sizeBytes > this.limitBytes / 2) {
      throw new ThimbleError(
        'STORAGE',
        `Cannot cache ${id}: ${sizeBytes} bytes are more than half of the cache`,
      );
    }
    this.#verifyUsable(id);
    return sizeBytes <= SMALL_BYTES ? this.#createSmall(id) : this.#createLarge(id, sizeBytes);
  }

  override has(id: CacheId): boolean {
    return super.has(id) || this.#suspects.acquit(id);
  }

  override discard(id: CacheId): void {
    super.discard(id);
    const sizeBytes = this.#suspects.discard(id);
    if (sizeBytes !== undefined) this.#journal.change(-sizeBytes, -1);
  }

  /** Does not drop an object as long as this cache is open; too many are not held. */
  hold(object: PinnedObject): void {
    try {
      const heldBytes = this.#pins.heldBytes + object.sizeBytes;
      if (heldBytes <= this.limitBytes * MAX_HELD_PART) this.#pins.hold(object);
    } catch (error) {
      this.#log.warn('cached object cannot be pinned', { id: object.id, error: messageOf(error) });
    }
  }

  /** Does not drop objects, in any process, until `unpin`. Throws LIMIT, STORAGE. */
  pin(objects: readonly PinnedObject[]): void {
    const pinned = this.#pins.all();
    const added = objects.filter(({ id }) => !pinned.has(id)).reduce((sum, one) => sum + one.sizeBytes, 0);
    if (this.#pins.bytes + added > this.limitBytes * MAX_PINNED_PART) {
      throw new ThimbleError(
        'LIMIT',
        `Cannot pin ${added} bytes: with ${this.#pins.bytes} pinned before, that is more than three quarters of the cache`,
        { hint: 'unpin something, or make the cache larger', details: { limitBytes: this.limitBytes } },
      );
    }
    this.#attempt('pins', () => this.#pins.keep(objects));
  }

  /** Throws STORAGE. */
  unpin(ids: Iterable<CacheId>): void {
    this.#attempt('pins', () => this.#pins.unkeep(ids));
  }

  /** Drops these objects now, but for those that are pinned. Answers how many were here. */
  evict(ids: Iterable<CacheId>): number {
    const pinned = this.#pins.all();
    let count = 0;
    for (const id of ids) {
      if (pinned.has(id) || !this.has(id)) continue;
      this.discard(id);
      count++;
    }
    return count;
  }

  status(): CacheStatus {
    const { bytes, objects } = this.#journal.usage;
    const other = new Float64Array(this.#otherCounters);
    const counted = (slot: number) => this.counters[slot]! + other[slot]!;
    return {
      kind: 'folder',
      folder: this.folder,
      ...this.#health.status(),
      usedBytes: bytes,
      objects,
      limitBytes: this.limitBytes,
      keepFreeBytes: this.#keepFreeBytes,
      freeBytes: this.#disk()?.freeBytes,
      pinnedBytes: this.#pinnedBytes(),
      hits: counted(COUNTED_HITS),
      misses: counted(COUNTED_MISSES),
      droppedObjects: this.#dropped.objects,
      droppedBytes: this.#dropped.bytes,
      readFailures: counted(COUNTED_READ_FAILURES),
      writeFailures: this.#health.writeFailures,
      lower: [],
    };
  }

  /** For another thread that reads. */
  get readerSettings(): CacheReaderSettings {
    return { folder: this.folder, lowerFolders: [], counters: this.#otherCounters };
  }

  /** Counts everything, and forgets the sums of objects that are gone; readers hardly notice. Never throws. */
  count(): Promise<void> {
    this.#counting ??= this.#count()
      .catch((error: unknown) => {
        this.#log.warn('cached objects cannot be counted', { error: messageOf(error) });
      })
      .finally(() => {
        this.#counting = undefined;
      });
    return this.#counting;
  }

  protected override openFile(id: CacheId): number | undefined {
    if (this.#isClosed) return undefined;
    const fd = super.openFile(id);
    if (fd !== undefined) return fd;
    return this.#suspects.acquit(id) ? super.openFile(id) : undefined;
  }

  protected override onReadFailed(id: CacheId, error: unknown): void {
    this.#health.onReadFailed(error);
    this.#log.warn('cached object cannot be read, fetching it again', { id, error: messageOf(error) });
    super.onReadFailed(id, error);
  }

  // ---- writing ----

  /** Nothing touches the disk before `commit`. */
  #createSmall(id: CacheId): CacheWriter {
    let chunks: Bytes[] = [];
    return {
      write: (chunk) => void chunks.push(new Uint8Array(chunk)),
      commit: () => {
        const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
        chunks = [];
        this.#put(id, bytes);
      },
      abort: () => void (chunks = []),
    };
  }

  #put(id: CacheId, bytes: Bytes): void {
    this.#verifyUsable(id);
    const path = this.pathOf(id);
    // Another process was faster. One that cannot be read is replaced.
    if (existsSync(path) && super.has(id)) return;
    const sum = crc32(bytes);
    this.#attempt(id, () => {
      const usedBytes = this.#journal.put(id, bytes.length, sum);
      try {
        this.#admit(usedBytes, bytes.length);
        this.#writeFile(path, bytes);
      } catch (error) {
        this.#journal.change(-bytes.length, -1);
        throw error;
      }
    });
    this.unshadow(id);
  }

  #writeFile(path: string, bytes: Bytes): void {
    const temporary = this.#temporaryPath(`${this.#counter++}-0`);
    const fd = openSync(temporary, 'wx', 0o600);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      setUsed(fd, this.isVolatile);
      renameInto(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  /** Room for all of it is reserved before the first byte comes. */
  #createLarge(id: CacheId, sizeBytes: number): CacheWriter {
    const temporary = this.#temporaryPath(`${this.#counter++}-${sizeBytes}`);
    let fd: number | undefined = this.#attempt(id, () => this.#reserve(temporary, sizeBytes));
    let sum = 0;
    let length = 0;
    const close = () => {
      if (fd !== undefined) closeSync(fd);
      fd = undefined;
    };
    const abort = () => {
      if (fd === undefined) return;
      close();
      rmSync(temporary, { force: true });
      if (!this.#isClosed) this.#journal.change(-sizeBytes, 0);
    };
    return {
      write: (chunk) => {
        this.#verifyUsable(id);
        let at = 0;
        this.#attempt(id, () => {
          while (at < chunk.length) at += writeSync(fd!, chunk, at);
        });
        sum = crc32(chunk, sum);
        length += chunk.length;
      },
      commit: () => {
        this.#verifyUsable(id);
        this.#attempt(id, () => {
          setUsed(fd!, this.isVolatile);
          renameInto(temporary, this.pathOf(id));
          this.#journal.putReserved(id, length, sum, sizeBytes);
        });
        close();
        this.unshadow(id);
      },
      abort,
    };
  }

  #reserve(temporary: string, sizeBytes: number): number {
    const usedBytes = this.#journal.change(sizeBytes, 0);
    try {
      this.#admit(usedBytes, sizeBytes);
      return openSync(temporary, 'wx', 0o600);
    } catch (error) {
      this.#journal.change(-sizeBytes, 0);
      throw error;
    }
  }

  #verifyUsable(id: CacheId): void {
    if (this.#isClosed) throw new ThimbleError('STORAGE', `Cannot cache ${id}: the cache is closed`);
    if (!this.#health.isWorthTrying()) {
      throw new ThimbleError('STORAGE', `Cannot cache ${id}: the disk has failed`);
    }
  }

  /** Does something on the disk; if that is full, after dropping what was used longest ago. Throws STORAGE. */
  #attempt<T>(what: string, action: () => T): T {
    for (let tries = 1; ; tries++) {
      try {
        const result = action();
        this.#health.onWritten();
        return result;
      } catch (error) {
        const isFull = (error as NodeJS.ErrnoException).code === 'ENOSPC';
        if (isFull && tries < MAX_TRIES && this.#couldDrop()) continue;
        this.#health.onWriteFailed(error);
        throw new ThimbleError('STORAGE', `Cannot cache ${what} in ${this.folder}`, { cause: error });
      }
    }
  }

  #temporaryPath(name: string): string {
    return `${this.folder}/tmp/${this.#resident}-${name}`;
  }

  // ---- room ----

  /** Makes room for what has just been announced. Throws ENOSPC where nothing can be dropped. */
  #admit(usedBytes: number, sizeBytes: number): void {
    if (usedBytes > this.limitBytes) this.#keepLimit(sizeBytes);
    if (this.#keepFreeBytes === 0) return;
    this.#untilLookBytes -= sizeBytes;
    if (this.#untilLookBytes <= 0) this.#keepFree();
  }

  #keepLimit(announcedBytes: number): void {
    while (this.#journal.usage.bytes > this.limitBytes) {
      const wantedBytes = this.#journal.usage.bytes - this.limitBytes * DROP_TO;
      const { dropped, total } = this.#dropSlice(wantedBytes);
      if (dropped > 0 || total === undefined) continue;
      // All that is there is pinned, or the count is wrong: processes that were killed had reserved some.
      if (total + announcedBytes > this.limitBytes) throw noSpace('all that is in the cache is pinned');
      this.#journal.change(total + announcedBytes - this.#journal.usage.bytes, 0);
    }
  }

  /** Looks at the disk now and then: others fill it too. */
  #keepFree(): void {
    const disk = this.#disk();
    if (disk === undefined) return;
    const keepBytes = Math.min(this.#keepFreeBytes, disk.totalBytes * KEEP_FREE_PART);
    let missingBytes = keepBytes - disk.freeBytes;
    while (missingBytes > 0) {
      const { dropped, total } = this.#dropSlice(missingBytes + keepBytes / 2);
      if (dropped === 0 && total !== undefined) throw noSpace('nothing is left to be dropped');
      missingBytes -= dropped;
    }
    this.#untilLookBytes = keepBytes / 2;
  }

  #couldDrop(): boolean {
    try {
      return this.#dropSlice(this.#journal.usage.bytes / 2).dropped > 0;
    } catch {
      // What made room necessary is told about.
      return false;
    }
  }

  /** Answers bytes dropped, and bytes that were there before if it has looked at everything. */
  #dropSlice(wantedBytes: number): { readonly dropped: number; readonly total: number | undefined } {
    const { dropped, total } = this.#eviction.dropSlice(wantedBytes, this.#pins.all());
    if (dropped.objects > 0) {
      this.#journal.change(-dropped.bytes, -dropped.objects);
      this.#dropped.bytes += dropped.bytes;
      this.#dropped.objects += dropped.objects;
      this.#sinceCountBytes += dropped.bytes;
      this.#log.debug('dropped objects from the cache', { ...dropped, usedBytes: this.usedBytes });
      if (this.#sinceCountBytes > this.limitBytes / 2) this.#countSoon();
    }
    return { dropped: dropped.bytes, total: total?.bytes };
  }

  #disk(): { readonly freeBytes: number; readonly totalBytes: number } | undefined {
    try {
      const { bavail, blocks, bsize } = statfsSync(this.folder);
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    } catch {
      // A disk that does not even say how large it is fails elsewhere, and is told about there.
      return undefined;
    }
  }

  #pinnedBytes(): number {
    try {
      return this.#pins.bytes;
    } catch {
      // Of a disk that fails, `state` says so.
      return 0;
    }
  }

  // ---- counting ----

  #countSoon(): void {
    this.#sinceCountBytes = 0;
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.count();
    }, COUNT_AFTER_MS);
    this.#timer.unref();
  }

  async #count(): Promise<void> {
    this.#journal.catchUp();
    const before = this.#journal.usage;
    const end = this.#journal.sizeBytes;
    const ids = new Set<string>();
    const keepIds = end > Math.max(MIN_COMPACTED_BYTES, 2 * SUM_LINE_BYTES * before.objects);
    const counted = await this.#eviction.count(
      (id) => void (keepIds && ids.add(id)),
      () => this.#isClosed,
    );
    if (counted === undefined || this.#isClosed) return;
    let reserved = 0;
    for (const name of residents.namesIn(`${this.folder}/tmp`)) reserved += Number(name.split('-')[2]) || 0;
    this.#journal.catchUp();
    const since = this.#journal.usage;
    this.#journal.setTotal({
      bytes: counted.bytes + reserved + Math.max(0, since.bytes - before.bytes),
      objects: counted.objects + Math.max(0, since.objects - before.objects),
    });
    if (keepIds && residents.countResidents(this.folder) === 1)
      this.#journal.compact(ids, end, this.#temporaryPath('sums'));
    this.#journal.saveTotal(this.#temporaryPath('usage'));
  }
}

function noSpace(why: string): Error {
  return Object.assign(new Error(why), { code: 'ENOSPC' });
}
