/** From the objects of a recording to packs: what catalogs say of them, and their bytes as stored, side by side. */

import type { RecordedObject } from '../client/profile/recording.ts';
import { concatBytes } from '../core/bytes/byte-string.ts';
import { MAX_CATALOG_BYTES } from '../core/catalog/catalog-reader.ts';
import { compressionOfFlags } from '../core/catalog/flags.ts';
import { type ContentHash, contentHashOf, objectPath } from '../core/content-hash.ts';
import { errorCodeOf, ThimbleError } from '../core/errors.ts';
import { MAX_PACK_BYTES, type Pack } from '../core/profile-index.ts';
import { MAX_PACKED_OBJECT_BYTES, type PackedObject } from '../core/profile-table.ts';
import { visitContents } from '../storage/catalog-references.ts';
import type { StoredObjects } from '../storage/stored-objects.ts';
import type { ContentStore } from './content-store.ts';

/** A pack is closed when it has this much: few enough requests, and whoever copies it has it in memory. */
const PACK_BYTES = 32 * 1024 * 1024;

export interface PackedObjects {
  readonly objects: readonly PackedObject[];
  readonly packs: readonly Pack[];
  /** Of the recording, what is not stored here, or named by no catalog of it, or too large to be packed. */
  readonly leftOut: number;
}

type Facts = Pick<PackedObject, 'type' | 'compression' | 'sizeBytes'>;

/**
 * Packs what was recorded, in its order. `roots` are snapshots to look for objects in that no recorded catalog names.
 * Throws INTEGRITY for damaged objects, STORAGE.
 */
export async function packObjects(
  recorded: readonly RecordedObject[],
  roots: readonly ContentHash[],
  { objects, metadata }: { readonly objects: StoredObjects; readonly metadata: ContentStore },
  onProgress: (packed: number) => void = () => {},
): Promise<PackedObjects> {
  const facts = await findFacts(recorded, roots, objects);
  const packed: PackedObject[] = [];
  const packs: Pack[] = [];
  let parts: Uint8Array[] = [];
  let partBytes = 0;
  const closePack = async () => {
    if (parts.length === 0) return;
    packs.push({ hash: await metadata.putStored(concatBytes(parts)), sizeBytes: partBytes });
    parts = [];
    partBytes = 0;
  };
  for (const { hash, isCatalog } of recorded) {
    const known = isCatalog ? await catalogFacts(hash, objects) : facts.get(hash);
    if (known === undefined || known.sizeBytes > MAX_PACKED_OBJECT_BYTES) continue;
    const stored = await objects.find(hash, known.type, MAX_PACK_BYTES, 'none');
    if (stored === undefined || stored.length === 0 || stored.length > MAX_PACK_BYTES) continue;
    if (partBytes + stored.length > MAX_PACK_BYTES) await closePack();
    parts.push(stored);
    partBytes += stored.length;
    packed.push({ ...known, hash, storedBytes: stored.length });
    if (partBytes >= PACK_BYTES) await closePack();
    onProgress(packed.length);
  }
  await closePack();
  return { objects: packed, packs, leftOut: recorded.length - packed.length };
}

async function catalogFacts(hash: ContentHash, objects: StoredObjects): Promise<Facts | undefined> {
  const bytes = await objects.find(hash, 'C', MAX_CATALOG_BYTES);
  return bytes === undefined ? undefined : { type: 'C', compression: 'zlib', sizeBytes: bytes.length };
}

/** Looks into the catalogs of the recording first: whoever reads a file has read the catalog that names it. */
async function findFacts(
  recorded: readonly RecordedObject[],
  roots: readonly ContentHash[],
  objects: StoredObjects,
): Promise<ReadonlyMap<ContentHash, Facts>> {
  const wanted = new Set(recorded.flatMap(({ hash, isCatalog }) => (isCatalog ? [] : [hash])));
  const facts = new Map<ContentHash, Facts>();
  const seen = new Set<ContentHash>();
  const look = async (catalog: ContentHash): Promise<readonly ContentHash[]> => {
    if (seen.has(catalog)) return [];
    seen.add(catalog);
    const bytes = await findCatalog(catalog, objects);
    if (bytes === undefined) return [];
    const reader = visitContents(bytes, (digest, algorithm, type, sizeBytes, flags) => {
      const hash = contentHashOf(algorithm, digest);
      if (wanted.delete(hash)) facts.set(hash, { type, compression: compressionOfFlags(flags), sizeBytes });
    });
    return reader.nested.map((nested) => nested.hash);
  };
  const nested: ContentHash[] = [];
  for (const { hash, isCatalog } of recorded) if (isCatalog) nested.push(...(await look(hash)));
  nested.push(...roots);
  for (let next = nested.shift(); next !== undefined && wanted.size > 0; next = nested.shift()) {
    nested.push(...(await look(next)));
  }
  return facts;
}

/** One that is missing, or no catalog at all, has nothing to tell. */
async function findCatalog(hash: ContentHash, objects: StoredObjects): Promise<Uint8Array | undefined> {
  try {
    return await objects.find(hash, 'C', MAX_CATALOG_BYTES);
  } catch (error) {
    if (errorCodeOf(error) === 'STORAGE') throw error;
    throw new ThimbleError('INTEGRITY', `Cannot pack objects: ${objectPath(hash, 'C')} is damaged`, {
      hint: 'thimble check tells what is wrong',
      cause: error,
    });
  }
}
