/**
 * Checks one catalog by itself: every row, every directory, and the catalog as a whole, against the rules of
 * `check-entry.ts` and those below (docs/manual/check.md). What joins it to other catalogs is handed back.
 */

import type { ByteString, Bytes } from '../bytes/byte-string.ts';
import type { ContentHash } from '../content-hash.ts';
import { messageOf } from '../errors.ts';
import { baseName, NO_PARENT, type PathKey, parentPath, pathKeyOf } from '../path-key.ts';
import type { Hashing } from '../ports.ts';
import { SqliteDatabase } from '../sqlite/database.ts';
import { S_IFMT, S_IFREG } from '../vfs.ts';
import { CatalogReader, type CatalogRow, isLegacySchema, type NestedReference } from './catalog-reader.ts';
import {
  type CheckedDirectory,
  DIRECTORY_RULES,
  differencesOf,
  ENTRY_RULES,
  type EntryFacts,
  factsOf,
  type HardlinkGroup,
  MARKER_NAME,
} from './check-entry.ts';
import {
  CATALOG_RULES,
  type CatalogRule,
  type CheckedCatalog,
  countRow,
  readStatistics,
} from './check-whole.ts';
import { type Counters, zeroCounters } from './counters.ts';
import {
  type Compression,
  FLAG_BIND_MOUNTPOINT,
  FLAG_CHUNKED,
  FLAG_DIRECTORY,
  FLAG_EXTERNAL,
  FLAG_NESTED_MOUNTPOINT,
  FLAG_NESTED_ROOT,
} from './flags.ts';

/** Content that a catalog refers to. */
export interface ReferencedObject {
  readonly hash: ContentHash;
  readonly type: '' | 'P';
  /** Inflated. */
  readonly sizeBytes: number;
  readonly compression: Compression;
  /** The first entry that has this content. */
  readonly path: ByteString;
}

/** What is known of a catalog from outside. */
export interface ExpectedCatalog {
  /** Absolute path; empty for a root catalog. */
  readonly mountpoint: ByteString;
  /** Of the inflated file; 0 when unknown. */
  readonly sizeBytes: number;
  readonly revision?: number | undefined;
}

export interface CatalogCheckPorts {
  readonly hashing: Hashing;
  readonly report: (rule: string, path: ByteString, message: string) => void;
  readonly onObject: (object: ReferencedObject) => void;
}

/** What other catalogs have to agree with. */
export interface CatalogSummary {
  readonly rows: number;
  /** As stored; a counter that the catalog does not have is missing. */
  readonly statistics: ReadonlyMap<string, number>;
  readonly root: EntryFacts | undefined;
  readonly nested: readonly NestedReference[];
  /** The rows of this catalog where nested ones begin, by path. */
  readonly transitions: ReadonlyMap<ByteString, EntryFacts>;
}

/** Checks a catalog's inflated bytes. `undefined`, with a finding, if it cannot be read at all. */
export function checkCatalog(
  file: Bytes,
  expected: ExpectedCatalog,
  ports: CatalogCheckPorts,
): CatalogSummary | undefined {
  try {
    const database = SqliteDatabase.open(file);
    return new CatalogWalk(database, new CatalogReader(database), expected, ports).check(file.length);
  } catch (error) {
    ports.report('catalog-format', expected.mountpoint, messageOf(error));
    return undefined;
  }
}

/** What other catalogs have to agree with, without a check of its own. Throws FORMAT, LIMIT, UNSUPPORTED. */
export function summarizeCatalog(
  file: Bytes,
  mountpoint: ByteString,
  hashing: Hashing,
): Pick<CatalogSummary, 'root' | 'statistics'> {
  const database = SqliteDatabase.open(file);
  const reader = new CatalogReader(database);
  const root = reader.find(pathKeyOf(hashing, mountpoint)) ? factsOf(reader.row) : undefined;
  return { root, statistics: readStatistics(database) };
}

/** Schemas before 2.4 are older than all revisions: perhaps without link counts and counters. */
const LEGACY_REVISION = -1;

interface PendingDirectory {
  readonly path: ByteString;
  readonly linkCount: number;
  readonly flags: number;
}

