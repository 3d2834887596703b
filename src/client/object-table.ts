/**
 * Very many objects, compactly: ten million take 270 MB, or 140 MB without sizes. An object is told from others by 64 bits
 * of its digest; that two of ten million share them happens once in 400,000 repositories. Whoever makes such a pair on
 * purpose can only hide damage of an object of their own.
 */

import type { ContentHash } from '../core/content-hash.ts';

const FIRST_SLOTS = 1024;
const MAX_LOAD = 0.7;
/** A slot with both words 0 is free. */
const WORDS = 2;

export class ObjectTable {
  #slots = FIRST_SLOTS;
  #words = new Uint32Array(FIRST_SLOTS * WORDS);
  #sizes: Float64Array | undefined;
  #count = 0;

  /** With `sizes`, a number is kept with each. */
  constructor({ sizes }: { readonly sizes: boolean }) {
    this.#sizes = sizes ? new Float64Array(FIRST_SLOTS) : undefined;
  }

  /** Entries as `encode` wrote them. */
  static decode(bytes: Uint8Array): ObjectTable {
    const table = new ObjectTable({ sizes: false });
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + 8 <= bytes.length; at += 8) {
      table.#insert(view.getUint32(at, true), view.getUint32(at + 4, true), 0);
    }
    return table;
  }

  get count(): number {
    return this.#count;
  }

  /** Answers false if it was there already. `kind` tells apart what has the same hash. */
  add(hash: ContentHash, kind: string, size = 0): boolean {
    return this.#insert(highOf(hash), lowOf(hash, kind), size);
  }

  has(hash: ContentHash, kind: string): boolean {
    return this.#isTaken(this.#find(highOf(hash), lowOf(hash, kind)));
  }

  /** The number that it was added with. */
  size(hash: ContentHash, kind: string): number | undefined {
    const slot = this.#find(highOf(hash), lowOf(hash, kind));
    return this.#isTaken(slot) ? this.#sizes?.[slot] : undefined;
  }

  /** Two words of 32 bits for each, little-endian, in no order. */
  encode(): Uint8Array {
    const bytes = new Uint8Array(this.#count * 8);
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (let slot = 0; slot < this.#slots; slot++) {
      if (!this.#isTaken(slot)) continue;
      view.setUint32(at, this.#words[slot * WORDS]!, true);
      view.setUint32(at + 4, this.#words[slot * WORDS + 1]!, true);
      at += 8;
    }
    return bytes;
  }

  #insert(high: number, low: number, size: number): boolean {
    const slot = this.#find(high, low);
    if (this.#isTaken(slot)) return false;
    this.#put(slot, high, low, size);
    if (++this.#count > this.#slots * MAX_LOAD) this.#grow();
    return true;
  }

  #put(slot: number, high: number, low: number, size: number): void {
    this.#words[slot * WORDS] = high;
    this.#words[slot * WORDS + 1] = low;
    if (this.#sizes !== undefined) this.#sizes[slot] = size;
  }

  #isTaken(slot: number): boolean {
    return this.#words[slot * WORDS] !== 0 || this.#words[slot * WORDS + 1] !== 0;
  }

  /** Where it is, or where it would be put. Digests are random already. */
  #find(high: number, low: number): number {
    const mask = this.#slots - 1;
    for (let slot = high & mask; ; slot = (slot + 1) & mask) {
      const [foundHigh, foundLow] = [this.#words[slot * WORDS], this.#words[slot * WORDS + 1]];
      if ((foundHigh === high && foundLow === low) || (foundHigh === 0 && foundLow === 0)) return slot;
    }
  }

  #grow(): void {
    const [words, sizes] = [this.#words, this.#sizes];
    this.#slots *= 2;
    this.#words = new Uint32Array(this.#slots * WORDS);
    if (sizes !== undefined) this.#sizes = new Float64Array(this.#slots);
    for (let slot = 0; slot < words.length / WORDS; slot++) {
      const [high = 0, low = 0] = [words[slot * WORDS], words[slot * WORDS + 1]];
      if (high !== 0 || low !== 0) this.#put(this.#find(high, low), high, low, sizes?.[slot] ?? 0);
    }
  }
}

function highOf(hash: ContentHash): number {
  return Number.parseInt(hash.slice(0, 8), 16);
}

/** Never 0, so that no object is taken for a free slot. */
function lowOf(hash: ContentHash, kind: string): number {
  let mixed = Number.parseInt(hash.slice(8, 16), 16);
  // A letter or two: whatever stands behind the digest in a name, and what else tells objects apart.
  for (let i = 40; i < hash.length; i++) mixed = Math.imul(mixed ^ hash.charCodeAt(i), 0x01000193);
  for (let i = 0; i < kind.length; i++) mixed = Math.imul(mixed ^ kind.charCodeAt(i), 0x01000193);
  return mixed >>> 0 || 1;
}
