/**
 * Byte strings: names and paths in repositories are bytes, not text. A `ByteString` is a JavaScript string whose every
 * code unit is one byte (0 to 255). Engines store it one byte per character; it compares in byte order, concatenates
 * and serves as a map key, and no byte is ever lost to a decoder.
 */

import { ThimbleError } from '../errors.ts';

export type Bytes = Uint8Array;
export type ByteString = string & { readonly __brand: 'ByteString' };

// `String.fromCharCode` takes its input as arguments; this many are safe on every engine.
const CHUNK = 4096;

export function byteStringOf(bytes: Bytes, start = 0, end = bytes.length): ByteString {
  if (end - start <= CHUNK) {
    return String.fromCharCode.apply(null, bytes.subarray(start, end) as unknown as number[]) as ByteString;
  }
  let text = '';
  for (let at = start; at < end; at += CHUNK) {
    text += String.fromCharCode.apply(
      null,
      bytes.subarray(at, Math.min(at + CHUNK, end)) as unknown as number[],
    );
  }
  return text as ByteString;
}

export function bytesOf(text: ByteString): Bytes {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Marks a literal or a checked string as bytes. Throws INTERNAL if a code unit does not fit in a byte. */
export function ascii(text: string): ByteString {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0xff) {
      throw new ThimbleError('INTERNAL', `Not a byte string: ${JSON.stringify(text)}`);
    }
  }
  return text as ByteString;
}

export function equalBytes(a: Bytes, b: Bytes): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function concatBytes(parts: readonly Bytes[]): Bytes {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Byte order, as `memcmp` has it. */
export function compareByteStrings(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
