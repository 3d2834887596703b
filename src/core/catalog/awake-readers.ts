/**
 * Readers that have what it takes to walk a catalog: some 15 kB, more than all the rest of a reader. There may be thousands of
 * catalogs; of those that were not used lately only a shell stays, which makes it again in some microseconds.
 */

export interface RestingReader {
  /** Of the pool's clock; the least is the one not used for longest. */
  readonly usedAt: number;
  /** Gives up everything that can be made again. */
  rest(): void;
}

export class AwakeReaders {
  readonly #limit: number;
  readonly #readers: RestingReader[] = [];
  #clock = 0;

  /** At most `limit` are awake: more than anybody looks at side by side. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The time of a use. */
  tick(): number {
    return ++this.#clock;
  }

  /** Adds a reader that has woken up; another goes to rest if there are too many. */
  add(reader: RestingReader): void {
    if (this.#readers.length < this.#limit) {
      this.#readers.push(reader);
      return;
    }
    let oldest = 0;
    for (let i = 1; i < this.#readers.length; i++)
      if (this.#readers[i]!.usedAt < this.#readers[oldest]!.usedAt) oldest = i;
    const resting = this.#readers[oldest]!;
    this.#readers[oldest] = reader;
    resting.rest();
  }
}
