/** What a catalog as a whole has to keep to, after all of its rows have been seen; and what joins it to other catalogs. */

import type { ByteString } from '../bytes/byte-string.ts';
import { displayBytes } from '../bytes/utf8.ts';
import { parseContentHash } from '../content-hash.ts';
import type { SqliteDatabase } from '../sqlite/database.ts';
import type { CatalogRow, NestedReference } from './catalog-reader.ts';
import { COUNTER_NAMES, type CounterName, type Counters } from './counters.ts';
import { FLAG_CHUNKED, FLAG_DIRECTORY, FLAG_EXTERNAL, FLAG_SPECIAL, FLAG_SYMLINK } from './flags.ts';

export interface CheckedCatalog {
  readonly mountpoint: ByteString;
  /** What the parent catalog or the manifest says; 0 when unknown. */
  readonly expectedBytes: number;
  readonly sizeBytes: number;
  /** What the manifest or the tag says. */
  readonly revision?: number | undefined;
  readonly schemaRevision: number;
  readonly properties: ReadonlyMap<ByteString, ByteString>;
  readonly hasRoot: boolean;
  /** Rows that can be reached from the root. */
  readonly visited: number;
  /** Names of those that cannot; one empty name if none of them can be told. */
  readonly orphans: readonly ByteString[];
  readonly chunkRows: number;
  readonly counted: Counters;
  readonly statistics: ReadonlyMap<string, number>;
  readonly nested: readonly NestedReference[];
  readonly transitions: ReadonlyMap<ByteString, unknown>;
  readonly bindMountpoints: readonly NestedReference[];
  readonly bindDirectories: ReadonlySet<ByteString>;
}

export interface Complaint {
  /** The catalog's own where it is missing. */
  readonly path?: ByteString;
  readonly message: string;
}

export type CatalogRule = (catalog: CheckedCatalog) => Iterable<Complaint>;

/** Counters that came with a later revision of the schema. */
const COUNTER_SINCE: Partial<Record<CounterName, number>> = {
  xattr: 2,
  external: 3,
  external_file_size: 3,
  special: 5,
};

export const CATALOG_RULES = {
  properties: function* ({ properties, revision, schemaRevision }) {
    const value = (key: string) => properties.get(key as ByteString);
    const stored = value('revision');
    const isNeeded = schemaRevision >= 0;
    if (stored === undefined ? isNeeded : !/^\d+$/.test(stored))
      yield { message: `its revision is ${stored}` };
    else if (revision !== undefined && stored !== undefined && Number(stored) !== revision) {
      yield { message: `its revision is ${stored}, ${revision} expected` };
    }
    for (const key of ['TTL', 'last_modified']) {
      if (!/^\d*$/.test(value(key) ?? '')) yield { message: `its property ${key} is ${value(key)}` };
    }
    const previous = value('previous_revision') ?? '';
    if (previous !== '' && !isHash(previous)) yield { message: `its previous revision is ${previous}` };
  },

  'root-prefix': function* ({ properties, mountpoint }) {
    const prefix = properties.get('root_prefix' as ByteString) ?? '';
    if (prefix !== mountpoint)
      yield { message: `its root prefix is ${JSON.stringify(displayBytes(prefix))}` };
  },

  'catalog-size': function* ({ expectedBytes, sizeBytes }) {
    if (expectedBytes !== 0 && expectedBytes !== sizeBytes) {
      yield { message: `it has ${sizeBytes} bytes, ${expectedBytes} expected` };
    }
  },

  'catalog-root': function* ({ hasRoot }) {
    if (!hasRoot) yield { message: 'it has no entry for its root' };
  },

  orphans: function* ({ orphans }) {
    for (const name of orphans) {
      yield {
        message:
          name === ''
            ? 'entries cannot be reached from its root'
            : `entry ${JSON.stringify(displayBytes(name))} is in no directory`,
      };
    }
  },

  'chunk-rows': function* ({ chunkRows, counted }) {
    if (chunkRows !== counted.chunks) {
      yield { message: `it has ${chunkRows} chunks, and its chunked files have ${counted.chunks}` };
    }
  },

  'self-counters': function* ({ statistics, counted, schemaRevision }) {
    for (const name of COUNTER_NAMES) {
      const stored = statistics.get(`self_${name}`);
      const isNeeded = schemaRevision >= (COUNTER_SINCE[name] ?? 0);
      // Clients refuse a catalog without one of these.
      if (stored === undefined && isNeeded) yield { message: `there is no counter self_${name}` };
      if (stored !== undefined && stored !== counted[name]) {
        yield { message: `counter self_${name} is ${stored}, ${counted[name]} counted` };
      }
    }
  },

  'nested-registered': function* ({ transitions, nested, bindMountpoints, bindDirectories }) {
    yield* unmatched(transitions.keys(), nested, 'nested catalog');
    yield* unmatched(bindDirectories, bindMountpoints, 'bind mount point');
  },

  'nested-transition': function* ({ transitions, nested, bindMountpoints, bindDirectories }) {
    for (const { path } of nested) {
      if (!transitions.has(path))
        yield { path, message: 'a nested catalog has no directory that leads to it' };
    }
    for (const { path } of bindMountpoints) {
      if (!bindDirectories.has(path)) yield { path, message: 'a bind mount point has no directory' };
    }
  },
} as const satisfies Record<string, CatalogRule>;

