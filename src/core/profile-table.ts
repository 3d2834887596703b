/**
 * The table of a profile (docs/format.md#profiles): which objects its packs hold, in order. The bytes of the packs are
 * divided by it alone: a pack has nothing in it but objects as they are stored. Little-endian; a header of 12 bytes, then 32
 * for each object.
 */

import type { Bytes } from './bytes/byte-string.ts';
import { ByteReader } from './bytes/reader.ts';
import { ByteWriter } from './bytes/writer.ts';
import type { Compression } from './catalog/flags.ts';
import {
  algorithmOf,
  type ContentHash,
  contentHashOf,
  DIGEST_BYTES,
  digestOf,
  HASH_ALGORITHMS,
} from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import { MAX_PACK_BYTES, type Pack } from './profile-index.ts';

export const MAX_PROFILE_TABLE_BYTES = 64 * 1024 * 1024;
/** Of an object, inflated. Readers have all of it in memory before anybody can see it. */
export const MAX_PACKED_OBJECT_BYTES = 64 * 1024 * 1024;
/** What profiles hold: files, catalogs, chunks. The position is the number in the table. */
const TYPES: readonly PackedType[] = ['', 'C', 'P'];
const COMPRESSIONS: readonly Compression[] = ['zlib', 'none'];
/** `thpf`, and version 1. */
const MAGIC = 0x6670_6874;
const VERSION = 1;
const HEADER_BYTES = 12;
const ROW_BYTES = 32;

export type PackedType = '' | 'C' | 'P';

export interface PackedObject {
  readonly hash: ContentHash;
  readonly type: PackedType;
  readonly compression: Compression;
  readonly storedBytes: number;
  /** Inflated. */
  readonly sizeBytes: number;
}

/** A packed object, and where it is. */
export interface PlacedObject extends PackedObject {
  /** Index of its pack. */
  readonly pack: number;
  /** Of its first byte, in the pack. */
  readonly offset: number;
}

export function encodeProfileTable(objects: readonly PackedObject[]): Bytes {
  const writer = new ByteWriter(HEADER_BYTES + ROW_BYTES * objects.length);
  writer.u32le(MAGIC).u32le(VERSION).u32le(objects.length);
  for (const { hash, type, compression, storedBytes, sizeBytes } of objects) {
    writer
      .bytes(digestOf(hash))
      .u8(HASH_ALGORITHMS.indexOf(algorithmOf(hash)))
      .u8(TYPES.indexOf(type));
    writer.u8(COMPRESSIONS.indexOf(compression)).u8(0).u32le(storedBytes).u32le(sizeBytes);
  }
  return writer.finish();
}

/** Throws FORMAT, LIMIT; UNSUPPORTED for what a later version has written. */
export function decodeProfileTable(bytes: Bytes): readonly PackedObject[] {
  const reader = new ByteReader(bytes, 'table of a profile');
  if (reader.u32le() !== MAGIC) throw damaged('it does not begin as one');
  const version = reader.u32le();
  if (version !== VERSION) {
    throw new ThimbleError('UNSUPPORTED', `Cannot read the table of a profile: it is of version ${version}`);
  }
  const count = reader.u32le();
  if (reader.remaining !== count * ROW_BYTES) throw damaged(`${count} objects do not fit`);
  return Array.from({ length: count }, () => {
    const digest = reader.bytes(DIGEST_BYTES);
    const hash = contentHashOf(knownAs(HASH_ALGORITHMS, reader.u8(), 'hash algorithm'), digest);
    const type = knownAs(TYPES, reader.u8(), 'type');
    const compression = knownAs(COMPRESSIONS, reader.u8(), 'compression');
    if (reader.u8() !== 0) throw damaged('a byte is not 0');
    const [storedBytes, sizeBytes] = [reader.u32le(), reader.u32le()];
    // A stretch of a pack would have no end.
    if (storedBytes === 0) throw damaged('an object is empty');
    if (storedBytes > MAX_PACK_BYTES || sizeBytes > MAX_PACKED_OBJECT_BYTES) {
      throw new ThimbleError('LIMIT', `Cannot read the table of a profile: object ${hash} is too large`);
    }
    return { hash, type, compression, storedBytes, sizeBytes };
  });
}

/** Finds the place of each object: they fill one pack after the other, to the byte. Throws FORMAT. */
export function placeObjects(
  objects: readonly PackedObject[],
  packs: readonly Pack[],
): readonly PlacedObject[] {
  let pack = 0;
  let offset = 0;
  const placed = objects.map((object) => {
    if (pack < packs.length && offset === packs[pack]!.sizeBytes) {
      pack++;
      offset = 0;
    }
    const at = offset;
    offset += object.storedBytes;
    if (pack >= packs.length || offset > packs[pack]!.sizeBytes) throw damaged('it does not fit its packs');
    return { ...object, pack, offset: at };
  });
  const isFull =
    packs.length === 0 ? offset === 0 : pack === packs.length - 1 && offset === packs[pack]!.sizeBytes;
  if (!isFull) throw damaged('it does not fill its packs');
  return placed;
}

function knownAs<T>(values: readonly T[], index: number, what: string): T {
  const value = values[index];
  if (value === undefined) throw damaged(`${index} is no ${what}`);
  return value;
}

function damaged(why: string): ThimbleError {
  return new ThimbleError('FORMAT', `Cannot read the table of a profile: ${why}`);
}
