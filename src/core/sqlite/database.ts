/**
 * A read-only SQLite database over pages (https://www.sqlite.org/fileformat2.html): header, schema, tables, indexes.
 * Rollback-journal files only; a file left in WAL mode is refused, since its newest content is elsewhere.
 */

import type { ByteString, Bytes } from '../bytes/byte-string.ts';
import { ThimbleError } from '../errors.ts';
import { IndexCursor, TableCursor } from './btree.ts';
import { MemoryPages, type PageCache, type PageFile, type PageSource } from './pages.ts';
import { malformed } from './record.ts';

const MAGIC = 'SQLite format 3\0';
const HEADER_BYTES = 100;
const UTF8_ENCODING = 1;
const MAX_TABLES = 1000;

interface SchemaEntry {
  readonly kind: string;
  readonly name: string;
  readonly table: string;
  readonly root: number;
  readonly sql: string;
}

export class SqliteDatabase {
  readonly #pages: PageSource;
  readonly #reservedBytes: number;
  readonly #schema: readonly SchemaEntry[];

  constructor(pages: PageSource, reservedBytes: number) {
    this.#pages = pages;
    this.#reservedBytes = reservedBytes;
    this.#schema = this.#readSchema();
  }

  /** Opens a whole file in memory. Throws FORMAT or UNSUPPORTED. */
  static open(file: Bytes): SqliteDatabase {
    const { pageSize, reservedBytes } = decodeSqliteHeader(file);
    return new SqliteDatabase(new MemoryPages(file, pageSize), reservedBytes);
  }

  /** Opens a file whose pages are read when they are needed. Throws FORMAT, UNSUPPORTED, and what `file.read` throws. */
  static openFile(file: PageFile, cache: PageCache): SqliteDatabase {
    const header = new Uint8Array(HEADER_BYTES);
    const { pageSize, reservedBytes } = decodeSqliteHeader(
      header.subarray(0, file.read(0, header, 0, HEADER_BYTES)),
    );
    return new SqliteDatabase(cache.open(file, pageSize), reservedBytes);
  }

  hasTable(name: string): boolean {
    return this.#find('table', name) !== undefined;
  }

  /** Column positions by name. Throws FORMAT if there is no such table. */
  columns(table: string): ReadonlyMap<string, number> {
    const { sql } = this.#need('table', table);
    return remembered(COLUMNS, sql, () => parseColumnNames(sql));
  }

  table(name: string): TableCursor {
    return new TableCursor(this.#pages, this.#reservedBytes, this.#need('table', name).root);
  }

  /** An index by its name. Throws FORMAT if there is none. */
  index(name: string): IndexCursor {
    return new IndexCursor(this.#pages, this.#reservedBytes, this.#need('index', name).root);
  }

  #find(kind: string, name: string): SchemaEntry | undefined {
    return this.#schema.find((entry) => entry.kind === kind && entry.name === name);
  }

  #need(kind: string, name: string): SchemaEntry {
    const entry = this.#find(kind, name);
    if (entry === undefined) throw malformed(`there is no ${kind} ${JSON.stringify(name)}`);
    return entry;
  }

  #readSchema(): readonly SchemaEntry[] {
    const entries: SchemaEntry[] = [];
    const cursor = new TableCursor(this.#pages, this.#reservedBytes, 1);
    for (let more = cursor.first(); more; more = cursor.next()) {
      if (entries.length === MAX_TABLES)
        throw malformed(`there are more than ${MAX_TABLES} tables and indexes`);
      const row = cursor.record;
      entries.push({
        kind: row.text(0),
        name: row.text(1),
        table: row.text(2),
        root: row.number(3),
        sql: row.text(4),
      });
    }
    return remembered(SCHEMAS, JSON.stringify(entries), () => entries);
  }
}

/** Files of one writer have the same schema: of what is made of it one is enough. */
const SCHEMAS = new Map<string, readonly SchemaEntry[]>();
const COLUMNS = new Map<string, ReadonlyMap<string, number>>();
const MAX_REMEMBERED = 64;
/** Longer than any that is worth it. */
const MAX_REMEMBERED_LENGTH = 16 * 1024;

function remembered<T>(known: Map<string, T>, key: string, make: () => T): T {
  const former = known.get(key);
  if (former !== undefined) return former;
  const made = make();
  if (known.size === MAX_REMEMBERED) known.clear();
  if (key.length <= MAX_REMEMBERED_LENGTH) known.set(key, made);
  return made;
}

/** Checks the file header. Throws FORMAT or UNSUPPORTED. */
export function decodeSqliteHeader(file: Bytes): { pageSize: number; reservedBytes: number } {
  if (file.length < HEADER_BYTES) throw malformed(`it has ${file.length} bytes, less than a header`);
  for (let i = 0; i < MAGIC.length; i++) {
    if (file[i] !== MAGIC.charCodeAt(i)) throw malformed('it does not start like one');
  }
  const stored = (file[16]! << 8) | file[17]!;
  const pageSize = stored === 1 ? 65536 : stored;
  if (pageSize < 512 || (pageSize & (pageSize - 1)) !== 0)
    throw malformed(`page size ${pageSize} is not possible`);
  if (file[18] !== 1 || file[19] !== 1) {
    throw new ThimbleError('UNSUPPORTED', 'Cannot read SQLite file: it was left in WAL mode');
  }
  const reservedBytes = file[20]!;
  if (pageSize - reservedBytes < 480) throw malformed(`${reservedBytes} reserved bytes are not possible`);
  const encoding = file[59]!;
  if (encoding !== UTF8_ENCODING && encoding !== 0) {
    throw new ThimbleError('UNSUPPORTED', `Cannot read SQLite file: text encoding ${encoding} is not UTF-8`);
  }
  return { pageSize, reservedBytes };
}

/** Names of the columns in a `CREATE TABLE` statement, in order. */
export function parseColumnNames(sql: string): ReadonlyMap<string, number> {
  const open = sql.indexOf('(');
  if (open < 0) throw malformed('a table has no columns');
  const columns = new Map<string, number>();
  for (const part of splitTopLevel(sql.slice(open + 1, sql.lastIndexOf(')')))) {
    const name = /^\s*(?:"([^"]+)"|`([^`]+)`|\[([^\]]+)\]|([A-Za-z_][A-Za-z0-9_]*))/.exec(part);
    const bare = name?.[4];
    if (name === null) continue;
    if (bare !== undefined && /^(constraint|primary|unique|foreign|check)$/i.test(bare)) continue;
    columns.set((name[1] ?? name[2] ?? name[3] ?? bare) as string, columns.size);
  }
  return columns;
}

function splitTopLevel(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++;
    else if (text[i] === ')') depth--;
    else if (text[i] === ',' && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

/** Every row of a two-column text table, such as `properties`. */
export function readTextPairs(database: SqliteDatabase, table: string): Map<ByteString, ByteString> {
  const columns = database.columns(table);
  const pairs = new Map<ByteString, ByteString>();
  const cursor = database.table(table);
  for (let more = cursor.first(); more; more = cursor.next()) {
    const key = columns.get('key');
    const value = columns.get('value');
    if (key === undefined || value === undefined) throw malformed(`table ${table} lacks key or value`);
    // Writers that bind numbers to a TEXT column of no affinity store integers.
    const row = cursor.record;
    pairs.set(
      row.text(key),
      row.isNumber(value) ? (String(row.number(value)) as ByteString) : row.text(value),
    );
  }
  return pairs;
}
