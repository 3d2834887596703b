/**
 * The cache on disk. Layout of its folder:
 *
 *   objects/ab/cdef...   inflated, verified content; named by `CacheId`
 *   tmp/<pid>-<n>        content on its way; renamed when it is whole
 *   sums                 one line for each object put: id, bytes, CRC-32; lines of objects that are gone are dropped now
 *                        and then
 *   running/<pid>        a process uses the cache; holds boot id and start time
 *   suspect/ab/cdef...   what `objects` held when a process or the machine ended without saying goodbye
 *
 * After an unclean end file contents may be lost although their names survived. So `objects` as a whole becomes
 * `suspect` (one rename, whatever its size), and each object is checked against `sums` when it is first asked for.
 * Several mounts and processes share one folder; whoever finds it over its limit drops what was used longest ago, by
 * access time. docs/adr/0005-cache-folder.md
 */

import {
  closeSync,
  existsSync,
  fstatSync,
  futimesSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { CacheId, CacheWriter, ObjectCache } from '../client/cache.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { messageOf, ThimbleError } from '../core/errors.ts';
import { type Log, silentLog } from '../core/ports.ts';
import { makeFolder } from './make-folder.ts';
import { identityOf } from './process-identity.ts';

/** Descriptors of recently read objects kept open by each thread. */
const MAX_OPEN_FILES = 512;
/** Dropping goes on until the cache is this part of its limit, so that it is not needed for every object. */
const DROP_TO = 0.75;
const READ_CHUNK_BYTES = 1024 * 1024;
/** Other processes fill the folder too: it is looked at again after putting this part of the limit. */
const LOOK_AGAIN_AFTER = 1 / 8;
/** `sums` is written anew when it is longer than twice the lines it needs, and than this. */
const MIN_COMPACTED_BYTES = 64 * 1024;
const SUM_LINE_BYTES = 80;

interface CachedFile {
  readonly id: CacheId;
  readonly path: string;
  readonly sizeBytes: number;
  readonly usedMs: number;
}

interface OpenObject {
  readonly fd: number;
  readonly sizeBytes: number;
}

/** Reading alone, for a second thread; objects come and go under it. */
export class FolderCacheReader {
  protected readonly folder: string;
  readonly #open = new Map<CacheId, OpenObject>();

  constructor(folder: string) {
    this.folder = folder;
  }

  read(id: CacheId, position: number, length: number, into: Bytes, at: number): number | undefined {
    const object = this.openObject(id);
    return object === undefined ? undefined : readSync(object.fd, into, at, length, position);
  }

  has(id: CacheId): boolean {
    return this.#open.has(id) || existsSync(this.pathOf(id));
  }

  /** Closes all descriptors. */
  close(): void {
    for (const { fd } of this.#open.values()) closeSync(fd);
    this.#open.clear();
  }

  protected openObject(id: CacheId): OpenObject | undefined {
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const fd = openIfThere(this.pathOf(id));
    if (fd === undefined) return undefined;
    const { size, mtimeMs } = fstatSync(fd);
    try {
      // What is used stays: dropping goes by access times, which mount options may have switched off.
      futimesSync(fd, Date.now() / 1000, mtimeMs / 1000);
    } catch {
      // A folder that has become read-only can still be read from.
    }
    if (this.#open.size === MAX_OPEN_FILES) {
      const [oldest, { fd: oldestFd }] = this.#open.entries().next().value!;
      this.#open.delete(oldest);
      closeSync(oldestFd);
    }
    const object = { fd, sizeBytes: size };
    this.#open.set(id, object);
    return object;
  }

  protected pathOf(id: CacheId, part = 'objects'): string {
    return join(this.folder, part, id.slice(0, 2), id.slice(2));
  }
}

export class FolderCache extends FolderCacheReader implements ObjectCache {
  readonly limitBytes: number;
  readonly #log: Log;
  readonly #marker: string;
  readonly #sumsFd: number;
  #usedBytes = 0;
  /** Of writers that have not committed yet. */
  #reservedBytes = 0;
  #putSinceLookBytes = 0;
  readonly #hasSuspects: boolean;
  #counter = 0;
  #sums: Map<string, string> | undefined;

  /** Opens or makes a cache folder. Throws STORAGE if it cannot be used. */
  static open(folder: string, limitBytes: number, log: Log = silentLog): FolderCache {
    try {
      return new FolderCache(folder, limitBytes, log);
    } catch (error) {
      throw new ThimbleError('STORAGE', `Cannot use cache folder ${folder}`, {
        hint: 'give another one with --cache, or --cache none for a cache in memory',
        cause: error,
      });
    }
  }

  private constructor(folder: string, limitBytes: number, log: Log) {
    super(folder);
    this.limitBytes = limitBytes;
    this.#log = log;
    for (const part of ['objects', 'tmp', 'running', 'suspect']) {
      makeFolder(join(folder, part), 0o700);
    }
    this.#marker = join(folder, 'running', String(process.pid));
    this.#clearUpAfterTheDead();
    this.#hasSuspects = namesIn(join(folder, 'suspect')).length > 0;
    this.#setMarker();
    const files = this.#scan();
    this.#usedBytes = totalBytes(files);
    this.#compactSums(files);
    this.#sumsFd = openSync(join(folder, 'sums'), 'a', 0o600);
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Says goodbye: without this, the next process checks every object again. */
  override close(): void {
    super.close();
    closeSync(this.#sumsFd);
    rmSync(this.#marker, { force: true });
  }

  load(id: CacheId): Bytes | undefined {
    const object = this.openObject(id);
    if (object === undefined) return undefined;
    const bytes = new Uint8Array(object.sizeBytes);
    for (let at = 0; at < bytes.length; ) {
      const count = readSync(object.fd, bytes, at, Math.min(READ_CHUNK_BYTES, bytes.length - at), at);
      if (count === 0) return undefined;
      at += count;
    }
    return bytes;
  }

  create(id: CacheId, sizeBytes: number): CacheWriter {
    if (sizeBytes > this.limitBytes / 2) {
      throw new ThimbleError(
        'STORAGE',
        `Cannot cache ${id}: ${sizeBytes} bytes are more than half of the cache`,
      );
    }
    this.#attempt(id, () => this.#makeRoom(sizeBytes));
    const temporary = this.#temporaryPath(this.#counter++);
    let fd: number | undefined = this.#attempt(id, () => openSync(temporary, 'wx', 0o600));
    this.#reservedBytes += sizeBytes;
    let sum = 0;
    let length = 0;
    const close = () => {
      if (fd === undefined) return;
      closeSync(fd);
      fd = undefined;
      this.#reservedBytes -= sizeBytes;
    };
    return {
      write: (chunk) => {
        this.#attempt(id, () => writeAll(fd!, chunk));
        sum = crc32(chunk, sum);
        length += chunk.length;
      },
      commit: () => {
        close();
        this.#attempt(id, () => {
          writeSync(this.#sumsFd, sumLine(id, length, sum));
          renameInto(temporary, this.pathOf(id));
          this.#usedBytes += length;
          this.#putSinceLookBytes += length;
        });
      },
      abort: () => {
        close();
        rmSync(temporary, { force: true });
      },
    };
  }

  override has(id: CacheId): boolean {
    return super.has(id) || this.#acquit(id);
  }

  protected override openObject(id: CacheId): OpenObject | undefined {
    const object = super.openObject(id);
    if (object !== undefined) return object;
    return this.#acquit(id) ? super.openObject(id) : undefined;
  }

  /** Checks a suspect object and takes it back if it is whole. */
  #acquit(id: CacheId): boolean {
    if (!this.#hasSuspects) return false;
    const suspect = this.pathOf(id, 'suspect');
    const fd = openIfThere(suspect);
    if (fd === undefined) return false;
    try {
      this.#sums ??= readSums(join(this.folder, 'sums'));
      const { length, sum } = checksumOf(fd);
      if (this.#sums.get(id) !== sumLine(id, length, sum).trimEnd()) {
        this.#log.warn('cached object is damaged, fetching it again', { id });
        unlinkSync(suspect);
        return false;
      }
      renameInto(suspect, this.pathOf(id));
      return true;
    } catch (error) {
      // Another process may have taken it, or the disk fails: either way it is fetched again.
      this.#log.warn('cached object cannot be checked', { id, error: messageOf(error) });
      return false;
    } finally {
      closeSync(fd);
    }
  }

  /** Removes markers and temporary files of processes that are gone; if one did not say goodbye, all is suspect. */
  #clearUpAfterTheDead(): void {
    const running = join(this.folder, 'running');
    const dead = readdirSync(running).filter((name) => !isRunning(join(running, name), Number(name)));
    // The markers go last: whoever is interrupted here leaves them to the next one.
    if (dead.length > 0) this.#suspectEverything();
    for (const name of dead) rmSync(join(running, name), { force: true });
    for (const name of readdirSync(join(this.folder, 'tmp'))) {
      const pid = Number(name.split('-')[0]);
      if (pid === process.pid || identityOf(pid) === undefined)
        rmSync(join(this.folder, 'tmp', name), { force: true });
    }
  }

  #setMarker(): void {
    // In one step: a marker without content would look like that of a dead process.
    const temporary = this.#temporaryPath('marker');
    writeFileSync(temporary, identityOf(process.pid) ?? '');
    renameSync(temporary, this.#marker);
  }

  #suspectEverything(): void {
    const objects = join(this.folder, 'objects');
    const suspect = join(this.folder, 'suspect');
    try {
      // What was suspect before and not asked for since is not worth keeping.
      rmSync(suspect, { recursive: true, force: true });
      renameSync(objects, suspect);
    } catch (error) {
      // Another process that starts at this moment has moved them; nothing older than that is in `objects`.
      const { code = '' } = error as NodeJS.ErrnoException;
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(code)) throw error;
    }
    makeFolder(objects, 0o700);
    makeFolder(suspect, 0o700);
    this.#log.warn('the cache was not closed cleanly, its objects are checked on first use', {
      folder: this.folder,
    });
  }

  /** Forgets the sums of objects that are gone, if that is worth it and nobody else adds to them. */
  #compactSums(kept: readonly CachedFile[]): void {
    const path = join(this.folder, 'sums');
    const sizeBytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (sizeBytes <= Math.max(MIN_COMPACTED_BYTES, 2 * SUM_LINE_BYTES * kept.length)) return;
    if (readdirSync(join(this.folder, 'running')).length > 1) return;
    const sums = readSums(path);
    const lines = kept.flatMap(({ id }) => sums.get(id) ?? []);
    const temporary = this.#temporaryPath('sums');
    writeFileSync(temporary, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
    // Lines of a process that starts just now may be lost: then its objects are fetched again after an unclean end.
    renameSync(temporary, path);
  }

  /** Everything that takes space, suspects too: an unclean end must not let the cache grow to twice its limit. */
  #scan(): CachedFile[] {
    this.#putSinceLookBytes = 0;
    return [...scan(join(this.folder, 'suspect')), ...scan(join(this.folder, 'objects'))];
  }

  #temporaryPath(name: string | number): string {
    return join(this.folder, 'tmp', `${process.pid}-${name}`);
  }

  #makeRoom(sizeBytes: number): void {
    if (this.#putSinceLookBytes > this.limitBytes * LOOK_AGAIN_AFTER)
      this.#usedBytes = totalBytes(this.#scan());
    const neededBytes = this.#reservedBytes + sizeBytes;
    if (this.#usedBytes + neededBytes > this.limitBytes) this.#drop(this.limitBytes * DROP_TO - neededBytes);
  }

  /** Removes what was used longest ago until `targetBytes` are used. */
  #drop(targetBytes: number): void {
    const files = this.#scan().sort((a, b) => a.usedMs - b.usedMs);
    let used = totalBytes(files);
    let dropped = 0;
    for (const { path, sizeBytes } of files) {
      if (used <= targetBytes) break;
      rmSync(path, { force: true });
      used -= sizeBytes;
      dropped++;
    }
    this.#usedBytes = used;
    this.#log.info('cache was full', {
      droppedObjects: dropped,
      usedBytes: used,
      limitBytes: this.limitBytes,
    });
  }

  #attempt<T>(id: CacheId, action: () => T): T {
    try {
      return action();
    } catch (error) {
      // The disk is smaller than the limit allows: make room for the next one.
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') this.#drop(this.#usedBytes / 2);
      throw new ThimbleError('STORAGE', `Cannot cache ${id} in ${this.folder}`, { cause: error });
    }
  }
}

