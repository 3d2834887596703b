/** UTF-8 without `TextEncoder`, which small engines do not have. */

import { type ByteString, type Bytes, bytesOf } from './byte-string.ts';

/** Encodes text as UTF-8 bytes kept in a byte string. A lone surrogate becomes U+FFFD. */
export function utf8(text: string): ByteString {
  let out = '';
  for (const char of text) {
    let code = char.codePointAt(0)!;
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) out += char;
    else if (code < 0x800) out += byte(0xc0 | (code >> 6)) + tail(code);
    else if (code < 0x10000) out += byte(0xe0 | (code >> 12)) + tail(code >> 6) + tail(code);
    else out += byte(0xf0 | (code >> 18)) + tail(code >> 12) + tail(code >> 6) + tail(code);
  }
  return out as ByteString;
}

export function encodeUtf8(text: string): Bytes {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) return bytesOf(utf8(text));
    bytes[i] = code;
  }
  return bytes;
}

/** Decodes UTF-8 held in a byte string; `undefined` if it is not well-formed UTF-8. */
export function decodeUtf8(bytes: string): string | undefined {
  let out = '';
  for (let i = 0; i < bytes.length; ) {
    const first = bytes.charCodeAt(i++);
    if (first < 0x80) {
      out += bytes[i - 1];
      continue;
    }
    const extra = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || i + extra > bytes.length) return undefined;
    let code = first & (0x3f >> extra);
    for (let k = 0; k < extra; k++) {
      const next = bytes.charCodeAt(i++);
      if ((next & 0xc0) !== 0x80) return undefined;
      code = (code << 6) | (next & 0x3f);
    }
    const smallest = extra === 1 ? 0x80 : extra === 2 ? 0x800 : 0x10000;
    if (code < smallest || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return undefined;
    out += String.fromCodePoint(code);
  }
  return out;
}

/** For messages and terminals: UTF-8 where it is UTF-8, `\xNN` for other bytes and for control characters. */
export function displayBytes(bytes: string): string {
  const text = decodeUtf8(bytes) ?? bytes.replace(/[\x80-\xff]/g, escapeByte);
  // U+0080 to U+009F steer terminals just as the low ones do.
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (char) => utf8(char).replace(/./gs, escapeByte));
}

function escapeByte(char: string): string {
  return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

function byte(code: number): string {
  return String.fromCharCode(code);
}

function tail(code: number): string {
  return byte(0x80 | (code & 0x3f));
}
