/**
 * The reference log: every root-level object that a server holds, and since when (docs/format.md#reflog). It is where a
 * garbage collector learns what there is to sweep. An SQLite file, not compressed; `storage/reflog-writer.ts` writes it.
 */

import { decodeUtf8, displayBytes } from './bytes/utf8.ts';
import { type ContentHash, type ObjectType, parseContentHash } from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import { SqliteDatabase } from './sqlite/database.ts';

export const REFLOG_PATH = '.cvmfsreflog';
export const MAX_REFLOG_BYTES = 1024 * 1024 * 1024;

export type ReferenceType = 'catalog' | 'certificate' | 'history' | 'metainfo';

/** The position is the number in the database. */
export const REFERENCE_TYPES: readonly ReferenceType[] = ['catalog', 'certificate', 'history', 'metainfo'];

export const OBJECT_TYPE_OF: Readonly<Record<ReferenceType, ObjectType>> = {
  catalog: 'C',
  certificate: 'X',
  history: 'H',
  metainfo: 'M',
};

export interface Reference {
  readonly hash: ContentHash;
  readonly type: ReferenceType;
  /** When it was added on this server. */
  readonly timestampSeconds: number;
}

/** In the order of the table. Throws FORMAT, LIMIT. */
export function decodeReflog(bytes: Uint8Array): readonly Reference[] {
  const database = SqliteDatabase.open(bytes);
  const columns = database.columns('refs');
  const cursor = database.table('refs');
  const row = cursor.record;
  const column = (name: string) => columns.get(name) ?? Number.POSITIVE_INFINITY;
  const references: Reference[] = [];
  for (let more = cursor.first(); more; more = cursor.next()) {
    const hash = row.text(column('hash'));
    const type = REFERENCE_TYPES[row.number(column('type'))];
    if (type === undefined) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot read reference log: ${row.number(column('type'))} is no type of a reference`,
      );
    }
    references.push({
      hash: parseContentHash(decodeUtf8(hash) ?? displayBytes(hash), 'hash of a reference'),
      type,
      timestampSeconds: row.number(column('timestamp')),
    });
  }
  return references;
}
