/**
 * The SQLite record format (https://www.sqlite.org/fileformat2.html, section 2.1): a header of serial types, then the
 * values. One `SqliteRecord` is reused for row after row: it holds offsets, and decodes a column when it is asked for.
 * Big-endian.
 */

import { type ByteString, type Bytes, byteStringOf } from '../bytes/byte-string.ts';
import { safeNumberOfHalves } from '../bytes/integer.ts';
import { ThimbleError } from '../errors.ts';

export const MAX_COLUMNS = 64;

/** Value of the varint read last; functions here return the offset behind it. */
export let varint = 0;

/** Reads a varint into `varint` and returns the offset behind it. Throws FORMAT beyond `end`, LIMIT beyond 2^53. */
export function readVarint(bytes: Bytes, at: number, end: number): number {
  let value = 0;
  for (let i = 0; i < 8; i++) {
    if (at >= end) throw malformed('a number runs over the end of its page');
    const byte = bytes[at++]!;
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      if (value > Number.MAX_SAFE_INTEGER) throw tooLarge();
      varint = value;
      return at;
    }
  }
  // A ninth byte is there only for values of 2^56 and more, or negative ones.
  throw tooLarge();
}

export function malformed(why: string): ThimbleError {
  return new ThimbleError('FORMAT', `Cannot read SQLite file: ${why}`);
}

function tooLarge(): ThimbleError {
  return new ThimbleError('LIMIT', 'Cannot read SQLite file: a row id or length is beyond 2^53 or negative');
}

export class SqliteRecord {
  bytes: Bytes = new Uint8Array(0);
  /** How many columns the row has; rows written before a column was added have fewer. */
  count = 0;
  readonly #types = new Int32Array(MAX_COLUMNS);
  readonly #starts = new Int32Array(MAX_COLUMNS);
  /** Integers are decoded as the header is read: a row is looked at a dozen times. */
  readonly #lows = new Int32Array(MAX_COLUMNS);
  readonly #highs = new Int32Array(MAX_COLUMNS);

  /** Points at the record of `size` bytes at `at`. Throws FORMAT if it does not fit together. */
  load(bytes: Bytes, at: number, size: number): void {
    const end = at + size;
    if (end > bytes.length) throw malformed('a record runs over the end of its page');
    let cursor = readVarint(bytes, at, end);
    const headerEnd = at + varint;
    if (headerEnd > end) throw malformed('a record header is longer than its record');
    const types = this.#types;
    const starts = this.#starts;
    const lows = this.#lows;
    const highs = this.#highs;
    let start = headerEnd;
    let count = 0;
    for (; cursor < headerEnd; count++) {
      if (count === MAX_COLUMNS) throw malformed(`a row has more than ${MAX_COLUMNS} columns`);
      // Almost every type is a single byte.
      let type = bytes[cursor]!;
      if (type < 0x80) {
        cursor++;
      } else {
        cursor = readVarint(bytes, cursor, headerEnd);
        type = varint;
        if (type > MAX_SERIAL_TYPE) throw malformed('a column is longer than its record');
      }
      types[count] = type;
      starts[count] = start;
      if (type >= 12) {
        start += (type - 12) >> 1;
        continue;
      }
      const next = start + INTEGER_BYTES[type]!;
      if (next > end) throw malformed('a record is shorter than its columns');
      let low = 0;
      let high = 0;
      switch (type) {
        case 1:
          low = (bytes[start]! << 24) >> 24;
          high = low >> 31;
          break;
        case 2:
          low = ((bytes[start]! << 24) >> 16) | bytes[start + 1]!;
          high = low >> 31;
          break;
        case 3:
          low = ((bytes[start]! << 24) >> 8) | (bytes[start + 1]! << 8) | bytes[start + 2]!;
          high = low >> 31;
          break;
        case 4:
          low = word(bytes, start);
          high = low >> 31;
          break;
        case 5:
          low = word(bytes, start + 2);
          high = ((bytes[start]! << 24) >> 16) | bytes[start + 1]!;
          break;
        case 6:
          low = word(bytes, start + 4);
          high = word(bytes, start);
          break;
        case 9:
          low = 1;
          break;
      }
      lows[count] = low;
      highs[count] = high;
      start = next;
    }
    if (start > end) throw malformed('a record is shorter than its columns');
    this.bytes = bytes;
    this.count = count;
  }

  isNull(column: number): boolean {
    return column >= this.count || this.#types[column] === 0;
  }

  /** True for a stored integer or float. */
  isNumber(column: number): boolean {
    return column < this.count && this.#types[column]! >= 1 && this.#types[column]! <= 9;
  }

  /** Offset in `bytes` of a text or blob. */
  start(column: number): number {
    return this.#starts[column]!;
  }

  /** Length of a text or blob; 0 for NULL. Throws FORMAT for a number. */
  length(column: number): number {
    if (column >= this.count) return 0;
    const type = this.#types[column]!;
    if (type >= 12) return (type - 12) >> 1;
    if (type === 0) return 0;
    throw malformed('text or blob expected, number found');
  }

  /** The low 32 bits of an integer, as a signed pattern. NULL is 0. Throws FORMAT for anything else. */
  low(column: number): number {
    if (column >= this.count) return 0;
    if (this.#types[column]! >= 10 || this.#types[column] === 7) throw malformed('integer expected');
    return this.#lows[column]!;
  }

  /** The high 32 bits of an integer, signed. NULL is 0. Throws FORMAT for anything else. */
  high(column: number): number {
    if (column >= this.count) return 0;
    if (this.#types[column]! >= 10 || this.#types[column] === 7) throw malformed('integer expected');
    return this.#highs[column]!;
  }

  /** An integer. Throws FORMAT for anything else, LIMIT beyond 2^53. */
  number(column: number): number {
    return safeNumberOfHalves(this.high(column), this.low(column), 'an integer of an SQLite file');
  }

  /** A copy of a text or blob. */
  blob(column: number): Bytes {
    const start = this.start(column);
    return this.bytes.slice(start, start + this.length(column));
  }

  text(column: number): ByteString {
    const length = this.length(column);
    if (length === 0) return '' as ByteString;
    const start = this.start(column);
    return byteStringOf(this.bytes, start, start + length);
  }
}

/** Keeps lengths and offsets within 32 bits. */
const MAX_SERIAL_TYPE = 2 ** 30;
// Serial types 0 to 11; 10 and 11 are reserved and never in a file, 7 is a float.
const INTEGER_BYTES = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0];

function word(bytes: Bytes, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
