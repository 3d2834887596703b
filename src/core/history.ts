/** The tag database of a repository, read-only (docs/format.md#history). */

import type { ByteString, Bytes } from './bytes/byte-string.ts';
import { decodeUtf8, displayBytes } from './bytes/utf8.ts';
import { type ContentHash, NULL_HASH, parseContentHash } from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import { readTextPairs, SqliteDatabase } from './sqlite/database.ts';

export interface Tag {
  readonly name: string;
  readonly rootCatalog: ContentHash;
  readonly rootCatalogSizeBytes: number;
  readonly revision: number;
  readonly timestampSeconds: number;
  readonly description: string;
  /** Empty on the trunk. */
  readonly branch: string;
}

export interface Branch {
  /** Empty for the trunk. */
  readonly name: string;
  /** `undefined` for the trunk alone. */
  readonly parent: string | undefined;
  readonly initialRevision: number;
}

/** All that a history without branches has. */
export const TRUNK_BRANCH: Branch = { name: '', parent: undefined, initialRevision: 0 };

export interface History {
  readonly fqrn: string;
  readonly previousRevision: ContentHash | undefined;
  /** Newest first. */
  readonly tags: readonly Tag[];
  /** Parents first. */
  readonly branches: readonly Branch[];
}

/** Of a repository without tags. */
export function emptyHistory(fqrn: string): History {
  return { fqrn, previousRevision: undefined, tags: [], branches: [TRUNK_BRANCH] };
}

export const MAX_HISTORY_BYTES = 2 ** 28;
/** Maintained on each publish; they name the newest revision and the one before. */
export const TRUNK = 'trunk';
export const TRUNK_PREVIOUS = 'trunk-previous';

export function isMaintainedTag({ name }: Pick<Tag, 'name'>): boolean {
  return name === TRUNK || name === TRUNK_PREVIOUS;
}

/** Throws FORMAT, UNSUPPORTED. */
export function decodeHistory(file: Bytes): History {
  const database = SqliteDatabase.open(file);
  const properties = readTextPairs(database, 'properties');
  const schema = properties.get('schema' as ByteString);
  if (!(Math.abs(Number(schema) - 1) < 0.01)) {
    throw new ThimbleError('UNSUPPORTED', `Cannot open history: its schema is ${schema}, 1.0 is known`);
  }
  return {
    fqrn: properties.get('fqrn' as ByteString) ?? '',
    previousRevision: previousHash(properties.get('previous_revision' as ByteString)),
    tags: readTags(database).sort(
      (a, b) =>
        b.timestampSeconds - a.timestampSeconds || b.revision - a.revision || (a.name < b.name ? -1 : 1),
    ),
    branches: readBranches(database),
  };
}

/** The first history has none, or zeros. */
function previousHash(text: string | undefined): ContentHash | undefined {
  return text && text !== NULL_HASH ? parseContentHash(text, 'previous history') : undefined;
}

function readBranches(database: SqliteDatabase): Branch[] {
  // Histories of before revision 3 have none.
  if (!database.hasTable('branches')) return [TRUNK_BRANCH];
  const columns = database.columns('branches');
  const cursor = database.table('branches');
  const row = cursor.record;
  const column = (name: string) => columns.get(name) ?? Number.POSITIVE_INFINITY;
  const text = (name: string) => {
    const bytes = row.text(column(name));
    return decodeUtf8(bytes) ?? displayBytes(bytes);
  };
  const branches: Branch[] = [];
  for (let more = cursor.first(); more; more = cursor.next()) {
    branches.push({
      name: text('branch'),
      parent: row.isNull(column('parent')) ? undefined : text('parent'),
      initialRevision: row.number(column('initial_revision')),
    });
  }
  return branches;
}

function readTags(database: SqliteDatabase): Tag[] {
  const columns = database.columns('tags');
  const cursor = database.table('tags');
  const row = cursor.record;
  const text = (name: string) => {
    const bytes = row.text(columns.get(name) ?? Number.POSITIVE_INFINITY);
    return decodeUtf8(bytes) ?? displayBytes(bytes);
  };
  const number = (name: string) => row.number(columns.get(name) ?? Number.POSITIVE_INFINITY);
  const tags: Tag[] = [];
  for (let more = cursor.first(); more; more = cursor.next()) {
    tags.push({
      name: text('name'),
      rootCatalog: parseContentHash(text('hash'), 'hash of a tag'),
      rootCatalogSizeBytes: number('size'),
      revision: number('revision'),
      timestampSeconds: number('timestamp'),
      description: text('description'),
      branch: text('branch'),
    });
  }
  return tags;
}

/** Throws NOT_FOUND, naming the newest tags. */
export function findTag(history: History, name: string): Tag {
  const tag = history.tags.find((candidate) => candidate.name === name);
  if (tag !== undefined) return tag;
  const known = history.tags.slice(0, 8).map((candidate) => candidate.name);
  throw new ThimbleError('NOT_FOUND', `Cannot find tag ${JSON.stringify(name)} in ${history.fqrn}`, {
    hint: known.length === 0 ? 'the repository has no tags' : `the newest tags are ${known.join(', ')}`,
  });
}

/** The trunk tag with the highest revision that is not younger than `seconds`. Throws NOT_FOUND. */
export function findTagByDate(history: History, seconds: number): Tag {
  let best: Tag | undefined;
  let oldestSeconds = Number.POSITIVE_INFINITY;
  for (const tag of history.tags) {
    if (tag.branch !== '') continue;
    oldestSeconds = Math.min(oldestSeconds, tag.timestampSeconds);
    if (tag.timestampSeconds > seconds) continue;
    if (best === undefined || tag.revision > best.revision) best = tag;
  }
  if (best !== undefined) return best;
  throw new ThimbleError(
    'NOT_FOUND',
    `Cannot find a snapshot of ${history.fqrn} that is as old as ${formatDate(seconds)}`,
    {
      hint:
        oldestSeconds === Number.POSITIVE_INFINITY
          ? 'the repository has no tags'
          : `the oldest is of ${formatDate(oldestSeconds)}`,
    },
  );
}

/** What `Date` can hold, in seconds. */
const MAX_DATE_SECONDS = 8.64e12;

function formatDate(seconds: number): string {
  if (!(Math.abs(seconds) <= MAX_DATE_SECONDS)) return `${seconds} seconds after 1970`;
  return new Date(seconds * 1000).toISOString().replace('.000', '');
}
