/** The header of a response (RFC 9112), as text, and what it says about the body behind it. */

import type { Bytes } from '../../core/bytes/byte-string.ts';
import { type Details, ThimbleError } from '../../core/errors.ts';

export interface Head {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** The server is willing to take another request on this connection. */
  readonly persistent: boolean;
}

/** Throws NETWORK. */
export function parseHead(text: string): Head {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const parts = /^HTTP\/1\.([01]) ([1-5][0-9][0-9])(?: |$)/.exec(statusLine);
  if (parts === null) throw brokenResponse(`${JSON.stringify(statusLine.slice(0, 80))} is not HTTP/1.1`);
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
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
