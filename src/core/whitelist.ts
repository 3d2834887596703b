/**
 * The whitelist `.cvmfswhitelist`: which certificates may sign manifests (docs/format.md#whitelist).
 *
 *   YYYYMMDDhhmmss            creation, UTC, not evaluated
 *   EYYYYMMDDhhmmss           expiry, UTC
 *   N<fqrn>
 *   [Vpkcs7] [Wcachain]       optional: authenticated in another way as well; refused
 *   <fingerprint> [# comment] any number of lines
 */

import type { Bytes } from './bytes/byte-string.ts';
import { type ContentHash, formatFingerprint, parseFingerprint } from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import type { Hashing } from './ports.ts';
import { parseSignedText, type SignedText } from './signed-text.ts';

export const WHITELIST_PATH = '.cvmfswhitelist';

/** Lines that ask for more checks than those here: to pass over them would be to trust more than the owner does. */
const UNSUPPORTED_LINES: ReadonlyMap<string, string> = new Map([
  ['Vpkcs7', 'is authenticated by PKCS#7'],
  ['Wcachain', 'asks for a check of certificates against certification authorities'],
]);

export interface Whitelist {
  readonly createdSeconds: number;
  readonly expiresSeconds: number;
  readonly fqrn: string;
  readonly fingerprints: readonly ContentHash[];
}

export interface SignedWhitelist {
  readonly whitelist: Whitelist;
  readonly signed: SignedText;
}

/** Reads a whitelist and checks its hash; not its signature, not its expiry. Throws FORMAT, INTEGRITY, LIMIT. */
export function parseWhitelist(hashing: Hashing, bytes: Bytes): SignedWhitelist {
  const signed = parseSignedText(hashing, bytes, 'whitelist');
  const [created = '', expiry = '', name = '', ...rest] = signed.lines;
  if (!expiry.startsWith('E'))
    throw new ThimbleError('FORMAT', 'Cannot read whitelist: its second line is not an expiry');
  if (!name.startsWith('N'))
    throw new ThimbleError('FORMAT', 'Cannot read whitelist: its third line is not a name');
  const fingerprints: ContentHash[] = [];
  for (const line of rest) {
    const demand = UNSUPPORTED_LINES.get(line);
    if (demand !== undefined)
      throw new ThimbleError('UNSUPPORTED', `Cannot use whitelist: it ${demand}, which is not supported`);
    if (line === '' || line.startsWith('#')) continue;
    fingerprints.push(parseFingerprint(line));
  }
  const whitelist = {
    createdSeconds: parseTimestamp(created),
    expiresSeconds: parseTimestamp(expiry.slice(1)),
    fqrn: name.slice(1),
    fingerprints,
  };
  return { whitelist, signed };
}

export function formatWhitelist(whitelist: Whitelist, comment: string): string[] {
  return [
    formatTimestamp(whitelist.createdSeconds),
    `E${formatTimestamp(whitelist.expiresSeconds)}`,
    `N${whitelist.fqrn}`,
    ...whitelist.fingerprints.map((hash) => `${formatFingerprint(hash)} # ${comment}`),
  ];
}

/** The reference compares whole hours, so the hour of the expiry is already too late; this is as strict. */
export function isExpired(whitelist: Whitelist, nowSeconds: number): boolean {
  const hour = (seconds: number) => Math.floor(seconds / 3600);
  return hour(nowSeconds) >= hour(whitelist.expiresSeconds);
}

function parseTimestamp(text: string): number {
  const parts = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})$/.exec(text);
  if (parts === null)
    throw new ThimbleError('FORMAT', `Cannot read whitelist: ${JSON.stringify(text)} is not YYYYMMDDhhmmss`);
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const seconds = Date.UTC(year, month - 1, day, hour, minute, second) / 1000;
  // February 31 is no date; taken as March 3 it would make a whitelist valid for longer than it says.
  if (formatTimestamp(seconds) !== text)
    throw new ThimbleError('FORMAT', `Cannot read whitelist: ${JSON.stringify(text)} is not a date`);
  return seconds;
}

function formatTimestamp(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(/[-:T]|\..*$/g, '');
}
