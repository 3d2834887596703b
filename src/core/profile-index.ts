/**
 * The profiles of a repository (docs/format.md#profiles): for each name the objects that a workload reads, in its order, and
 * the packs that hold them side by side. The manifest names the index, and the index everything else: so it is signed, and
 * replicas, checks and garbage collections find it all. JSON in UTF-8, stored as an object with zlib.
 */

import { type Bytes, byteStringOf } from './bytes/byte-string.ts';
import { decodeUtf8, encodeUtf8 } from './bytes/utf8.ts';
import { type ContentHash, isContentHash } from './content-hash.ts';
import { ThimbleError } from './errors.ts';

export const MAX_PROFILE_INDEX_BYTES = 4 * 1024 * 1024;
/** Of a pack, and so of the largest object in one. */
export const MAX_PACK_BYTES = 64 * 1024 * 1024;
const MAX_PROFILES = 256;
const MAX_PACKS = 4096;
const MAX_RETIRED = 16_384;
const VERSION = 1;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** A file that is nothing but objects, one behind the other; itself an object, stored as it is. */
export interface Pack {
  readonly hash: ContentHash;
  readonly sizeBytes: number;
}

export interface Profile {
  readonly name: string;
  /** The snapshot that it was recorded with. It is of use for others, as far as they have the same contents. */
  readonly rootCatalog: ContentHash;
  readonly revision: number;
  readonly createdSeconds: number;
  readonly objects: number;
  /** As stored. */
  readonly storedBytes: number;
  /** Inflated. */
  readonly sizeBytes: number;
  /** The list of its objects, `profile-table.ts`. */
  readonly table: ContentHash;
  /** In order. */
  readonly packs: readonly Pack[];
}

/** An object that profiles needed once. */
export interface RetiredObject {
  readonly hash: ContentHash;
  readonly sinceSeconds: number;
}

export interface ProfileIndex {
  /** By name. */
  readonly profiles: readonly Profile[];
  /** For garbage collections: nothing else leads to these. */
  readonly retired: readonly RetiredObject[];
}

export const NO_PROFILES: ProfileIndex = { profiles: [], retired: [] };

export function isProfileName(name: string): boolean {
  return NAME.test(name);
}

export function encodeProfileIndex({ profiles, retired }: ProfileIndex): Bytes {
  return encodeUtf8(`${JSON.stringify({ version: VERSION, profiles, retired }, undefined, 1)}\n`);
}

/** Throws FORMAT, LIMIT, and UNSUPPORTED for what a later version has written. */
export function decodeProfileIndex(bytes: Bytes): ProfileIndex {
  if (bytes.length > MAX_PROFILE_INDEX_BYTES) throw tooLarge(`${MAX_PROFILE_INDEX_BYTES} bytes`);
  const root = fieldsOf(parseJson(bytes));
  if (root['version'] !== VERSION) {
    throw new ThimbleError('UNSUPPORTED', 'Cannot read profiles: they are of a later version', {
      hint: 'update this program',
    });
  }
  const profiles = listOf(root['profiles'], MAX_PROFILES).map(profileOf);
  if (new Set(profiles.map(({ name }) => name)).size < profiles.length) throw damaged('a name comes twice');
  const retired = listOf(root['retired'], MAX_RETIRED)
    .map(fieldsOf)
    .map((one) => ({ hash: hashOf(one['hash']), sinceSeconds: countOf(one['sinceSeconds']) }));
  return { profiles, retired };
}

/** All objects that an index leads to, itself excepted. */
export function* objectsOfProfiles({ profiles }: ProfileIndex): Generator<ContentHash> {
  for (const { table, packs } of profiles) {
    yield table;
    for (const { hash } of packs) yield hash;
  }
}

function profileOf(value: unknown): Profile {
  const fields = fieldsOf(value);
  const { name } = fields;
  if (typeof name !== 'string' || !NAME.test(name)) throw damaged('a name is none');
  const packs = listOf(fields['packs'], MAX_PACKS)
    .map(fieldsOf)
    .map((pack) => ({ hash: hashOf(pack['hash']), sizeBytes: countOf(pack['sizeBytes']) }));
  if (packs.some(({ sizeBytes }) => sizeBytes === 0 || sizeBytes > MAX_PACK_BYTES)) {
    throw tooLarge(`${MAX_PACK_BYTES} bytes in a pack`);
  }
  return {
    name,
    rootCatalog: hashOf(fields['rootCatalog']),
    revision: countOf(fields['revision']),
    createdSeconds: countOf(fields['createdSeconds']),
    objects: countOf(fields['objects']),
    storedBytes: countOf(fields['storedBytes']),
    sizeBytes: countOf(fields['sizeBytes']),
    table: hashOf(fields['table']),
    packs,
  };
}

function parseJson(bytes: Bytes): unknown {
  try {
    return JSON.parse(decodeUtf8(byteStringOf(bytes)) ?? '');
  } catch (error) {
    throw damaged('they are not JSON', error);
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw damaged('an object is missing');
  return value as Record<string, unknown>;
}

function listOf(value: unknown, limit: number): readonly unknown[] {
  if (!Array.isArray(value)) throw damaged('a list is missing');
  if (value.length > limit) throw tooLarge(`${limit} in a list`);
  return value;
}

function hashOf(value: unknown): ContentHash {
  if (typeof value !== 'string' || !isContentHash(value)) throw damaged('a content hash is none');
  return value;
}

function countOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw damaged('a number is none');
  return value;
}

function damaged(why: string, cause?: unknown): ThimbleError {
  return new ThimbleError('FORMAT', `Cannot read profiles: ${why}`, { cause });
}

function tooLarge(limit: string): ThimbleError {
  return new ThimbleError('LIMIT', `Cannot read profiles: there are more than ${limit}`);
}
