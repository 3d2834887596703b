/** The header of a response (RFC 9112), as text, and what it says about the body behind it. */

import type { Bytes } from '../../core/bytes/byte-string.ts';
import { type Details, ThimbleError } from '../../core/errors.ts';

export interface Head {
  readonly status: number;
  readonly headers: HeaderFields;
  /** The server is willing to take another request on this connection. */
  readonly persistent: boolean;
}

/** Looked up in the text of the header: of most responses three are asked for, of many that are there. */
export class HeaderFields {
  readonly #text: string;
  readonly #lowerCase: string;

  /** All lines, that of the status among them. */
  constructor(text: string) {
    this.#text = text;
    this.#lowerCase = text.toLowerCase();
  }

  /** By its name in lower case; several of one name are joined by commas. */
  get(name: string): string | undefined {
    const key = `\r\n${name}:`;
    let value: string | undefined;
    for (let at = this.#lowerCase.indexOf(key); at >= 0; at = this.#lowerCase.indexOf(key, at + 2)) {
      const end = this.#text.indexOf('\r\n', at + 2);
      const part = this.#text.slice(at + key.length, end < 0 ? undefined : end).trim();
      value = value === undefined ? part : `${value}, ${part}`;
    }
    return value;
  }

  has(name: string): boolean {
    return this.#lowerCase.includes(`\r\n${name}:`);
  }
}

/** Throws NETWORK. */
export function parseHead(text: string): Head {
  const parts = /^HTTP\/1\.([01]) ([1-5][0-9][0-9])(?: |\r\n|$)/.exec(text);
  if (parts === null) {
    const [statusLine = ''] = text.split('\r\n', 1);
    throw brokenResponse(`${JSON.stringify(statusLine.slice(0, 80))} is not HTTP/1.1`);
  }
  const headers = new HeaderFields(text);
  const connection = headers.get('connection')?.toLowerCase() ?? '';
  const persistent = parts[1] === '1' ? !connection.includes('close') : connection.includes('keep-alive');
  return { status: Number(parts[2]), headers, persistent };
}

/** Where the blank line behind a header begins; -1 where there is none yet. */
export function indexOfBlankLine(bytes: Bytes, from: number): number {
  for (
    let at = bytes.indexOf(0x0d, from);
    at >= 0 && at + 3 < bytes.length;
    at = bytes.indexOf(0x0d, at + 1)
  ) {
    if (bytes[at + 1] === 0x0a && bytes[at + 2] === 0x0d && bytes[at + 3] === 0x0a) return at;
  }
  return -1;
}

/** Several lengths, joined by commas, are none either. Throws NETWORK. */
export function parseLength(text: string): number {
  const length = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(length)) return length;
  throw brokenResponse(`Content-Length is ${JSON.stringify(text)}`);
}

/**
 * What came is no response, or only a part of one: the same request may well succeed on another connection, which
 * `details.phase` says to whoever decides about that.
 */
export function brokenResponse(why: string, details: Details = { phase: 'transfer' }): ThimbleError {
  return new ThimbleError('NETWORK', `Cannot receive: ${why}`, { details });
}
