/**
 * The second signature of a manifest (docs/format.md#ed25519): lines of its text, `e` and the 88 characters of a signature in
 * base64, one for each key of the publisher. A reader that does not know the letter passes over it.
 *
 * What is signed is a line that says what this is, and all other lines of the text, in their order. So a signature binds the
 * name of the repository, the revision, the root catalog, the certificate, and whatever else the text says.
 */

import { ascii, type Bytes, bytesOf } from './bytes/byte-string.ts';
import { decodeBase64 } from './bytes/hex.ts';
import { ThimbleError } from './errors.ts';
import type { SignedManifest } from './manifest.ts';
import type { PublicKey, Signatures } from './ports.ts';

/** Of the last letter, two bits count: where the other four are not zero, it would be a second spelling of a signature. */
const SIGNATURE_LINE = /^e[A-Za-z0-9+/]{85}[AQgw]==$/;
const PURPOSE = 'thimble manifest 1';
/** More are refused: each costs a check with each key. Two are there while a publisher changes its key. */
export const MAX_ED25519_SIGNATURES = 8;

/** What a signature covers, of the lines of a manifest with or without signatures. */
export function ed25519Message(lines: readonly string[]): Bytes {
  const covered = lines.filter((line) => !SIGNATURE_LINE.test(line));
  return bytesOf(ascii([PURPOSE, ...covered].map((line) => `${line}\n`).join('')));
}

/** The line of a signature in base64 with padding. */
export function formatEd25519Line(base64: string): string {
  return `e${base64}`;
}

/** Throws TRUST unless one of the keys signed the manifest, LIMIT for too many signatures. */
export function verifyEd25519Signature(
  signatures: Signatures,
  { manifest, signed }: SignedManifest,
  keys: readonly PublicKey[],
): void {
  const found = signed.lines.filter((line) => SIGNATURE_LINE.test(line));
  if (found.length === 0) {
    throw new ThimbleError(
      'TRUST',
      `Cannot trust manifest of ${manifest.fqrn}: it has no Ed25519 signature, and a key for one was given`,
      { hint: 'its publisher may have none: then give the RSA key alone' },
    );
  }
  if (found.length > MAX_ED25519_SIGNATURES) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot check manifest of ${manifest.fqrn}: it has ${found.length} Ed25519 signatures, at most ${MAX_ED25519_SIGNATURES} expected`,
    );
  }
  const message = ed25519Message(signed.lines);
  const isSigned = found.some((line) => {
    const signature = decodeBase64(line.slice(1));
    return keys.some((key) => signatures.verifyEd25519(key, message, signature));
  });
  if (isSigned) return;
  throw new ThimbleError(
    'TRUST',
    `Cannot trust manifest of ${manifest.fqrn}: none of the ${keys.length} given Ed25519 keys signed it`,
    { hint: 'the publisher may have a new key; it has it as <name>.ed25519pub' },
  );
}
