/** Lower-case hexadecimal and base64, both ways, for engines without `Buffer` and `atob`. */

import { ThimbleError } from '../errors.ts';
import type { Bytes } from './byte-string.ts';

const DIGITS = '0123456789abcdef';
/** As many digits as most digests have. */
const codes = new Array<number>(40).fill(0);

export function encodeHex(bytes: Bytes): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += codes.length / 2) {
    const end = Math.min(bytes.length, at + codes.length / 2);
    let length = 0;
    for (let i = at; i < end; i++) {
      codes[length++] = DIGITS.charCodeAt(bytes[i]! >> 4);
      codes[length++] = DIGITS.charCodeAt(bytes[i]! & 15);
    }
    // A digest is made in one go, and not of 40 strings.
    const part = length === codes.length ? codes : codes.slice(0, length);
    text += String.fromCharCode.apply(null, part);
  }
  return text;
}

/** Throws FORMAT unless `text` is an even number of lower-case hexadecimal digits. */
export function decodeHex(text: string): Bytes {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot decode ${JSON.stringify(text)}: lower-case hexadecimal expected`,
    );
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** RFC 4648 base64, with padding. */
export function encodeBase64(bytes: Bytes): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 3) {
    const bits = (bytes[at]! << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    for (let i = 0; i < 4; i++) text += at + i > bytes.length ? '=' : BASE64[(bits >> (18 - 6 * i)) & 63]!;
  }
  return text;
}

/** Decodes RFC 4648 base64, ignoring white space. Throws FORMAT on anything else. */
export function decodeBase64(text: string): Bytes {
  const padded = text.replace(/\s+/g, '');
  // A pattern such as /=+$/ takes quadratic time on many `=` that are not at the end.
  let length = padded.length;
  while (length > 0 && padded[length - 1] === '=') length--;
  const clean = padded.slice(0, length);
  if (clean.length % 4 === 1) throw new ThimbleError('FORMAT', 'Cannot decode base64: truncated');
  const bytes = new Uint8Array(Math.floor((clean.length * 3) / 4));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const char of clean) {
    const value = BASE64.indexOf(char);
    if (value < 0)
      throw new ThimbleError('FORMAT', `Cannot decode base64: unexpected ${JSON.stringify(char)}`);
    held = (held << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (held >> bits) & 0xff;
    }
  }
  return bytes;
}
