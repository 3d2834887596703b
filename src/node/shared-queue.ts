/**
 * A queue of records between two threads, in memory that both have: one puts, the other takes, and neither copies into
 * messages. Records lie one behind the other in a ring; none is split at its end.
 */

import type { Bytes } from '../core/bytes/byte-string.ts';

/** 32-bit words at the start: bytes put and taken in all, modulo 2^32, and whether the taker sleeps. */
const PUT = 0;
const TAKEN = 1;
const SLEEPS = 2;
const HEADER_BYTES = 16;
/** Before each record, its length; in place of a length, that the next one is at the start again. */
const LENGTH_BYTES = 8;
const WRAPPED = 0xffff_ffff;

export class SharedQueue {
  readonly shared: SharedArrayBuffer;
  readonly #state: Int32Array;
  readonly #lengths: Uint32Array;
  readonly #ring: Bytes;
  readonly #sizeBytes: number;
  #reservedAt = 0;
  /** Of the record that is lent out. */
  #lentBytes = 0;

  /** For `sizeBytes` in all, a power of two; the longest record is half of that. Or one that another thread has made. */
  constructor(sizeBytes: number | SharedArrayBuffer) {
    this.shared = typeof sizeBytes === 'number' ? new SharedArrayBuffer(HEADER_BYTES + sizeBytes) : sizeBytes;
    this.#sizeBytes = this.shared.byteLength - HEADER_BYTES;
    this.#state = new Int32Array(this.shared, 0, HEADER_BYTES / 4);
    this.#lengths = new Uint32Array(this.shared, HEADER_BYTES);
    this.#ring = new Uint8Array(this.shared, HEADER_BYTES);
  }

  /** The longest record. */
  get maxRecordBytes(): number {
    return this.#sizeBytes / 2 - LENGTH_BYTES;
  }

  // ---- the thread that puts ----

  /** `write` fills in a record of this length, at a multiple of 8. False if there is no room for it now. */
  put(length: number, write: (record: Bytes) => void): boolean {
    const record = this.reserve(length);
    if (record === undefined) return false;
    write(record);
    this.publish(length);
    return true;
  }

  /** Room for a record, at a multiple of 8; `undefined` if there is none now. What is not published can be reserved again. */
  reserve(length: number): Bytes | undefined {
    const needBytes = LENGTH_BYTES + rounded(length);
    if (needBytes > this.#sizeBytes / 2) return undefined;
    const put = Atomics.load(this.#state, PUT) >>> 0;
    const usedBytes = (put - Atomics.load(this.#state, TAKEN)) >>> 0;
    const untilEnd = this.#sizeBytes - (put % this.#sizeBytes);
    const skipped = needBytes > untilEnd ? untilEnd : 0;
    // Never full to the last byte: that would look like empty.
    if (usedBytes + skipped + needBytes >= this.#sizeBytes) return undefined;
    if (skipped > 0) this.#lengths[(put % this.#sizeBytes) / 4] = WRAPPED;
    this.#reservedAt = put + skipped;
    const at = this.#reservedAt % this.#sizeBytes;
    return this.#ring.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  /** The record that was reserved last is there to be taken, or so much of it. */
  publish(length: number): void {
    const at = this.#reservedAt % this.#sizeBytes;
    this.#lengths[at / 4] = length;
    Atomics.store(this.#state, PUT, (this.#reservedAt + LENGTH_BYTES + rounded(length)) | 0);
    if (Atomics.load(this.#state, SLEEPS) === 1) Atomics.notify(this.#state, PUT);
  }

  // ---- the thread that takes ----

  /** The next record, until the next call of `take`; `undefined` if there is none. */
  take(): Bytes | undefined {
    this.release();
    let taken = Atomics.load(this.#state, TAKEN) >>> 0;
    if (Atomics.load(this.#state, PUT) >>> 0 === taken) return undefined;
    let at = taken % this.#sizeBytes;
    if (this.#lengths[at / 4] === WRAPPED) {
      taken += this.#sizeBytes - at;
      Atomics.store(this.#state, TAKEN, taken | 0);
      at = 0;
    }
    const length = this.#lengths[at / 4]!;
    this.#lentBytes = LENGTH_BYTES + rounded(length);
    return this.#ring.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length);
  }

  /** The record that was taken is not needed any more. */
  release(): void {
    if (this.#lentBytes > 0) Atomics.add(this.#state, TAKEN, this.#lentBytes);
    this.#lentBytes = 0;
  }

  /** Blocks this thread until something is put; false if nothing was within `timeoutMs`. */
  wait(timeoutMs: number): boolean {
    this.release();
    const taken = Atomics.load(this.#state, TAKEN);
    Atomics.store(this.#state, SLEEPS, 1);
    try {
      return Atomics.wait(this.#state, PUT, taken, timeoutMs) !== 'timed-out';
    } finally {
      Atomics.store(this.#state, SLEEPS, 0);
    }
  }
}

function rounded(length: number): number {
  return (length + LENGTH_BYTES - 1) & ~(LENGTH_BYTES - 1);
}
