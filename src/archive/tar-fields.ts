/**
 * The parts that tar archives are made of: blocks, numbers in headers, and the records of PAX (POSIX.1-2001) extended
 * headers. Numbers in headers are octal text or, with the top bit set, base-256.
 */

import { type ByteString, type Bytes, byteStringOf, bytesOf } from '../core/bytes/byte-string.ts';
import { toSafeNumber } from '../core/bytes/integer.ts';
import { ThimbleError } from '../core/errors.ts';

export const BLOCK = 512;
/** Where a header has its checksum, which counts as spaces in the sum. */
const CHECKSUM_AT = 148;
const CHECKSUM_END = 156;

/** The length of content with its padding. */
export function padded(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK) * BLOCK;
}

/** The sum of all bytes of a header. */
export function checksumOf(block: Bytes): number {
  let sum = (CHECKSUM_END - CHECKSUM_AT) * 0x20;
  for (let i = 0; i < BLOCK; i++) if (i < CHECKSUM_AT || i >= CHECKSUM_END) sum += block[i]!;
  return sum;
}

/** Throws FORMAT, LIMIT. */
export function decodeNumber(block: Bytes, at: number, length: number, what: string): number {
  if ((block[at]! & 0x80) !== 0) {
    // Base-256, two's complement; the top bit only marks the encoding.
    let value = BigInt(block[at]! & 0x7f);
    if ((block[at]! & 0x40) !== 0) value -= 0x80n;
    for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(block[at + i]!);
    return toSafeNumber(value, `${what} of a tar entry`);
  }
  const text = cutAtNul(byteStringOf(block, at, at + length)).trim();
  if (text === '') return 0;
  if (!/^[0-7]+$/.test(text)) throw damaged(`${what} ${JSON.stringify(text)} is not octal`);
  return Number.parseInt(text, 8);
}

/** Throws FORMAT, LIMIT. */
export function decodeUnsigned(block: Bytes, at: number, length: number, what: string): number {
  const value = decodeNumber(block, at, length, what);
  if (value < 0) throw damaged(`${what} ${value} is negative`);
  return value;
}

/** Octal text that ends with a zero byte; `undefined` if the number does not fit, or is negative. */
export function encodeOctal(value: number, length: number): Bytes | undefined {
  const digits = value.toString(8);
  if (value < 0 || digits.length > length - 1) return undefined;
  return bytesOf(`${digits.padStart(length - 1, '0')}\0` as ByteString);
}

export type PaxRecords = ReadonlyMap<string, ByteString>;

/**
 * Records of the form `<length> <key>=<value>\n`, the length counting itself. Of a key that comes twice the last one counts,
 * except for the pieces of a sparse file in format 0.0: these become the map that format 0.1 has. Throws FORMAT.
 */
export function decodePax(bytes: Bytes): Map<string, ByteString> {
  const text = byteStringOf(bytes);
  const records = new Map<string, ByteString>();
  const sparse: string[] = [];
  for (let at = 0; at < text.length; ) {
    const space = text.indexOf(' ', at);
    const digits = text.slice(at, space);
    const length = /^[0-9]{1,16}$/.test(digits) ? Number(digits) : Number.NaN;
    const end = at + length;
    const equals = text.indexOf('=', space);
    if (
      space < 0 ||
      !Number.isSafeInteger(length) ||
      length < 5 ||
      end > text.length ||
      text[end - 1] !== '\n'
    ) {
      throw damaged('an extended header is malformed');
    }
    if (equals < 0 || equals >= end) throw damaged('an extended header has no value');
    const key = text.slice(space + 1, equals);
    const value = text.slice(equals + 1, end - 1) as ByteString;
    if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') sparse.push(value);
    else records.set(key, value);
    at = end;
  }
  if (sparse.length > 0) records.set('GNU.sparse.map', sparse.join(',') as ByteString);
  return records;
}

/** Keys have no `=`. */
export function encodePax(records: PaxRecords): Bytes {
  let text = '';
  for (const [key, value] of records) {
    const rest = ` ${key}=${value}\n`;
    let length = rest.length;
    while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
    text += length + rest;
  }
  return bytesOf(text as ByteString);
}

/** Decimal seconds with a fraction: `-1.25` is a second and a quarter before 1970. Throws FORMAT. */
export function parsePaxTime(text: string): [seconds: number, nanoseconds: number] {
  const parts = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text);
  if (parts === null) throw damaged(`mtime ${JSON.stringify(text)} is not a time`);
  const seconds = Number(parts[2]);
  const nanoseconds = Number((parts[3] ?? '').padEnd(9, '0').slice(0, 9));
  if (parts[1] === '') return [seconds, nanoseconds];
  return nanoseconds === 0 ? [-seconds, 0] : [-seconds - 1, 1_000_000_000 - nanoseconds];
}

export function formatPaxTime(seconds: number, nanoseconds: number): ByteString {
  if (nanoseconds === 0) return String(seconds) as ByteString;
  const isBefore = seconds < 0;
  const whole = isBefore ? `-${-seconds - 1}` : String(seconds);
  const fraction = String(isBefore ? 1_000_000_000 - nanoseconds : nanoseconds).padStart(9, '0');
  return `${whole}.${fraction.replace(/0+$/, '')}` as ByteString;
}

export function cutAtNul(text: ByteString): ByteString {
  const end = text.indexOf('\0');
  return (end < 0 ? text : text.slice(0, end)) as ByteString;
}

export function damaged(why: string): ThimbleError {
  return new ThimbleError('FORMAT', `Cannot read tar archive: ${why}`);
}
