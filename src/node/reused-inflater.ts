/**
 * One zlib stream for very many objects. `inflateSync` makes a stream object, a window and an output buffer for each of them, and
 * the collector then works longer than zlib. What Node keeps behind a stream can be started anew instead (as the packages that
 * unpack archives do); where it looks different from what is known here, nothing is offered.
 */

import { constants, createInflate } from 'node:zlib';
import type { Bytes } from '../core/bytes/byte-string.ts';

/** The part of Node's binding to zlib that is used. */
interface Handle {
  reset(): void;
  writeSync(
    flush: number,
    input: Bytes,
    inputAt: number,
    inputLength: number,
    output: Bytes,
    outputAt: number,
    outputLength: number,
  ): void;
  onerror: (message: string) => void;
}

export class ReusedInflater {
  readonly #handle: Handle;
  /** What is left of the output, and of the input, after a call. */
  readonly #left: Uint32Array;
  #failure: string | undefined;

  private constructor(handle: Handle, left: Uint32Array) {
    this.#handle = handle;
    this.#left = left;
    handle.onerror = (message) => {
      this.#failure = message;
    };
  }

  /** `undefined` where Node does not have what is needed. */
  static create(): ReusedInflater | undefined {
    const { _handle: handle, _writeState: left } = createInflate() as unknown as {
      readonly _handle?: Partial<Handle>;
      readonly _writeState?: unknown;
    };
    if (typeof handle?.reset !== 'function' || typeof handle.writeSync !== 'function') return undefined;
    if (!(left instanceof Uint32Array) || left.length !== 2) return undefined;
    return new ReusedInflater(handle as Handle, left);
  }

  /** Inflates a whole stream; `undefined` if it is none, or longer than `into`. */
  inflate(data: Bytes, into: Bytes): number | undefined {
    this.#failure = undefined;
    this.#handle.reset();
    this.#handle.writeSync(constants.Z_SYNC_FLUSH, data, 0, data.length, into, 0, into.length);
    const [leftOfOutput] = this.#left;
    // A full buffer says nothing of what would have come next: somebody else finds out.
    if (this.#failure !== undefined || leftOfOutput === 0) return undefined;
    return into.length - leftOfOutput!;
  }
}

export const reusedInflater = ReusedInflater.create();
