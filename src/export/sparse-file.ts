/** Writes a file from its start to its end, and leaves out what is zero: blocks that nothing is written to are holes. */

import { ftruncateSync, writeSync } from 'node:fs';
import type { Bytes } from '../core/bytes/byte-string.ts';

/** What file systems have holes of. */
const BLOCK_BYTES = 4096;
const ZEROS = Buffer.alloc(BLOCK_BYTES);

export class SparseFile {
  readonly #fd: number;
  #length = 0;

  /** `fd` is an empty file. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  get length(): number {
    return this.#length;
  }

  write(bytes: Bytes): void {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    let start = 0;
    for (let at = 0; at < view.length; ) {
      const end = Math.min(view.length, at + BLOCK_BYTES - ((this.#length + at) % BLOCK_BYTES));
      if (view[at] === 0 && view.compare(ZEROS, 0, end - at, at, end) === 0) {
        this.#put(view.subarray(start, at), this.#length + start);
        start = end;
      }
      at = end;
    }
    this.#put(view.subarray(start), this.#length + start);
    this.#length += view.length;
  }

  /** Gives the file its length, also where it ends with a hole. */
  end(): void {
    ftruncateSync(this.#fd, this.#length);
  }

  #put(bytes: Bytes, position: number): void {
    for (let at = 0; at < bytes.length; )
      at += writeSync(this.#fd, bytes, at, bytes.length - at, position + at);
  }
}
