/** A cursor over bytes from outside. `take` does the only bounds check; every method advances. */

import { ThimbleError } from '../errors.ts';
import { type ByteString, type Bytes, byteStringOf } from './byte-string.ts';

export class ByteReader {
  readonly #bytes: Bytes;
  readonly #view: DataView;
  readonly #what: string;
  #at = 0;

  /** `what` names the input in error messages. */
  constructor(bytes: Bytes, what: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  get position(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** The offset of the next `count` bytes. Throws FORMAT if there are fewer. */
  #take(count: number): number {
    if (count > this.remaining) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot decode ${this.#what}: ${count} bytes expected at offset ${this.#at}, ${this.remaining} left`,
      );
    }
    const start = this.#at;
    this.#at += count;
    return start;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16le(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u16be(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u32le(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u32be(): number {
    return this.#view.getUint32(this.#take(4));
  }

  u64le(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** A view, not a copy. */
  bytes(count: number): Bytes {
    const start = this.#take(count);
    return this.#bytes.subarray(start, start + count);
  }

  byteString(count: number): ByteString {
    const start = this.#take(count);
    return byteStringOf(this.#bytes, start, start + count);
  }

  skip(count: number): void {
    this.#take(count);
  }

  /** Refuses leftovers. */
  end(): void {
    if (this.remaining > 0) {
      throw new ThimbleError('FORMAT', `Cannot decode ${this.#what}: ${this.remaining} bytes after its end`);
    }
  }
}
