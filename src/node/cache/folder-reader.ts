/**
 * Reading from a cache folder, for any thread: objects come and go under it. What cannot be read is not there: it is removed
 * and fetched again.
 */

import {
  appendFileSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  futimesSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import type { CacheId } from '../../client/cache.ts';
import type { Bytes } from '../../core/bytes/byte-string.ts';

/** A read from the start, up to this, is most often all of an object: it is opened, read and closed again. */
const READ_ONCE_BYTES = 128 * 1024;
const MIN_OPEN_FILES = 128;
const MAX_OPEN_FILES = 4096;
/** Part of the descriptors of the process that each thread keeps open. */
const OPEN_FILES_SHARE = 1 / 8;
const MAX_SHADOWED = 10_000;
/** An object is marked as used when it was not within this. */
const TOUCH_AFTER_MS = 3600 * 1000;

/** Linux, of all architectures that Node runs on but alpha, sparc and parisc. */
const O_NOATIME = 0o1000000;

/** Slots of `CacheReaderSettings.counters`, as 64-bit floats. */
export const COUNTED_HITS = 0;
export const COUNTED_MISSES = 1;
export const COUNTED_READ_FAILURES = 2;
export const COUNTERS_BYTES = 24;

/** What another thread needs to read the same cache; can be sent there. */
export interface CacheReaderSettings {
  /** `undefined`: only the others are on disk. */
  readonly folder: string | undefined;
  readonly lowerFolders: readonly string[];
  /** Where the other thread counts: slots of `COUNTED_*`. */
  readonly counters: SharedArrayBuffer;
}

/** Of a folder alone. */
export function readerOf(folder: string | undefined): CacheReaderSettings | undefined {
  if (folder === undefined) return undefined;
  return { folder, lowerFolders: [], counters: new SharedArrayBuffer(COUNTERS_BYTES) };
}

/**
 * The time of last use is the time of change of a file: nobody but Thimble sets it, whatever mount options say. Volatile
 * content has one that lies this far back, and goes first.
 */
export const VOLATILE_SECONDS = 1_500_000_000;
const VOLATILE_BEFORE_MS = 1_000_000_000_000;

interface OpenObject {
  readonly fd: number;
  readonly sizeBytes: number;
}

export class FolderCacheReader {
  protected readonly folder: string;
  protected readonly counters: Float64Array;
  readonly #open = new Map<CacheId, OpenObject>();
  readonly #maxOpen = maxOpenFiles();
  /** Objects that cannot be read and cannot be removed. */
  readonly #shadowed = new Set<CacheId>();
  /** Says which objects are used. */
  protected readonly marksUse: boolean = true;
  #wasMissing = false;
  #flags = constants.O_RDONLY | O_NOATIME;

  constructor(folder: string, counters = new SharedArrayBuffer(COUNTERS_BYTES)) {
    this.folder = folder;
    this.counters = new Float64Array(counters);
  }

  /** As `ObjectCache.read` does; what cannot be read is dropped. */
  read(id: CacheId, position: number, length: number, into: Bytes, at: number): number | undefined {
    const known = this.#open.get(id);
    try {
      const count =
        known === undefined && position === 0 && length <= READ_ONCE_BYTES
          ? this.#readOnce(id, length, into, at)
          : this.#readKept(known ?? this.openObject(id), position, length, into, at);
      this.counters[count === undefined ? COUNTED_MISSES : COUNTED_HITS]!++;
      return count;
    } catch (error) {
      this.onReadFailed(id, error);
      return undefined;
    }
  }

  has(id: CacheId): boolean {
    return existsSync(this.pathOf(id)) && !this.#shadowed.has(id);
  }

  /** As `SteeredCache.openContent` does. What would have to be checked first is not there. */
  openContent(id: CacheId, sizeBytes: number): number | undefined {
    try {
      const fd = FolderCacheReader.prototype.openFile.call(this, id);
      if (fd === undefined || this.#touch(fd) === sizeBytes) return fd;
      closeSync(fd);
      this.discard(id);
    } catch (error) {
      this.onReadFailed(id, error);
    }
    return undefined;
  }

  /** Removes an object, for instance because it is too short; another one with the id may come. */
  discard(id: CacheId): void {
    this.#forget(id);
    const path = this.pathOf(id);
    try {
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats === undefined) return;
      unlinkSync(path);
      appendFileSync(`${this.folder}/sums`, `-${stats.size} 1\n`);
    } catch {
      // On a disk that cannot be written it stays, and is not looked at again.
      if (existsSync(path)) this.shadow(id);
    }
  }

  /** Closes all descriptors. */
  close(): void {
    for (const { fd } of this.#open.values()) closeSync(fd);
    this.#open.clear();
  }

  /** All of an object; `undefined` if it is not there. */
  protected loadFile(id: CacheId): Bytes | undefined {
    try {
      const bytes = this.#load(id);
      this.counters[bytes === undefined ? COUNTED_MISSES : COUNTED_HITS]!++;
      return bytes;
    } catch (error) {
      this.onReadFailed(id, error);
      return undefined;
    }
  }

  /** Kept open; `undefined` if it is not there. Throws what `node:fs` throws. */
  protected openObject(id: CacheId): OpenObject | undefined {
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const fd = this.openFile(id);
    if (fd === undefined) return undefined;
    const sizeBytes = this.#touch(fd);
    if (this.#open.size >= this.#maxOpen) this.#forget(this.#open.keys().next().value!);
    const object = { fd, sizeBytes };
    this.#open.set(id, object);
    return object;
  }

  /** A descriptor of the object; `undefined` if it is not there. Throws what `node:fs` throws. */
  protected openFile(id: CacheId): number | undefined {
    if (this.#shadowed.size > 0 && this.#shadowed.has(id)) return undefined;
    const path = this.pathOf(id);
    // An error costs more than a question: after an object that was not there, the next may not be there either.
    if (this.#wasMissing && !existsSync(path)) return undefined;
    try {
      this.#wasMissing = false;
      return openSync(path, this.#flags);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      this.#wasMissing = code === 'ENOENT' || code === 'ENOTDIR';
      if (this.#wasMissing) return undefined;
      if (code === 'EPERM' && this.#flags !== constants.O_RDONLY) {
        // Only the owner may keep the access time as it is.
        this.#flags = constants.O_RDONLY;
        return this.openFile(id);
      }
      if ((code === 'EMFILE' || code === 'ENFILE') && this.#open.size > 0) {
        FolderCacheReader.prototype.close.call(this);
        return this.openFile(id);
      }
      throw error;
    }
  }

  /** Something is wrong with an object, or with all of the disk. */
  protected onReadFailed(id: CacheId, error: unknown): void {
    this.counters[COUNTED_READ_FAILURES]!++;
    this.counters[COUNTED_MISSES]!++;
    // Of this process, and no fault of the object.
    if (['EMFILE', 'ENFILE', 'ENOMEM'].includes((error as NodeJS.ErrnoException).code ?? '')) this.shadow(id);
    else this.discard(id);
  }

  protected pathOf(id: CacheId): string {
    return `${this.folder}/objects/${shardedName(id)}`;
  }

  /** Put again, it is worth another look. */
  protected unshadow(id: CacheId): void {
    if (this.#shadowed.size > 0) this.#shadowed.delete(id);
    this.#forget(id);
  }

  /** Does not look at an object again. */
  protected shadow(id: CacheId): void {
    this.#forget(id);
    if (this.#shadowed.size >= MAX_SHADOWED) this.#shadowed.clear();
    this.#shadowed.add(id);
  }

  #load(id: CacheId): Bytes | undefined {
    const fd = this.openFile(id);
    if (fd === undefined) return undefined;
    try {
      const bytes = new Uint8Array(this.#touch(fd));
      for (let at = 0; at < bytes.length; ) {
        const count = readSync(fd, bytes, at, bytes.length - at, at);
        if (count === 0) throw new Error('the file is shorter than it says');
        at += count;
      }
      return bytes;
    } finally {
      closeSync(fd);
    }
  }

  #readOnce(id: CacheId, length: number, into: Bytes, at: number): number | undefined {
    const fd = this.openFile(id);
    if (fd === undefined) return undefined;
    try {
      const count = readSync(fd, into, at, length, 0);
      this.#touch(fd);
      return count;
    } finally {
      closeSync(fd);
    }
  }

  #readKept(object: OpenObject | undefined, position: number, length: number, into: Bytes, at: number) {
    return object === undefined ? undefined : readSync(object.fd, into, at, length, position);
  }

  /** Marks as used; answers the size. */
  #touch(fd: number): number {
    const { size, mtimeMs } = fstatSync(fd);
    if (!this.marksUse) return size;
    const isVolatile = mtimeMs < VOLATILE_BEFORE_MS;
    const usedMs = isVolatile ? mtimeMs + VOLATILE_SECONDS * 1000 : mtimeMs;
    if (Math.abs(Date.now() - usedMs) > TOUCH_AFTER_MS) setUsed(fd, isVolatile);
    return size;
  }

  #forget(id: CacheId): void {
    const known = this.#open.get(id);
    if (known === undefined) return;
    this.#open.delete(id);
    closeSync(known.fd);
  }
}

/** Says that an object is used now. */
export function setUsed(fd: number, isVolatile: boolean): void {
  const nowSeconds = (performance.timeOrigin + performance.now()) / 1000;
  const used = isVolatile ? nowSeconds - VOLATILE_SECONDS : nowSeconds;
  try {
    futimesSync(fd, used, used);
  } catch {
    // A folder that has become read-only can still be read from.
  }
}

/** Where an object is below `objects` or a folder of suspects. */
export function shardedName(id: CacheId): string {
  return `${id.slice(0, 2)}/${id.slice(2)}`;
}

/** Node raises the limit to what the system allows when it starts. */
function maxOpenFiles(): number {
  let allowed = 1024;
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1');
    allowed = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? allowed);
  } catch {
    // Without /proc: what every system allows.
  }
  return Math.max(MIN_OPEN_FILES, Math.min(MAX_OPEN_FILES, Math.floor(allowed * OPEN_FILES_SHARE)));
}
