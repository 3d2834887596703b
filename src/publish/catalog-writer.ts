/**
 * Writes catalogs: SQLite files of schema 2.5, revision 7 (docs/format.md#catalogs). The page size, the order of rows and
 * everything else is fixed, so that the same contents give the same bytes.
 */

import type { DatabaseSync } from 'node:sqlite';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { CatalogReader, type NestedReference } from '../core/catalog/catalog-reader.ts';
import { COUNTER_NAMES } from '../core/catalog/counters.ts';
import { pathKeyColumns } from '../core/path-key.ts';
import { encodeDatabase } from '../storage/sqlite-file.ts';
import { type CatalogContents, hashColumn, type RowValues } from './catalog-rows.ts';

export interface CatalogProperties {
  readonly revision: number;
  readonly lastModifiedSeconds: number;
  /** Hash of the catalog that this one replaces; empty for the first. */
  readonly previousRevision: string;
  /** Root catalogs only. */
  readonly ttlSeconds?: number;
  /** Nested catalogs only. */
  readonly rootPrefix?: ByteString;
}

const SCHEMA = `
  CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
  CREATE TABLE catalog (
    md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, hardlinks INTEGER, hash BLOB,
    size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT, symlink TEXT,
    uid INTEGER, gid INTEGER, xattr BLOB, CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2));
  CREATE TABLE chunks (
    md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size),
    FOREIGN KEY (md5path_1, md5path_2) REFERENCES catalog (md5path_1, md5path_2));
  CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_nested_catalogs PRIMARY KEY (path));
  CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_bind_mountpoints PRIMARY KEY (path));
  CREATE TABLE statistics (counter TEXT, value INTEGER, CONSTRAINT pk_statistics PRIMARY KEY (counter));
`;

/** The bytes of a catalog. `temporary` is a path that may be used meanwhile. */
export function encodeCatalog(
  contents: CatalogContents,
  properties: CatalogProperties,
  temporary: string,
): Uint8Array {
  return encodeDatabase(temporary, (database) => {
    database.exec(SCHEMA);
    database.exec("INSERT INTO properties VALUES ('schema', '2.5'), ('schema_revision', '7')");
    writeProperties(database, properties);
    insertRows(database, contents.rows);
    insertReferences(database, 'nested_catalogs', contents.nested);
    insertReferences(database, 'bind_mountpoints', contents.bindMountpoints);
    const statistics = database.prepare('INSERT INTO statistics VALUES (?, ?)');
    for (const part of ['self', 'subtree'] as const) {
      for (const name of COUNTER_NAMES) statistics.run(`${part}_${name}`, contents.counters[part][name]);
    }
    // After the rows: an index made at once is smaller and faster than one that grows.
    database.exec('CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2)');
  });
}

/** The same catalog as another revision; its schema and its rows stay. Throws as `CatalogReader.open` does. */
export function renewCatalog(
  catalog: Uint8Array,
  properties: CatalogProperties,
  temporary: string,
): Uint8Array {
  const bytes = encodeDatabase(temporary, (database) => writeProperties(database, properties), catalog);
  CatalogReader.open(bytes);
  return bytes;
}

function writeProperties(database: DatabaseSync, properties: CatalogProperties): void {
  const insert = database.prepare('INSERT OR REPLACE INTO properties VALUES (?, CAST(? AS TEXT))');
  const pairs: [string, string | undefined][] = [
    ['revision', String(properties.revision)],
    ['last_modified', String(properties.lastModifiedSeconds)],
    ['previous_revision', properties.previousRevision],
    ['TTL', properties.ttlSeconds?.toString()],
    ['root_prefix', properties.rootPrefix],
  ];
  for (const [key, value] of pairs) if (value !== undefined) insert.run(key, Buffer.from(value, 'latin1'));
}

function insertRows(database: DatabaseSync, rows: readonly RowValues[]): void {
  // Names are bytes; a cast from a blob keeps them as they are.
  const insert = database.prepare(
    'INSERT INTO catalog VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?)',
  );
  const insertChunk = database.prepare('INSERT INTO chunks VALUES (?, ?, ?, ?, ?)');
  for (const row of rows) {
    const [key1, key2] = pathKeyColumns(row.key);
    const [parent1, parent2] = pathKeyColumns(row.parent);
    insert.run(
      key1,
      key2,
      parent1,
      parent2,
      (BigInt(row.hardlinkGroup) << 32n) | BigInt(row.linkCount),
      hashColumn(row.hash),
      row.sizeBytes,
      row.mode,
      row.mtimeSeconds,
      row.mtimeNs,
      row.flags,
      row.name,
      row.symlink,
      row.uid,
      row.gid,
      row.xattr ?? null,
    );
    for (const { offset, sizeBytes, hash } of row.chunks)
      insertChunk.run(key1, key2, offset, sizeBytes, hashColumn(hash));
  }
}

function insertReferences(
  database: DatabaseSync,
  table: 'nested_catalogs' | 'bind_mountpoints',
  references: readonly NestedReference[],
): void {
  const insert = database.prepare(`INSERT INTO ${table} VALUES (CAST(? AS TEXT), ?, ?)`);
  for (const { path, hash, sizeBytes } of references) {
    insert.run(Buffer.from(path, 'latin1'), hash, sizeBytes);
  }
}
