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
  readonly #types = new Float64Array(MAX_COLUMNS);
  readonly #starts = new Float64Array(MAX_COLUMNS);

  /** Points at the record of `size` bytes at `at`. Throws FORMAT if it does not fit together. */
  load(bytes: Bytes, at: number, size: number): void {
    const end = at + size;
    if (end > bytes.length) throw malformed('a record runs over the end of its page');
    let cursor = readVarint(bytes, at, end);
    const headerEnd = at + varint;
    if (headerEnd > end) throw malformed('a record header is longer than its record');
    let start = headerEnd;
    let count = 0;
    while (cursor < headerEnd) {
      if (count === MAX_COLUMNS) throw malformed(`a row has more than ${MAX_COLUMNS} columns`);
      cursor = readVarint(bytes, cursor, headerEnd);
      const type = varint;
      this.#types[count] = type;
      this.#starts[count] = start;
      count++;
      start += type >= 12 ? (type - 12 - (type & 1)) / 2 : INTEGER_BYTES[type]!;
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
    if (type >= 12) return (type - 12 - (type & 1)) / 2;
    if (type === 0) return 0;
    throw malformed('text or blob expected, number found');
  }

  /** The low 32 bits of an integer, as a signed pattern. NULL is 0. */
  low(column: number): number {
    if (column >= this.count) return 0;
    const bytes = this.bytes;
    const at = this.#starts[column]!;
    switch (this.#types[column]) {
      case 0:
      case 8:
        return 0;
      case 9:
        return 1;
      case 1:
        return (bytes[at]! << 24) >> 24;
      case 2:
        return ((bytes[at]! << 24) >> 16) | bytes[at + 1]!;
      case 3:
        return ((bytes[at]! << 24) >> 8) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      case 4:
        return word(bytes, at);
      case 5:
        return word(bytes, at + 2);
      case 6:
        return word(bytes, at + 4);
      default:
        throw malformed('integer expected');
    }
  }

  /** The high 32 bits of an integer, signed. NULL is 0. */
  high(column: number): number {
    if (column >= this.count) return 0;
    const at = this.#starts[column]!;
    switch (this.#types[column]) {
      case 5:
        return ((this.bytes[at]! << 24) >> 16) | this.bytes[at + 1]!;
      case 6:
        return word(this.bytes, at);
      default:
        return this.low(column) < 0 ? -1 : 0;
    }
  }

  /** An integer. Throws LIMIT beyond 2^53. */
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

// Serial types 0 to 11; 10 and 11 are reserved and never in a file, 7 is a float.
const INTEGER_BYTES = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0];

function word(bytes: Bytes, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
