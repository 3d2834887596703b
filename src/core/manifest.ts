/**
 * The manifest `.cvmfspublished`: the one mutable file of a repository (docs/format.md#manifest). One letter a line, the
 * value right behind it; unknown letters are ignored, of repeated ones the last wins.
 */

import type { Bytes } from './bytes/byte-string.ts';
import { parseUnsigned } from './bytes/integer.ts';
import { type ContentHash, isContentHash, parseContentHash } from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import type { Hashing } from './ports.ts';
import { parseSignedText, type SignedText } from './signed-text.ts';

export const MANIFEST_PATH = '.cvmfspublished';
const ROOT_PATH_MD5 = 'd41d8cd98f00b204e9800998ecf8427e';

export interface Manifest {
  readonly rootCatalog: ContentHash;
  /** Bytes of the inflated root catalog; 0 when not given. */
  readonly rootCatalogSizeBytes: number;
  readonly ttlSeconds: number;
  readonly revision: number;
  readonly garbageCollectable: boolean;
  readonly hasAlternativePaths: boolean;
  readonly fqrn: string;
  readonly certificate: ContentHash | undefined;
  readonly history: ContentHash | undefined;
  readonly publishedSeconds: number | undefined;
  readonly metainfo: ContentHash | undefined;
  readonly reflog: ContentHash | undefined;
  /** The index of boot and workload profiles, `profile-index.ts`; a line of our own, that others pass over. */
  readonly profiles?: ContentHash;
}

export interface SignedManifest {
  readonly manifest: Manifest;
  readonly signed: SignedText;
}

/** Reads a manifest and checks its hash, not its signature. Throws FORMAT, INTEGRITY, LIMIT. */
export function parseManifest(hashing: Hashing, bytes: Bytes): SignedManifest {
  const signed = parseSignedText(hashing, bytes, 'manifest');
  const fields = new Map(signed.lines.map((line) => [line.slice(0, 1), line.slice(1)]));
  const need = (letter: string) => {
    const value = fields.get(letter);
    if (value === undefined)
      throw new ThimbleError('FORMAT', `Cannot read manifest: field ${letter} is missing`);
    return value;
  };
  const hash = (letter: string) => {
    const value = fields.get(letter);
    return value === undefined ? undefined : parseContentHash(value, `manifest field ${letter}`);
  };
  const number = (letter: string) => parseUnsigned(need(letter), `manifest field ${letter}`);
  if (need('R') !== ROOT_PATH_MD5) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot read manifest: field R is ${JSON.stringify(need('R'))}, ${ROOT_PATH_MD5} expected`,
    );
  }
  const profiles = fields.get('p');
  const manifest: Manifest = {
    rootCatalog: parseContentHash(need('C'), 'manifest field C'),
    rootCatalogSizeBytes: fields.has('B') ? number('B') : 0,
    ttlSeconds: number('D'),
    revision: number('S'),
    garbageCollectable: fields.get('G') === 'yes',
    hasAlternativePaths: fields.get('A') === 'yes',
    fqrn: need('N'),
    certificate: hash('X'),
    history: hash('H'),
    publishedSeconds: fields.has('T') ? number('T') : undefined,
    metainfo: hash('M'),
    reflog: hash('Y'),
    // Anything else is of somebody who gave the letter another meaning.
    ...(profiles !== undefined && isContentHash(profiles) ? { profiles } : {}),
  };
  return { manifest, signed };
}

/** The lines to be signed, in the order that the reference writes them. */
export function formatManifest(manifest: Manifest): string[] {
  const lines = [
    `C${manifest.rootCatalog}`,
    `B${manifest.rootCatalogSizeBytes}`,
    `R${ROOT_PATH_MD5}`,
    `D${manifest.ttlSeconds}`,
    `S${manifest.revision}`,
    `G${manifest.garbageCollectable ? 'yes' : 'no'}`,
    `A${manifest.hasAlternativePaths ? 'yes' : 'no'}`,
    `N${manifest.fqrn}`,
  ];
  const optional: [string, string | number | undefined][] = [
    ['X', manifest.certificate],
    ['H', manifest.history],
    ['T', manifest.publishedSeconds],
    ['M', manifest.metainfo],
    ['Y', manifest.reflog],
    ['p', manifest.profiles],
  ];
  for (const [letter, value] of optional) if (value !== undefined) lines.push(letter + value);
  return lines;
}
