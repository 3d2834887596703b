/**
 * A file catalog, read where it lies: rows are found through the indexes of the SQLite file, nothing is loaded ahead
 * (docs/format.md#catalogs). `row` is one reused view: what it shows is valid until the next call that moves it.
 */

import type { ByteString, Bytes } from '../bytes/byte-string.ts';
import { type ContentHash, contentHashOf, parseContentHash } from '../content-hash.ts';
import { ThimbleError } from '../errors.ts';
import type { PathKey } from '../path-key.ts';
import type { IndexCursor, TableCursor } from '../sqlite/btree.ts';
import { readTextPairs, SqliteDatabase } from '../sqlite/database.ts';
import type { PageCache, PageFile } from '../sqlite/pages.ts';
import type { SqliteRecord } from '../sqlite/record.ts';
import type { AwakeReaders, RestingReader } from './awake-readers.ts';
import { type CatalogCounters, COUNTER_NAMES, type CounterName, zeroCounters } from './counters.ts';
import { type Compression, compressionOfFlags, hashAlgorithmOfFlags } from './flags.ts';
import { decodeXattrs, type Xattrs } from './xattrs.ts';

export interface NestedReference {
  /** Absolute path of the transition point. */
  readonly path: ByteString;
  readonly hash: ContentHash;
  /** Bytes of the inflated database; 0 when unknown. */
  readonly sizeBytes: number;
}

export interface Chunk {
  readonly offset: number;
  readonly sizeBytes: number;
  readonly hash: ContentHash;
}

/** No catalog that a machine could use is larger; guards inflating. */
export const MAX_CATALOG_BYTES = 2 ** 31;
/** What a catalog may have beyond twice the size that it is said to have. */
const SIZE_SLACK_BYTES = 1024 * 1024;

/**
 * Up to which size a catalog is taken that is said to have `sizeBytes`; 0: nobody knows. What is said is a hint, which may be
 * wrong by a little; nobody has to be waited for who sends without end.
 */
export function catalogLimit(sizeBytes = 0): number {
  return sizeBytes === 0 ? MAX_CATALOG_BYTES : Math.min(2 * sizeBytes + SIZE_SLACK_BYTES, MAX_CATALOG_BYTES);
}

const REQUIRED_COLUMNS = [
  'md5path_1',
  'md5path_2',
  'parent_1',
  'parent_2',
  'hash',
  'size',
  'mode',
  'mtime',
  'flags',
  'name',
  'symlink',
] as const;

/** What it takes to walk a catalog. */
interface Cursors {
  readonly rows: TableCursor;
  readonly byPath: IndexCursor;
  readonly byParent: IndexCursor;
  readonly row: CatalogRow;
}

/** Where a reader comes from, if not from memory; and with whom it shares the memory that readers take. */
export interface ReaderOrigin {
  readonly file?: PageFile;
  readonly awake?: AwakeReaders | undefined;
}

export class CatalogReader implements RestingReader {
  readonly #columns: ReadonlyMap<string, number>;
  readonly #database: SqliteDatabase;
  readonly #origin: ReaderOrigin;
  readonly #schema: Schema;
  #made: Cursors | undefined;
  usedAt = 0;
  /** Absolute path of this catalog's root; empty for a root catalog. */
  readonly rootPrefix: ByteString;
  readonly nested: readonly NestedReference[];
  readonly bindMountpoints: readonly NestedReference[];

