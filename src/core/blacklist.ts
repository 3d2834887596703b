/**
 * A blacklist: certificates and revisions that are refused although they are well signed (docs/format.md#blacklist).
 *
 *   <fingerprint> [# comment]   a certificate
 *   <fqrn N                     revisions of `fqrn` below N: literally `<`, the name, one space, a decimal number
 *   # comment                   and empty lines: nothing
 */

import { type Bytes, byteStringOf } from './bytes/byte-string.ts';
import { parseUnsigned } from './bytes/integer.ts';
import { decodePemCertificate } from './certificate.ts';
import { algorithmOf, type ContentHash, hashBytes, parseFingerprint } from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import { isFqrn } from './fqrn.ts';
import type { Hashing } from './ports.ts';

export interface Blacklist {
  readonly fingerprints: readonly ContentHash[];
  /** By repository, the first revision that is accepted. */
  readonly firstRevisions: ReadonlyMap<string, number>;
}

export const EMPTY_BLACKLIST: Blacklist = { fingerprints: [], firstRevisions: new Map() };

/** Reads blacklists as one. Throws FORMAT with the number of the line: a misspelt one would protect from nothing. */
export function parseBlacklists(files: readonly Bytes[]): Blacklist {
  const fingerprints: ContentHash[] = [];
  const firstRevisions = new Map<string, number>();
  for (const file of files) {
    for (const [index, line] of byteStringOf(file).split('\n').entries()) {
      if (line === '' || line.startsWith('#')) continue;
      try {
        if (line.startsWith('<')) {
          const [fqrn, first] = parseRevisionLine(line);
          firstRevisions.set(fqrn, Math.max(first, firstRevisions.get(fqrn) ?? 0));
        } else fingerprints.push(parseFingerprint(line));
      } catch (error) {
        throw new ThimbleError('FORMAT', `Cannot read line ${index + 1} of the blacklist`, {
          hint: 'a line is the fingerprint of a certificate, or like: <os.example.org 17',
          cause: error,
        });
      }
    }
  }
  return { fingerprints, firstRevisions };
}

function parseRevisionLine(line: string): [fqrn: string, first: number] {
  const space = line.indexOf(' ');
  const fqrn = line.slice(1, space);
  if (space < 0 || !isFqrn(fqrn)) {
    throw new ThimbleError('FORMAT', `${JSON.stringify(line.slice(0, 80))} names no repository`);
  }
  return [fqrn, parseUnsigned(line.slice(space + 1), 'revision')];
}

/** Throws TRUST for a certificate that is listed. */
export function verifyCertificateNotListed(
  hashing: Hashing,
  { fingerprints }: Blacklist,
  fqrn: string,
  certificatePem: Bytes,
): void {
  if (fingerprints.length === 0) return;
  const der = decodePemCertificate(certificatePem);
  const listed = fingerprints.find((hash) => hashBytes(hashing, algorithmOf(hash), der) === hash);
  if (listed === undefined) return;
  throw new ThimbleError('TRUST', `Cannot trust manifest of ${fqrn}: its certificate is on the blacklist`, {
    hint: 'the key that signed it is no longer to be trusted; its publisher needs a new one',
    details: { fingerprint: listed },
  });
}

/** Throws TRUST for a revision that is listed. */
export function verifyRevisionNotListed({ firstRevisions }: Blacklist, fqrn: string, revision: number): void {
  const first = firstRevisions.get(fqrn);
  if (first === undefined || revision >= first) return;
  throw new ThimbleError(
    'TRUST',
    `Cannot use revision ${revision} of ${fqrn}: the blacklist refuses those before ${first}`,
    { hint: 'take a newer snapshot; the server may be behind' },
  );
}
