/** Where the pages of an SQLite file come from. */

import type { Bytes } from '../bytes/byte-string.ts';
import { ThimbleError } from '../errors.ts';

export interface PageSource {
  readonly pageSize: number;
  readonly pageCount: number;
  /** Every page that `locate` answers with lies in here. */
  readonly bytes: Bytes;
  /** Pages stay where they are; else only the one that was located last does. */
  readonly isStable: boolean;
  /** Offset in `bytes` of a page; pages count from 1, and the caller has checked the range. */
  locate(page: number): number;
}

/** A whole database file in memory. */
export class MemoryPages implements PageSource {
  readonly isStable = true;
  readonly bytes: Bytes;
  readonly pageSize: number;
  readonly pageCount: number;

  constructor(bytes: Bytes, pageSize: number) {
    this.bytes = bytes;
    this.pageSize = pageSize;
    this.pageCount = Math.floor(bytes.length / pageSize);
  }

  locate(page: number): number {
    return (page - 1) * this.pageSize;
  }
}

/** A file that is read piece by piece. */
export interface PageFile {
  readonly sizeBytes: number;
  /** Reads into `into` from `at` on; answers with how many bytes there were. Throws what the platform throws. */
  read(position: number, into: Bytes, at: number, length: number): number;
  /** Nobody is going to read for a while. */
  rest?(): void;
}

const ABSENT = -1;

/**
 * Pages of many files in memory of a fixed size, those that were used lately. A frame is taken from whoever has not used it since the
 * hand came by last (the clock algorithm).
 */
export class PageCache {
  readonly #budgetBytes: number;
  readonly #pools = new Map<number, FramePool>();

  /** Room for `budgetBytes` of pages of each size; files of one writer have pages of one size. */
  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  open(file: PageFile, pageSize: number): PageSource {
    const pool = this.#pools.get(pageSize) ?? new FramePool(pageSize, this.#budgetBytes);
    this.#pools.set(pageSize, pool);
    return new FilePages(file, pool);
  }
}

const MIN_FRAMES = 16;

class FramePool {
  readonly pageSize: number;
  readonly bytes: Bytes;
  readonly used: Uint8Array;
  /** The frame that somebody looks at. */
  last = ABSENT;
  readonly #owners: (FilePages | undefined)[] = [];
  readonly #pages: Int32Array;
  #hand = 0;

  constructor(pageSize: number, budgetBytes: number) {
    const frames = Math.max(MIN_FRAMES, Math.floor(budgetBytes / pageSize));
    this.pageSize = pageSize;
    // The system gives memory to it page by page, when it is first written.
    this.bytes = new Uint8Array(frames * pageSize);
    this.used = new Uint8Array(frames);
    this.#pages = new Int32Array(frames);
  }

  /** A frame for a page; whose it was has to read it again. */
  take(owner: FilePages, page: number): number {
    while (this.used[this.#hand] !== 0 || this.#hand === this.last) {
      this.used[this.#hand] = 0;
      this.#advance();
    }
    const frame = this.#hand;
    this.#advance();
    this.#owners[frame]?.forget(this.#pages[frame]!);
    this.#owners[frame] = owner;
    this.#pages[frame] = page;
    this.used[frame] = 1;
    this.last = frame;
    return frame;
  }

  /** The frame holds nothing that is of use. */
  release(frame: number): void {
    this.#owners[frame] = undefined;
    this.used[frame] = 0;
  }

  #advance(): void {
    this.#hand = (this.#hand + 1) % this.used.length;
  }
}

class FilePages implements PageSource {
  readonly isStable = false;
  readonly bytes: Bytes;
  readonly pageSize: number;
  readonly pageCount: number;
  readonly #file: PageFile;
  readonly #pool: FramePool;
  /** The frame of each page, from 0. */
  readonly #frames: Int32Array;

  constructor(file: PageFile, pool: FramePool) {
    this.#file = file;
    this.#pool = pool;
    this.bytes = pool.bytes;
    this.pageSize = pool.pageSize;
    this.pageCount = Math.floor(file.sizeBytes / pool.pageSize);
    this.#frames = new Int32Array(this.pageCount).fill(ABSENT);
  }

  locate(page: number): number {
    const frame = this.#frames[page - 1]!;
    if (frame === ABSENT) return this.#load(page);
    this.#pool.used[frame] = 1;
    this.#pool.last = frame;
    return frame * this.pageSize;
  }

  forget(page: number): void {
    this.#frames[page - 1] = ABSENT;
  }

  #load(page: number): number {
    const { pageSize } = this;
    const frame = this.#pool.take(this, page);
    const at = frame * pageSize;
    try {
      if (this.#file.read((page - 1) * pageSize, this.bytes, at, pageSize) < pageSize)
        throw new ThimbleError('STORAGE', `Cannot read SQLite file: it ends before page ${page}`);
    } catch (error) {
      this.#pool.release(frame);
      throw error;
    }
    this.#frames[page - 1] = frame;
    return at;
  }
}
