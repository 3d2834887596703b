/**
 * What a cache folder holds, without looking at it: the file `sums`, which all processes append to, line by line, and read on
 * from where they were. Lines:
 *
 *   ID BYTES CRC32        an object is put
 *   +BYTES OBJECTS        that much more, such as the room that a writer has reserved
 *   -BYTES OBJECTS        that much less: objects were dropped, a writer has finished
 *   =BYTES OBJECTS        that much in all: somebody has counted
 *
 * A line is appended before the disk is touched, and looked for in what others appended before it counts: whoever goes over
 * the limit sees it. `usage` holds the total up to some place in the file, so that nobody reads all of it. A line that
 * makes no sense, as a power cut leaves it, is passed over; whatever is wrong then, the next count mends.
 */

import {
  closeSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { CacheId } from '../../client/cache.ts';

const READ_CHUNK_BYTES = 256 * 1024;

export interface Usage {
  readonly bytes: number;
  readonly objects: number;
}

export class Journal {
  readonly #folder: string;
  #fd: number;
  #bytes = 0;
  #objects = 0;
  /** All up to here is counted. */
  #seen = 0;
  /** Lines of our own behind it. */
  #ownLength = 0;
  #ownBytes = 0;
  #ownObjects = 0;
  /** The last line may be half a line. */
  #isBroken = false;
  /** False if there was no total to go on from: what is known then is only what the lines say. */
  readonly isCounted: boolean;

  /** Throws what `node:fs` throws. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#fd = openSync(`${folder}/sums`, 'a+', 0o600);
    this.isCounted = this.#resume();
    this.#endLastLine();
    this.catchUp();
  }

  get usage(): Usage {
    return { bytes: this.#bytes, objects: this.#objects };
  }

  /** Bytes of the file. */
  get sizeBytes(): number {
    return this.#seen;
  }

  /** Answers the bytes in use with this object in it. */
  put(id: CacheId, sizeBytes: number, sum: number): number {
    return this.#append(sumLine(id, sizeBytes, sum), sizeBytes, 1);
  }

  /** A reserved object has come, as large as it was reserved or not. */
  putReserved(id: CacheId, sizeBytes: number, sum: number, reservedBytes: number): number {
    const line = `-${reservedBytes} 0\n${sumLine(id, sizeBytes, sum)}`;
    return this.#append(line, sizeBytes - reservedBytes, 1);
  }

  /** More, or less where it is below 0. Answers the bytes in use. */
  change(bytes: number, objects: number): number {
    const sign = bytes < 0 || objects < 0 ? '-' : '+';
    return this.#append(`${sign}${Math.abs(bytes)} ${Math.abs(objects)}\n`, bytes, objects);
  }

  /** Somebody has counted; what others appended at this very moment is not lost. */
  setTotal({ bytes, objects }: Usage): void {
    this.catchUp();
    const before = this.usage;
    const from = this.#seen;
    const line = `=${Math.max(0, bytes)} ${Math.max(0, objects)}\n`;
    writeSync(this.#fd, line);
    const between = this.#read(from, fstatSync(this.#fd).size).split('\n');
    this.catchUp();
    const position = between.indexOf(line.trimEnd());
    const late = new Tally(before);
    for (const other of between.slice(0, position)) late.add(other);
    const [lateBytes, lateObjects] = [late.bytes - before.bytes, late.objects - before.objects];
    if (lateBytes !== 0 || lateObjects !== 0) this.change(lateBytes, lateObjects);
  }

  /** Takes in what others have appended. */
  catchUp(): void {
    const { size } = fstatSync(this.#fd);
    if (size === this.#seen + this.#ownLength) {
      this.#bytes += this.#ownBytes;
      this.#objects += this.#ownObjects;
      this.#seen = size;
    } else {
      const tally = new Tally(this.usage);
      while (this.#seen < size) {
        const text = this.#read(this.#seen, Math.min(size, this.#seen + READ_CHUNK_BYTES));
        const end = text.lastIndexOf('\n') + 1;
        // Somebody is in the middle of a line: it is read when it is whole.
        if (end === 0) break;
        for (const line of text.slice(0, end - 1).split('\n')) tally.add(line);
        this.#seen += end;
      }
      this.#bytes = tally.bytes;
      this.#objects = tally.objects;
    }
    this.#ownLength = 0;
    this.#ownBytes = 0;
    this.#ownObjects = 0;
  }

  /** Writes the total down for the next one that opens the folder. */
  saveTotal(temporary: string): void {
    this.catchUp();
    const { ino } = fstatSync(this.#fd);
    writeFileSync(temporary, `${this.#bytes} ${this.#objects} ${ino} ${this.#seen}\n`, { mode: 0o600 });
    renameSync(temporary, `${this.#folder}/usage`);
  }

  /**
   * Keeps, of the lines before `end`, only those of these objects. Lines of a process that appends right now may be lost: then
   * its objects are fetched again after an unclean end.
   */
  compact(kept: ReadonlySet<string>, end: number, temporary: string): void {
    this.catchUp();
    const lines = new Map<string, string>();
    for (const line of this.#read(0, end).split('\n')) {
      const id = line.slice(0, line.indexOf(' '));
      if (kept.has(id)) lines.set(id, line);
    }
    const before = [...lines.values()].map((line) => `${line}\n`).join('');
    const text = `${before}${this.#read(end, this.#seen)}=${this.#bytes} ${this.#objects}\n`;
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, `${this.#folder}/sums`);
    closeSync(this.#fd);
    this.#fd = openSync(`${this.#folder}/sums`, 'a+', 0o600);
    this.#seen = text.length;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #append(line: string, bytes: number, objects: number): number {
    const text = this.#isBroken ? `\n${line}` : line;
    this.#isBroken = true;
    // On a full disk, part of a line may be all that fits; the rest throws.
    for (let at = 0; at < text.length; ) at += writeSync(this.#fd, text.slice(at));
    this.#isBroken = false;
    this.#ownLength += text.length;
    this.#ownBytes += bytes;
    this.#ownObjects += objects;
    this.catchUp();
    return this.#bytes;
  }

  #resume(): boolean {
    const [bytes, objects, ino, seen] = readIfThere(`${this.#folder}/usage`).split(' ').map(Number);
    const stats = fstatSync(this.#fd);
    if (ino !== stats.ino || !(seen! <= stats.size)) return false;
    this.#bytes = bytes!;
    this.#objects = objects!;
    this.#seen = seen!;
    return true;
  }

  #endLastLine(): void {
    const { size } = fstatSync(this.#fd);
    if (size > 0 && this.#read(size - 1, size) !== '\n') writeSync(this.#fd, '\n');
  }

  #read(from: number, to: number): string {
    const buffer = Buffer.allocUnsafe(to - from);
    let filled = 0;
    while (filled < buffer.length) {
      const count = readSync(this.#fd, buffer, filled, buffer.length - filled, from + filled);
      if (count === 0) break;
      filled += count;
    }
    return buffer.toString('latin1', 0, filled);
  }
}

class Tally {
  bytes: number;
  objects: number;

  constructor({ bytes, objects }: Usage) {
    this.bytes = bytes;
    this.objects = objects;
  }

  add(line: string): void {
    const space = line.indexOf(' ');
    if (space < 1) return;
    const sign = line[0];
    const isChange = sign === '+' || sign === '-' || sign === '=';
    const end = isChange ? undefined : line.indexOf(' ', space + 1);
    const bytes = Number(isChange ? line.slice(1, space) : line.slice(space + 1, end));
    const objects = isChange ? Number(line.slice(space + 1)) : 1;
    if (end === -1 || !Number.isSafeInteger(bytes) || !Number.isSafeInteger(objects)) return;
    if (sign === '=') {
      this.bytes = bytes;
      this.objects = objects;
    } else {
      this.bytes = Math.max(0, this.bytes + (sign === '-' ? -bytes : bytes));
      this.objects = Math.max(0, this.objects + (sign === '-' ? -objects : objects));
    }
  }
}

export function sumLine(id: CacheId, sizeBytes: number, sum: number): string {
  return `${id} ${sizeBytes} ${sum.toString(16).padStart(8, '0')}\n`;
}

/** The text of a small file; empty if it is not there. */
export function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