/**
 * Compares the subtree counters of a catalog with the counters of the catalogs nested in it, each with what is below it;
 * counters that it does not have are those of an older schema, or reported as missing from its own.
 */
export function* checkSubtreeCounters(
  statistics: ReadonlyMap<string, number>,
  children: Iterable<ReadonlyMap<string, number>>,
): Iterable<Complaint> {
  const sums = new Map<string, number>();
  for (const child of children) {
    for (const name of COUNTER_NAMES) {
      const sum = (child.get(`self_${name}`) ?? 0) + (child.get(`subtree_${name}`) ?? 0);
      sums.set(name, (sums.get(name) ?? 0) + sum);
    }
  }
  for (const name of COUNTER_NAMES) {
    const stored = statistics.get(`subtree_${name}`);
    const counted = sums.get(name) ?? 0;
    const isNeeded = statistics.has(`self_${name}`);
    if (stored === undefined && isNeeded) yield { message: `there is no counter subtree_${name}` };
    if (stored !== undefined && stored !== counted) {
      yield { message: `counter subtree_${name} is ${stored}, its nested catalogs sum up to ${counted}` };
    }
  }
}

/** Adds a row to the counters of its catalog, except for its chunks. */
export function countRow(counters: Counters, row: CatalogRow): void {
  const { flags } = row;
  if ((flags & FLAG_DIRECTORY) !== 0) counters.dir++;
  else if ((flags & FLAG_SYMLINK) !== 0) counters.symlink++;
  else if ((flags & FLAG_SPECIAL) !== 0) counters.special++;
  else {
    counters.regular++;
    counters.file_size += row.sizeBytes;
    if ((flags & FLAG_CHUNKED) !== 0) {
      counters.chunked++;
      counters.chunked_size += row.sizeBytes;
    }
    if ((flags & FLAG_EXTERNAL) !== 0) {
      counters.external++;
      counters.external_file_size += row.sizeBytes;
    }
  }
  if (row.hasXattrs) counters.xattr++;
}

/** The statistics table as it is. */
export function readStatistics(database: SqliteDatabase): Map<string, number> {
  const statistics = new Map<string, number>();
  if (!database.hasTable('statistics')) return statistics;
  const columns = database.columns('statistics');
  const name = columns.get('counter') ?? 0;
  const value = columns.get('value') ?? 1;
  const cursor = database.table('statistics');
  for (let more = cursor.first(); more; more = cursor.next()) {
    statistics.set(cursor.record.text(name), cursor.record.number(value));
  }
  return statistics;
}

function* unmatched(
  paths: Iterable<ByteString>,
  references: readonly NestedReference[],
  what: string,
): Iterable<Complaint> {
  const registered = new Set(references.map(({ path }) => path));
  for (const path of paths) {
    if (!registered.has(path)) yield { path, message: `it is flagged as ${what}, and none is registered` };
  }
}

function isHash(text: string): boolean {
  try {
    parseContentHash(text);
    return true;
  } catch {
    // The question was whether it is one.
    return false;
  }
}
