/**
 * Length and CRC-32 of very many objects, compactly: 20 to 40 bytes for each. An object is told from others by 64 bits of its
 * hash; where two share them, one is taken for damaged and fetched again.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { CacheId } from '../../client/cache.ts';

const FIRST_SLOTS = 1024;
const MAX_LOAD = 0.7;
const READ_CHUNK_BYTES = 1024 * 1024;

export interface Checksum {
  readonly sizeBytes: number;
  readonly sum: number;
}

export class SumTable {
  #slots = FIRST_SLOTS;
  /** High and low word of the id, CRC-32. */
  #words = new Uint32Array(3 * FIRST_SLOTS);
  /** Bytes and one more; 0 is a free slot. */
  #sizes = new Float64Array(FIRST_SLOTS);
  #count = 0;

  /** What a file `sums` says of each object; the last line counts. A line cut short by a crash matches nothing. */
  static read(path: string): SumTable {
    const table = new SumTable();
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return table;
      throw error;
    }
    try {
      const buffer = Buffer.allocUnsafe(READ_CHUNK_BYTES);
      let rest = '';
      for (let count = readSync(fd, buffer); count > 0; count = readSync(fd, buffer)) {
        const lines = (rest + buffer.toString('latin1', 0, count)).split('\n');
        rest = lines.pop()!;
        for (const line of lines) table.#addLine(line);
      }
    } finally {
      closeSync(fd);
    }
    return table;
  }

  /** More than any answer of `slotOf`. */
  get slots(): number {
    return this.#slots;
  }

  /** A number for an object that was put, the same until the table is read again. */
  slotOf(id: CacheId): number | undefined {
    const slot = this.#find(highOf(id), lowOf(id));
    return this.#isTaken(slot) ? slot : undefined;
  }

  /** Whether an object with this content was put. */
  matches(id: CacheId, { sizeBytes, sum }: Checksum): boolean {
    const slot = this.slotOf(id);
    return slot !== undefined && this.#sizes[slot] === sizeBytes + 1 && this.#words[3 * slot + 2] === sum;
  }

  #addLine(line: string): void {
    const [id = '', size = '', sum = ''] = line.split(' ');
    if (!/^[0-9a-f]{40}/.test(id) || !/^\d{1,15}$/.test(size) || !/^[0-9a-f]{8}$/.test(sum)) return;
    this.#set(highOf(id), lowOf(id), Number.parseInt(sum, 16), Number(size));
    if (this.#count > this.#slots * MAX_LOAD) this.#grow();
  }

  #set(high: number, low: number, sum: number, sizeBytes: number): void {
    const slot = this.#find(high, low);
    if (!this.#isTaken(slot)) this.#count++;
    this.#words[3 * slot] = high;
    this.#words[3 * slot + 1] = low;
    this.#words[3 * slot + 2] = sum;
    this.#sizes[slot] = sizeBytes + 1;
  }

  #isTaken(slot: number): boolean {
    return this.#sizes[slot] !== 0;
  }

  /** Where it is, or where it would be put. */
  #find(high: number, low: number): number {
    const mask = this.#slots - 1;
    for (let slot = high & mask; ; slot = (slot + 1) & mask) {
      if (!this.#isTaken(slot)) return slot;
      if (this.#words[3 * slot] === high && this.#words[3 * slot + 1] === low) return slot;
    }
  }

  #grow(): void {
    const [words, sizes] = [this.#words, this.#sizes];
    this.#slots *= 2;
    this.#words = new Uint32Array(3 * this.#slots);
    this.#sizes = new Float64Array(this.#slots);
    this.#count = 0;
    for (let slot = 0; slot < sizes.length; slot++) {
      if (sizes[slot] === 0) continue;
      this.#set(words[3 * slot]!, words[3 * slot + 1]!, words[3 * slot + 2]!, sizes[slot]! - 1);
    }
  }
}

/** Of an open file, from its start. Throws what `node:fs` throws. */
export function checksumOf(fd: number): Checksum {
  const { size } = fstatSync(fd);
  const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(READ_CHUNK_BYTES, size)));
  let sizeBytes = 0;
  let sum = 0;
  for (;;) {
    const count = readSync(fd, buffer, 0, buffer.length, sizeBytes);
    if (count === 0) return { sizeBytes, sum };
    sum = crc32(count === buffer.length ? buffer : buffer.subarray(0, count), sum);
    sizeBytes += count;
  }
}

function highOf(id: string): number {
  return Number.parseInt(id.slice(0, 8), 16);
}

/** Plain and inflated content of one hash are told apart. */
function lowOf(id: string): number {
  let mixed = Number.parseInt(id.slice(32, 40), 16);
  for (let i = 40; i < id.length; i++) mixed = Math.imul(mixed ^ id.charCodeAt(i), 0x01000193);
  return mixed >>> 0;
}
