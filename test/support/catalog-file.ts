/** Catalogs made by SQLite itself, row by row, also such as no publisher writes: for tests of what reads catalogs. */

import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { ascii, type ByteString } from '../../src/core/bytes/byte-string.ts';
import { CatalogReader } from '../../src/core/catalog/catalog-reader.ts';
import { NO_PARENT, parentPath, pathKeyColumns, pathKeyOf } from '../../src/core/path-key.ts';
import { nodeHashing } from '../../src/node/hashing.ts';

export const FORMAT = { name: 'ThimbleError', code: 'FORMAT' };
export const UNSUPPORTED = { name: 'ThimbleError', code: 'UNSUPPORTED' };
export const HASH = 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497';

export const TABLES = {
  properties: 'CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key))',
  catalog: `CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER,
    hardlinks INTEGER, hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT,
    symlink TEXT, uid INTEGER, gid INTEGER, xattr BLOB, CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2))`,
  parents: 'CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2)',
  chunks: `CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size))`,
  nested:
    'CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_n PRIMARY KEY (path))',
  bind: 'CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_b PRIMARY KEY (path))',
  statistics:
    'CREATE TABLE statistics (counter TEXT, value INTEGER, CONSTRAINT pk_statistics PRIMARY KEY (counter))',
} as const;
type Tables = Partial<Record<keyof typeof TABLES, string>>;

export interface CatalogOptions {
  /** Statements instead of those above. */
  readonly tables?: Tables;
  readonly schema?: string;
  readonly revision?: string;
  readonly sql?: string;
  readonly fill?: (database: DatabaseSync) => void;
}

export function catalogFile({
  tables = {},
  schema = '2.5',
  revision = '7',
  sql = '',
  fill,
}: CatalogOptions): Uint8Array {
  const database = new DatabaseSync(':memory:');
  try {
    database.enableDefensive(false);
    database.exec(`${Object.values({ ...TABLES, ...tables }).join(';')};`);
    if (tables.properties === undefined) {
      database.prepare("INSERT INTO properties VALUES ('schema', ?)").run(schema);
      database.prepare("INSERT INTO properties VALUES ('schema_revision', ?)").run(revision);
    }
    fill?.(database);
    database.exec(sql);
    return database.serialize();
  } finally {
    database.close();
  }
}

export const openCatalog = (options: CatalogOptions) => CatalogReader.open(catalogFile(options));
export const keyOf = (path: string) => pathKeyOf(nodeHashing, ascii(path));

interface Entry {
  readonly path: ByteString;
  readonly columns?: Readonly<Record<string, SQLInputValue>>;
}

/** A row for a path, all other columns as for an empty file unless given. */
export function insertEntry(database: DatabaseSync, { path, columns = {} }: Entry): void {
  const [md5path_1, md5path_2] = pathKeyColumns(pathKeyOf(nodeHashing, path));
  const [parent_1, parent_2] = pathKeyColumns(
    path === '' ? NO_PARENT : pathKeyOf(nodeHashing, parentPath(path)),
  );
  const defaults = { hardlinks: 1, size: 0, mode: 0o100644, mtime: 0, flags: 4, symlink: '' };
  const name = Buffer.from(path.slice(path.lastIndexOf('/') + 1), 'latin1');
  const row = { md5path_1, md5path_2, parent_1, parent_2, name, ...defaults, ...columns };
  // A cast from a blob keeps the bytes of names that are not UTF-8.
  const values = Object.keys(row).map((column) => (column === 'name' ? 'CAST(? AS TEXT)' : '?'));
  database
    .prepare(`INSERT INTO catalog (${Object.keys(row).join(', ')}) VALUES (${values.join(', ')})`)
    .run(...Object.values(row));
}

export const withEntries = (...entries: Entry[]) => ({
  fill: (database: DatabaseSync) => entries.forEach((entry) => void insertEntry(database, entry)),
});
export const entry = (path: string, columns: Entry['columns'] = {}): Entry => ({
  path: ascii(path),
  columns,
});