class CatalogWalk {
  readonly #database: SqliteDatabase;
  readonly #reader: CatalogReader;
  readonly #expected: ExpectedCatalog;
  readonly #ports: CatalogCheckPorts;
  readonly #schemaRevision: number;
  readonly #counted: Counters = zeroCounters();
  readonly #transitions = new Map<ByteString, EntryFacts>();
  readonly #bindMountpoints = new Set<ByteString>();
  readonly #directoryOfGroup = new Map<number, ByteString>();
  readonly #pending: PendingDirectory[] = [];
  #hasBrokenChunks = false;
  #root: EntryFacts | undefined;
  #visited = 0;

  constructor(
    database: SqliteDatabase,
    reader: CatalogReader,
    expected: ExpectedCatalog,
    ports: CatalogCheckPorts,
  ) {
    this.#database = database;
    this.#reader = reader;
    this.#expected = expected;
    this.#ports = ports;
    const revision = reader.properties.get('schema_revision' as ByteString) ?? '0';
    this.#schemaRevision = isLegacySchema(reader.properties) ? LEGACY_REVISION : Number(revision);
  }

  check(sizeBytes: number): CatalogSummary {
    this.#checkRoot();
    for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) {
      this.#checkDirectory(next);
    }
    const statistics = readStatistics(this.#database);
    const chunkRows = this.#chunkRows();
    // What is wrong with chunks has been said already.
    if (this.#hasBrokenChunks) this.#counted.chunks = chunkRows;
    const catalog: CheckedCatalog = {
      ...this.#expected,
      expectedBytes: this.#expected.sizeBytes,
      sizeBytes,
      schemaRevision: this.#schemaRevision,
      properties: this.#reader.properties,
      hasRoot: this.#root !== undefined,
      visited: this.#visited,
      orphans: this.#orphans(),
      chunkRows,
      counted: { ...this.#counted, nested: this.#reader.nested.length },
      statistics,
      nested: this.#reader.nested,
      transitions: this.#transitions,
      bindMountpoints: this.#reader.bindMountpoints,
      bindDirectories: this.#bindMountpoints,
    };
    for (const [rule, check] of Object.entries<CatalogRule>(CATALOG_RULES)) {
      for (const { path = this.#expected.mountpoint, message } of check(catalog)) {
        this.#ports.report(rule, path, message);
      }
    }
    const { nested } = this.#reader;
    return { rows: this.#visited, statistics, root: this.#root, nested, transitions: this.#transitions };
  }

  #checkRoot(): void {
    const { mountpoint } = this.#expected;
    const key = this.#key(mountpoint);
    const root = { path: mountpoint, linkCount: 0, flags: FLAG_DIRECTORY | FLAG_NESTED_ROOT };
    if (!this.#reader.find(key)) {
      this.#pending.push(root);
      return;
    }
    const { row } = this.#reader;
    this.#checkEntry(row, mountpoint, key, mountpoint === '' ? NO_PARENT : this.#key(parentPath(mountpoint)));
    if (mountpoint !== '' && row.name !== baseName(mountpoint)) {
      this.#ports.report('name', mountpoint, `its name is ${JSON.stringify(row.name)}`);
    }
    this.#root = factsOf(row);
    // Whatever its flags say, it is the root.
    this.#pending.push({ ...root, linkCount: row.linkCount });
  }

  #checkDirectory({ path, linkCount, flags }: PendingDirectory): void {
    const key = this.#key(path);
    const isRoot = path === this.#expected.mountpoint;
    const names = new Set<ByteString>();
    const repeatedNames: ByteString[] = [];
    const groups = new Map<number, HardlinkGroup>();
    let subdirectories = 0;
    let entries = 0;
    let hasMarker = false;
    this.#reader.children(key, 0, (row) => {
      const { name } = row;
      const childPath = `${path}/${name}` as ByteString;
      entries++;
      this.#checkEntry(row, childPath, this.#key(childPath), key);
      this.#addToGroup(groups, row, path);
      const isDirectory = (row.flags & FLAG_DIRECTORY) !== 0;
      if (isDirectory) subdirectories++;
      if (name === MARKER_NAME && (row.mode & S_IFMT) === S_IFREG) hasMarker = true;
      if (names.has(name)) repeatedNames.push(name);
      else if (isDirectory) {
        this.#pending.push({
          path: childPath,
          linkCount: row.linkCount,
          flags: row.flags & ~FLAG_NESTED_ROOT,
        });
      }
      names.add(name);
      return true;
    });
    const directory: CheckedDirectory = {
      hasLinkCounts: this.#schemaRevision !== LEGACY_REVISION,
      linkCount,
      isNestedRoot: isRoot && path !== '',
      isRepositoryRoot: path === '',
      isElsewhere: (flags & (FLAG_NESTED_MOUNTPOINT | FLAG_BIND_MOUNTPOINT)) !== 0,
      entries,
      subdirectories,
      hasMarker,
      repeatedNames,
      groups,
    };
    if (isRoot && this.#root === undefined) return;
    for (const [rule, check] of Object.entries(DIRECTORY_RULES)) {
      const message = check(directory);
      if (message !== undefined) this.#ports.report(rule, path, message);
    }
  }

  #checkEntry(row: CatalogRow, path: ByteString, key: PathKey, parentKey: PathKey): void {
    this.#visited++;
    const isCatalogRoot = path === this.#expected.mountpoint;
    const entry = {
      row,
      key,
      parentKey,
      isCatalogRoot,
      isRepositoryRoot: path === '',
      schemaRevision: this.#schemaRevision,
    };
    for (const [rule, check] of Object.entries(ENTRY_RULES)) {
      const message = check(entry);
      if (message !== undefined) this.#ports.report(rule, path, message);
    }
    const { flags } = row;
    countRow(this.#counted, row);
    if (!isCatalogRoot && (flags & FLAG_NESTED_MOUNTPOINT) !== 0) this.#transitions.set(path, factsOf(row));
    if ((flags & FLAG_BIND_MOUNTPOINT) !== 0) this.#bindMountpoints.add(path);
    this.#checkContent(row, path);
  }

  /** Hands on what holds the content of a regular file, and compares its chunks with its size. */
  #checkContent(row: CatalogRow, path: ByteString): void {
    const { flags, sizeBytes } = row;
    if ((row.mode & S_IFMT) !== S_IFREG) return;
    const isExternal = (flags & FLAG_EXTERNAL) !== 0;
    try {
      const { compression, hash } = row;
      if (hash !== undefined && !isExternal) {
        this.#ports.onObject({ hash, type: '', sizeBytes, compression, path });
      }
      if ((flags & FLAG_CHUNKED) === 0) return;
      const chunks = this.#reader.chunks(row.key(new Int32Array(4)), sizeBytes, flags);
      this.#counted.chunks += chunks.length;
      if (isExternal) return;
      for (const chunk of chunks) this.#ports.onObject({ ...chunk, type: 'P', compression, path });
    } catch (error) {
      // Without chunks it can only be a hash, which has a rule of its own.
      if ((flags & FLAG_CHUNKED) === 0) return;
      this.#hasBrokenChunks = true;
      this.#ports.report('chunks', path, messageOf(error));
    }
  }

  #addToGroup(groups: Map<number, HardlinkGroup>, row: CatalogRow, path: ByteString): void {
    const id = row.hardlinkGroup;
    if (id === 0) return;
    const facts = factsOf(row);
    const group = groups.get(id);
    if (group === undefined) {
      const isElsewhere = this.#directoryOfGroup.has(id);
      this.#directoryOfGroup.set(id, path);
      groups.set(id, { first: facts, count: 1, differences: new Set(), isElsewhere });
      return;
    }
    group.count++;
    for (const field of differencesOf(group.first, facts)) group.differences.add(field);
  }

  /** Entries whose directory is not there; looked for only where some were not visited. */
  #orphans(): ByteString[] {
    let rows = 0;
    this.#reader.entries(() => void rows++);
    if (rows === this.#visited) return [];
    const other = new CatalogReader(this.#database);
    const parent: PathKey = new Int32Array(4);
    const orphans: ByteString[] = [];
    this.#reader.entries((row) => {
      const hasParent = other.find(row.parentKey(parent)) && (other.row.flags & FLAG_DIRECTORY) !== 0;
      if (!hasParent && !row.hasParent(NO_PARENT)) orphans.push(row.name);
    });
    return orphans.length > 0 ? orphans : ['' as ByteString];
  }

  #chunkRows(): number {
    let rows = 0;
    if (!this.#database.hasTable('chunks')) return rows;
    const cursor = this.#database.table('chunks');
    for (let more = cursor.first(); more; more = cursor.next()) rows++;
    return rows;
  }

  #key(path: ByteString): PathKey {
    return pathKeyOf(this.#ports.hashing, path);
  }
}