/** The process that made a marker is alive. */
function isRunning(marker: string, pid: number): boolean {
  try {
    return readFileSync(marker, 'latin1') === identityOf(pid);
  } catch (error) {
    // It has said goodbye meanwhile, or another process has cleared up after it.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw error;
  }
}

/** The files of `objects` or `suspect`; others may add and remove some meanwhile. */
function scan(folder: string): CachedFile[] {
  const found: CachedFile[] = [];
  for (const shard of namesIn(folder)) {
    for (const name of namesIn(join(folder, shard))) {
      const path = join(folder, shard, name);
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats === undefined) continue;
      found.push({ id: (shard + name) as CacheId, path, sizeBytes: stats.size, usedMs: stats.atimeMs });
    }
  }
  return found;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function totalBytes(files: readonly CachedFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** Opens a file for reading; `undefined` if it is not there. */
function openIfThere(path: string): number | undefined {
  // Asking first is cheaper than an error with its stack, and most objects are not here when they are first asked for.
  if (!existsSync(path)) return undefined;
  try {
    return openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new ThimbleError('STORAGE', `Cannot open ${path}`, { cause: error });
  }
}

function renameInto(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    makeFolder(dirname(to), 0o700);
    renameSync(from, to);
  }
}

function writeAll(fd: number, chunk: Bytes): void {
  for (let at = 0; at < chunk.length; ) at += writeSync(fd, chunk, at);
}

function checksumOf(fd: number): { length: number; sum: number } {
  const buffer = Buffer.allocUnsafe(READ_CHUNK_BYTES);
  let length = 0;
  let sum = 0;
  for (let count = readSync(fd, buffer); count > 0; count = readSync(fd, buffer)) {
    sum = crc32(buffer.subarray(0, count), sum);
    length += count;
  }
  return { length, sum };
}

function sumLine(id: CacheId, length: number, sum: number): string {
  return `${id} ${length} ${sum.toString(16).padStart(8, '0')}\n`;
}

/** The last line of each id counts; a line cut short by a crash matches nothing. */
function readSums(path: string): Map<string, string> {
  const sums = new Map<string, string>();
  const fd = openIfThere(path);
  if (fd === undefined) return sums;
  closeSync(fd);
  for (const line of readFileSync(path, 'latin1').split('\n'))
    sums.set(line.slice(0, line.indexOf(' ')), line);
  return sums;
}
