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

import { closeSync, existsSync, openSync, rmSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { CacheId, CacheStatus, CacheWriter, PinnedObject, SteeredCache } from '../../client/cache.ts';
import type { Bytes } from '../../core/bytes/byte-string.ts';
import { messageOf, ThimbleError } from '../../core/errors.ts';
import { type Log, silentLog } from '../../core/ports.ts';
import { makeFolder } from '../make-folder.ts';
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
import { Journal, type Usage } from './journal.ts';
import { Pins } from './pins.ts';
import * as residents from './residents.ts';
import { Room } from './room.ts';
import { checksumOf, SumTable } from './sum-table.ts';
import { renameInto, Suspects } from './suspects.ts';

/** What people pin may take this part of the limit. */
const MAX_PINNED_PART = 0.75;
/** The same for what one mount holds for itself. */
const MAX_HELD_PART = 0.25;
/** Objects up to this are written in one go when they are committed; for larger ones room is reserved before. */
const SMALL_BYTES = 128 * 1024;
/** Slices that are dropped for one object on a full disk. */
const MAX_TRIES = 8;

export interface FolderCacheOptions {
  readonly limitBytes: number;
  /** Left free on the disk, but no more than a tenth of it. */
  readonly keepFreeBytes?: number;
  readonly log?: Log;
}

/** All that another thread needs to use the same folder as well. */
export interface FolderCacheSettings {
  readonly folder: string;
  readonly limitBytes: number;
  readonly keepFreeBytes: number;
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
  readonly #pins: Pins;
  readonly #room: Room;
  readonly #health = new CacheHealth();
  /** What a second thread counts. */
  readonly #otherCounters = new SharedArrayBuffer(COUNTERS_BYTES);
  #counter = 0;
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
    this.#room = new Room({
      ...{ folder, limitBytes, keepFreeBytes, log },
      ...{ journal: this.#journal, suspects: this.#suspects, pins: this.#pins },
      temporaryPath: (name) => this.#temporaryPath(name),
    });
    if (!isClean || !this.#journal.isCounted) this.#room.countSoon();
  }

  get usedBytes(): number {
    return this.#journal.usage.bytes;
  }

  /** Says goodbye: without this, the next process checks every object again. */
  override close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#room.close();
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

  put(id: CacheId, content: Bytes): void {
    this.#verifyFits(id, content.length);
    this.#put(id, content);
  }

  create(id: CacheId, sizeBytes: number): CacheWriter {
    this.#verifyFits(id, sizeBytes);
    this.#verifyUsable(id);
    return sizeBytes <= SMALL_BYTES ? this.#createSmall(id) : this.#createLarge(id, sizeBytes);
  }

  override has(id: CacheId): boolean {
    return super.has(id) || this.#suspects.acquit(id);
  }

  override discard(id: CacheId): void {
    if (this.#isClosed) return;
    super.discard(id);
    try {
      const sizeBytes = this.#suspects.discard(id);
      if (sizeBytes !== undefined) this.#journal.change(-sizeBytes, -1);
    } catch (error) {
      this.#log.warn('cached object cannot be removed', { id, error: messageOf(error) });
    }
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

  shrink(toBytes: number): Promise<boolean> {
    return this.#room.shrink(toBytes);
  }

  async ids(which: 'all' | 'pinned'): Promise<readonly CacheId[]> {
    return (which === 'all' ? await this.#room.ids() : [...this.#pins.all().keys()]) as CacheId[];
  }

  stateOf(id: CacheId): 'absent' | 'right' | 'damaged' {
    let fd: number | undefined;
    try {
      fd = this.openFile(id);
      if (fd === undefined) return 'absent';
      return SumTable.read(`${this.folder}/sums`).matches(id, checksumOf(fd)) ? 'right' : 'damaged';
    } catch {
      // A disk that cannot be read has not kept it.
      return 'damaged';
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  cleanupsWithin(seconds: number): number {
    return this.#room.cleanupsWithin(seconds);
  }

  status(): CacheStatus {
    const { bytes, objects } = this.#usage();
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
      freeBytes: this.#room.disk()?.freeBytes,
      pinnedBytes: this.#pinnedBytes(),
      hits: counted(COUNTED_HITS),
      misses: counted(COUNTED_MISSES),
      droppedObjects: this.#room.dropped.objects,
      droppedBytes: this.#room.dropped.bytes,
      readFailures: counted(COUNTED_READ_FAILURES),
      writeFailures: this.#health.writeFailures,
      lower: [],
    };
  }

  /** For another thread that writes. */
  get settings(): FolderCacheSettings {
    return { folder: this.folder, limitBytes: this.limitBytes, keepFreeBytes: this.#keepFreeBytes };
  }

  /** For another thread that reads. */
  get readerSettings(): CacheReaderSettings {
    return { folder: this.folder, lowerFolders: [], counters: this.#otherCounters };
  }

  /** Counts everything, a little at a time. Never throws. */
  count(): Promise<void> {
    return this.#room.count();
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
        this.#room.admit(usedBytes, bytes.length);
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
      // What was written just now was used just now.
      if (this.isVolatile) setUsed(fd, true);
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
      this.#room.admit(usedBytes, sizeBytes);
      return openSync(temporary, 'wx', 0o600);
    } catch (error) {
      this.#journal.change(-sizeBytes, 0);
      throw error;
    }
  }

  #verifyFits(id: CacheId, sizeBytes: number): void {
    if (sizeBytes <= this.limitBytes / 2) return;
    throw new ThimbleError(
      'STORAGE',
      `Cannot cache ${id}: ${sizeBytes} bytes are more than half of the cache`,
    );
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
        if (isFull && tries < MAX_TRIES && this.#room.couldDrop()) continue;
        this.#health.onWriteFailed(error);
        throw new ThimbleError('STORAGE', `Cannot cache ${what} in ${this.folder}`, { cause: error });
      }
    }
  }

  #temporaryPath(name: string): string {
    return `${this.folder}/tmp/${this.#resident}-${name}`;
  }

  /** With what other threads and processes have put. */
  #usage(): Usage {
    try {
      if (!this.#isClosed) this.#journal.catchUp();
    } catch {
      // Of a disk that fails, `state` says so.
    }
    return this.#journal.usage;
  }

  #pinnedBytes(): number {
    try {
      return this.#pins.bytes;
    } catch {
      // Of a disk that fails, `state` says so.
      return 0;
    }
  }
}
