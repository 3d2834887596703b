/** Memory that is handed out piece by piece and taken back all at once. */

import type { Bytes } from '../core/bytes/byte-string.ts';

export class Slab {
  readonly #memory: Bytes;
  #used = 0;

  constructor(sizeBytes: number) {
    this.#memory = new Uint8Array(sizeBytes);
  }

  /** As many bytes, of any content; `undefined` if there are not so many left. */
  take(length: number): Bytes | undefined {
    const end = this.#used + length;
    if (end > this.#memory.length) return undefined;
    const piece = this.#memory.subarray(this.#used, end);
    this.#used = end;
    return piece;
  }

  /** Everything that was taken is free again: nobody may use it any more. */
  reset(): void {
    this.#used = 0;
  }
}