  /** Opens an inflated catalog. Throws FORMAT, UNSUPPORTED. */
  constructor(database: SqliteDatabase, origin: ReaderOrigin = {}) {
    this.#database = database;
    this.#origin = origin;
    const { properties } = this;
    this.#schema = checkSchema(properties);
    this.#columns = database.columns('catalog');
    for (const name of [...REQUIRED_COLUMNS, ...(this.#schema.isLegacy ? [] : ['hardlinks'])]) {
      if (!this.#columns.has(name)) {
        throw new ThimbleError('FORMAT', `Cannot open catalog: table catalog has no column ${name}`);
      }
    }
    this.#cursors();
    this.rootPrefix = properties.get('root_prefix' as ByteString) ?? ('' as ByteString);
    this.nested = readReferences(database, 'nested_catalogs');
    this.bindMountpoints = readReferences(database, 'bind_mountpoints');
  }

  /** Throws FORMAT, UNSUPPORTED. */
  static open(file: Bytes, awake?: AwakeReaders): CatalogReader {
    return new CatalogReader(SqliteDatabase.open(file), { awake });
  }

  /** Opens a catalog whose pages are read when they are needed. Throws as `SqliteDatabase.openFile` does, later too. */
  static openFile(file: PageFile, cache: PageCache, awake?: AwakeReaders): CatalogReader {
    return new CatalogReader(SqliteDatabase.openFile(file, cache), { file, awake });
  }

  /** The entry that was found last. */
  get row(): CatalogRow {
    return this.#cursors().row;
  }

  /** Read anew each time. */
  get properties(): ReadonlyMap<ByteString, ByteString> {
    return readTextPairs(this.#database, 'properties');
  }

  /** Until it is used again. */
  rest(): void {
    this.#made = undefined;
    this.#origin.file?.rest?.();
  }

  #cursors(): Cursors {
    const { awake } = this.#origin;
    if (awake !== undefined) this.usedAt = awake.tick();
    if (this.#made !== undefined) return this.#made;
    const rows = this.#database.table('catalog');
    this.#made = {
      rows,
      byPath: this.#database.index('sqlite_autoindex_catalog_1'),
      byParent: this.#database.index('idx_catalog_parent'),
      row: new CatalogRow(rows, this.#columns, this.#schema.revision),
    };
    awake?.add(this);
    return this.#made;
  }

  /** Points `row` at the entry with this path key; false if there is none. */
  find(key: PathKey): boolean {
    const { byPath, rows } = this.#cursors();
    return byPath.seek(key) && rows.seek(byPath.rowid);
  }

  /** Points `row` at a row id; false if there is none. */
  seek(rowid: number): boolean {
    return this.#cursors().rows.seek(rowid);
  }

  /**
   * Visits the entries of a directory with row ids above `afterRowid`, in row id order, until `visit` answers false.
   * `row` shows the entry during each call.
   */
  children(directory: PathKey, afterRowid: number, visit: (row: CatalogRow) => boolean): void {
    const { byParent: index, rows, row } = this.#cursors();
    let last = afterRowid;
    while (index.seek(directory, last)) {
      if (!rows.seek(index.rowid)) {
        throw new ThimbleError('FORMAT', 'Cannot list directory: its index names a row that does not exist');
      }
      // Siblings stand together in most catalogs: as long as they do, the rows themselves say where to go on.
      do {
        last = rows.rowid;
        if (!visit(row)) return;
        // Row ids ascend, except in a damaged file, where going back would never end.
      } while (rows.stepWithinPage() && rows.rowid > last && row.hasParent(directory));
    }
  }

  /**
   * The hard-link groups of a directory, each with the lowest row id among its members there. Has cursors of its own: it
   * may be called from within `children`.
   */
  hardlinkGroups(directory: PathKey): Map<number, number> {
    const index = this.#database.index('idx_catalog_parent');
    const rows = this.#database.table('catalog');
    const row = new CatalogRow(rows, this.#columns, this.#schema.revision);
    const groups = new Map<number, number>();
    for (let more = index.seek(directory); more && index.matches(directory); more = index.next()) {
      if (!rows.seek(index.rowid)) continue;
      const group = row.hardlinkGroup;
      if (group > 0 && !groups.has(group)) groups.set(group, rows.rowid);
    }
    return groups;
  }

  /** Visits every entry, in row id order. */
  entries(visit: (row: CatalogRow) => void): void {
    const { rows, row } = this.#cursors();
    for (let more = rows.first(); more; more = rows.next()) visit(row);
  }

  /** Visits the entries behind a row, in row id order, until `visit` returns false. */
  entriesBehind(rowid: number, visit: (row: CatalogRow) => boolean): void {
    const { rows, row } = this.#cursors();
    if (!rows.seek(rowid)) return;
    while (rows.next() && visit(row));
  }

  /**
   * The chunks of a chunked file, by offset. Throws FORMAT unless they cover `sizeBytes` from 0 without gap or
   * overlap: the reference client returns wrong data for holes, this one refuses.
   */
  chunks(file: PathKey, sizeBytes: number, flags: number): Chunk[] {
    const algorithm = hashAlgorithmOfFlags(flags);
    const columns = this.#database.columns('chunks');
    const rows = this.#database.table('chunks');
    const index = this.#database.index('sqlite_autoindex_chunks_1');
    const at = (name: string) => need(columns, 'chunks', name);
    const chunks: Chunk[] = [];
    for (let more = index.seek(file); more && index.matches(file); more = index.next()) {
      if (!rows.seek(index.rowid))
        throw new ThimbleError('FORMAT', 'Cannot list chunks: the index names a missing row');
      chunks.push({
        offset: rows.record.number(at('offset')),
        sizeBytes: rows.record.number(at('size')),
        hash: contentHashOf(algorithm, rows.record.blob(at('hash'))),
      });
    }
    chunks.sort((a, b) => a.offset - b.offset);
    let end = 0;
    for (const chunk of chunks) {
      if (chunk.offset !== end || chunk.sizeBytes <= 0) {
        throw new ThimbleError(
          'FORMAT',
          `Cannot read file: its chunks have a hole or overlap at offset ${end}`,
        );
      }
      end += chunk.sizeBytes;
    }
    if (end !== sizeBytes || chunks.length === 0) {
      throw new ThimbleError('FORMAT', `Cannot read file: its chunks hold ${end} bytes of ${sizeBytes}`);
    }
    return chunks;
  }

  /** Counters that an older schema does not have are zero. */
  counters(): CatalogCounters {
    const counters = { self: zeroCounters(), subtree: zeroCounters() };
    if (this.#schema.isLegacy && !this.#database.hasTable('statistics')) return counters;
    const columns = this.#database.columns('statistics');
    const counter = need(columns, 'statistics', 'counter');
    const value = need(columns, 'statistics', 'value');
    const cursor = this.#database.table('statistics');
    for (let more = cursor.first(); more; more = cursor.next()) {
      const [, part, name] = /^(self|subtree)_(.*)$/.exec(cursor.record.text(counter)) ?? [];
      if (COUNTER_NAMES.includes(name as CounterName)) {
        counters[part as 'self' | 'subtree'][name as CounterName] = cursor.record.number(value);
      }
    }
    return counters;
  }
}

/** One directory entry of a catalog: a window on the current row. */
export class CatalogRow {
  readonly #cursor: TableCursor;
  readonly #column: Positions;
  readonly #hasXattrs: boolean;
  readonly #hasNanoseconds: boolean;

  constructor(cursor: TableCursor, columns: ReadonlyMap<string, number>, schemaRevision: number) {
    this.#cursor = cursor;
    this.#column = positionsIn(columns);
    this.#hasXattrs = schemaRevision >= 2 && this.#column.xattr >= 0;
    this.#hasNanoseconds = schemaRevision >= 7 && this.#column.mtimens >= 0;
  }

  get record(): SqliteRecord {
    return this.#cursor.record;
  }

  get rowid(): number {
    return this.#cursor.rowid;
  }

  /** The entry's own path key, written into `into`. */
  key(into: PathKey): PathKey {
    return this.#halves(this.#column.key1, this.#column.key2, into);
  }

  parentKey(into: PathKey): PathKey {
    return this.#halves(this.#column.parent1, this.#column.parent2, into);
  }

  hasParent(key: PathKey): boolean {
    const { record } = this;
    const { parent1, parent2 } = this.#column;
    return (
      record.low(parent1) === key[1] &&
      record.low(parent2) === key[3] &&
      record.high(parent1) === key[0] &&
      record.high(parent2) === key[2]
    );
  }

  #halves(first: number, second: number, into: PathKey): PathKey {
    const record = this.record;
    into[0] = record.high(first);
    into[1] = record.low(first);
    into[2] = record.high(second);
    into[3] = record.low(second);
    return into;
  }

  get flags(): number {
    return this.record.low(this.#column.flags);
  }

  /** `st_mode`, type bits included. */
  get mode(): number {
    return this.record.low(this.#column.mode) & 0xffff;
  }

  get sizeBytes(): number {
    return this.record.number(this.#column.size);
  }

  get mtimeSeconds(): number {
    return this.record.number(this.#column.mtime);
  }

  get mtimeNs(): number {
    return this.#hasNanoseconds ? this.record.low(this.#column.mtimens) : 0;
  }

  /** False where the publisher did not record nanoseconds. */
  get hasMtimeNs(): boolean {
    return this.#hasNanoseconds && !this.record.isNull(this.#column.mtimens);
  }

  get uid(): number {
    return this.#column.uid < 0 ? 0 : this.record.low(this.#column.uid) >>> 0;
  }

  get gid(): number {
    return this.#column.gid < 0 ? 0 : this.record.low(this.#column.gid) >>> 0;
  }

  get linkCount(): number {
    return this.#column.hardlinks < 0 ? 1 : this.record.low(this.#column.hardlinks) >>> 0;
  }

  /** Files of one catalog with the same group above 0 are one inode. */
  get hardlinkGroup(): number {
    return this.#column.hardlinks < 0 ? 0 : this.record.high(this.#column.hardlinks) >>> 0;
  }

  get name(): ByteString {
    return this.record.text(this.#column.name);
  }

  /** Where the name lies in `record.bytes`. */
  get nameStart(): number {
    return this.record.start(this.#column.name);
  }

  get nameLength(): number {
    return this.record.length(this.#column.name);
  }

  /** False for NULL, which the format does not allow. */
  get hasSymlink(): boolean {
    return !this.record.isNull(this.#column.symlink);
  }

  /** The target as published, variables not replaced. */
  get symlink(): ByteString {
    return this.record.text(this.#column.symlink);
  }

  get compression(): Compression {
    return compressionOfFlags(this.flags);
  }

  /** The content's hash as stored: of no algorithm yet, and 20 bytes in a sound catalog. */
  get digest(): Bytes | undefined {
    return this.record.isNull(this.#column.hash) ? undefined : this.record.blob(this.#column.hash);
  }

  /** `undefined` where the entry has no content of its own. */
  get hash(): ContentHash | undefined {
    if (this.record.isNull(this.#column.hash)) return undefined;
    return contentHashOf(hashAlgorithmOfFlags(this.flags), this.record.blob(this.#column.hash));
  }

  get hasXattrs(): boolean {
    return this.#hasXattrs && !this.record.isNull(this.#column.xattr);
  }

  /** As stored. */
  get xattrBlob(): Bytes | undefined {
    return this.hasXattrs ? this.record.blob(this.#column.xattr) : undefined;
  }

  /** Throws FORMAT if the blob is malformed. */
  get xattrs(): Xattrs {
    const blob = this.xattrBlob;
    return blob === undefined ? new Map() : decodeXattrs(blob);
  }
}

const COLUMN_OF = {
  key1: 'md5path_1',
  key2: 'md5path_2',
  parent1: 'parent_1',
  parent2: 'parent_2',
  hardlinks: 'hardlinks',
  hash: 'hash',
  size: 'size',
  mode: 'mode',
  mtime: 'mtime',
  mtimens: 'mtimens',
  flags: 'flags',
  name: 'name',
  symlink: 'symlink',
  uid: 'uid',
  gid: 'gid',
  xattr: 'xattr',
} as const;

type Positions = Readonly<Record<keyof typeof COLUMN_OF, number>>;

const POSITIONS = new WeakMap<ReadonlyMap<string, number>, Positions>();

/** Tables of the same columns have the same map of them. */
function positionsIn(columns: ReadonlyMap<string, number>): Positions {
  const known = POSITIONS.get(columns);
  if (known !== undefined) return known;
  const positions = Object.fromEntries(
    Object.entries(COLUMN_OF).map(([field, name]) => [field, columns.get(name) ?? -1]),
  ) as Positions;
  POSITIONS.set(columns, positions);
  return positions;
}

function need(columns: ReadonlyMap<string, number>, table: string, name: string): number {
  const column = columns.get(name);
  if (column === undefined)
    throw new ThimbleError('FORMAT', `Cannot open catalog: table ${table} has no column ${name}`);
  return column;
}

interface Schema {
  /** Of before 2.4: perhaps without hard links, owners, chunks, counters; without attributes and nanoseconds. */
  readonly isLegacy: boolean;
  readonly revision: number;
}

/** Between the last of the old schemas, 2.3, and 2.4, with which hard links, chunks and counters have come to stay. */
const FIRST_MODERN = 2.35;

/** True for schemas that lack much: that of CernVM-FS 2.0, below 2.0, and those that lead from it to 2.4. */
export function isLegacySchema(properties: ReadonlyMap<ByteString, ByteString>): boolean {
  return Number(properties.get('schema' as ByteString) ?? '1.0') < FIRST_MODERN;
}

/** Schemas up to 2.5 are read, newer revisions of 2.5 too. Their columns say what they have. */
function checkSchema(properties: ReadonlyMap<ByteString, ByteString>): Schema {
  const schema = properties.get('schema' as ByteString) ?? '1.0';
  // Written as a float by the reference, so it may be 2.4000000953674.
  const version = Number(schema);
  if (version > 0 && isLegacySchema(properties)) return { isLegacy: true, revision: 0 };
  if (Math.abs(version - 2.4) < 0.01 || Math.abs(version - 2.5) < 0.01) {
    return { isLegacy: false, revision: Number(properties.get('schema_revision' as ByteString) ?? '0') };
  }
  throw new ThimbleError(
    'UNSUPPORTED',
    `Cannot open catalog: its schema is ${JSON.stringify(schema)}; those up to 2.5 are known`,
    { hint: 'a newer version of thimble may know it' },
  );
}

function readReferences(database: SqliteDatabase, table: string): NestedReference[] {
  // Older schemas have no bind mount points.
  if (!database.hasTable(table)) return [];
  const columns = database.columns(table);
  const path = need(columns, table, 'path');
  const hash = need(columns, table, 'sha1');
  const size = columns.get('size') ?? Number.POSITIVE_INFINITY;
  const references: NestedReference[] = [];
  const cursor = database.table(table);
  for (let more = cursor.first(); more; more = cursor.next()) {
    references.push({
      path: cursor.record.text(path),
      hash: parseContentHash(cursor.record.text(hash), `hash of ${table}`),
      sizeBytes: size < cursor.record.count ? cursor.record.number(size) : 0,
    });
  }
  return references;
}
