/** What a catalog refers to (docs/format.md#catalogs): all of it has to stay as long as the catalog does. */

import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import { FLAG_EXTERNAL, hashAlgorithmOfFlags } from '../core/catalog/flags.ts';
import {
  type ContentHash,
  DIGEST_BYTES,
  type HashAlgorithm,
  isContentHash,
  NULL_HASH,
} from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { PathKey } from '../core/path-key.ts';
import { SqliteDatabase } from '../core/sqlite/database.ts';

/** The digest is valid only during the call; the size is that of the content, inflated. */
export type VisitContent = (
  digest: Bytes,
  algorithm: HashAlgorithm,
  type: '' | 'P',
  sizeBytes: number,
  flags: number,
) => void;

/**
 * Visits the content of every file of an inflated catalog, chunks included, and answers the catalog; what is named twice
 * comes twice. External files are passed over, and so is what is mounted from other revisions. Whether chunks fit
 * together is left to those who read the files. Throws FORMAT; UNSUPPORTED for schemas and hash algorithms that are not known.
 */
export function visitContents(catalog: Bytes, visit: VisitContent): CatalogReader {
  const database = SqliteDatabase.open(catalog);
  const reader = new CatalogReader(database);
  reader.entries(({ flags, digest, sizeBytes }) => {
    if ((flags & FLAG_EXTERNAL) !== 0 || digest === undefined) return;
    visit(checked(digest), hashAlgorithmOfFlags(flags), '', sizeBytes, flags);
  });
  // The first schemas know no chunks.
  if (database.hasTable('chunks')) visitChunks(database, reader, visit);
  return reader;
}

function visitChunks(database: SqliteDatabase, reader: CatalogReader, visit: VisitContent): void {
  const columns = database.columns('chunks');
  const column = (name: string) => columns.get(name) ?? Number.POSITIVE_INFINITY;
  const [first, second] = [column('md5path_1'), column('md5path_2')];
  const [hash, size] = [column('hash'), column('size')];
  const cursor = database.table('chunks');
  const { record } = cursor;
  const key: PathKey = new Int32Array(4);
  let flags: number | undefined;
  for (let more = cursor.first(); more; more = cursor.next()) {
    const halves = [record.high(first), record.low(first), record.high(second), record.low(second)];
    // Chunks of a file stand together: its row is looked up once.
    if (flags === undefined || halves.some((half, i) => half !== key[i])) {
      key.set(halves);
      // Without a row, nobody can read the chunk.
      flags = reader.find(key) ? reader.row.flags : FLAG_EXTERNAL;
    }
    if ((flags & FLAG_EXTERNAL) !== 0) continue;
    visit(checked(record.blob(hash)), hashAlgorithmOfFlags(flags), 'P', record.number(size), flags);
  }
}

function checked(digest: Bytes): Bytes {
  if (digest.length === DIGEST_BYTES) return digest;
  throw new ThimbleError('FORMAT', `Cannot read catalog: a content hash has ${digest.length} bytes`);
}

export interface RootFacts {
  readonly lastModifiedSeconds: number;
  readonly previousRevision: ContentHash | undefined;
}

/** What a root catalog says of its place in time. */
export function rootFacts({ properties }: Pick<CatalogReader, 'properties'>): RootFacts {
  const property = (name: string) => properties.get(name as ByteString) ?? '';
  const previous = property('previous_revision');
  return {
    lastModifiedSeconds: Number(property('last_modified')) || 0,
    previousRevision: isContentHash(previous) && previous !== NULL_HASH ? previous : undefined,
  };
}
