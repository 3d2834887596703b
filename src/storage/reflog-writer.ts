/** Writes the reference log (docs/format.md#reflog); `core/reflog.ts` reads it. */

import type { ContentHash } from '../core/content-hash.ts';
import { decodeReflog, REFERENCE_TYPES, type Reference, type ReferenceType } from '../core/reflog.ts';
import { encodeDatabase } from './sqlite-file.ts';

export interface ReflogChange {
  /** Those that are there already keep their time; others get that of the change, unless they have one. */
  readonly added?: readonly {
    readonly hash: ContentHash;
    readonly type: ReferenceType;
    readonly timestampSeconds?: number;
  }[];
  readonly removed?: readonly Pick<Reference, 'hash'>[];
  readonly timestampSeconds: number;
}

/**
 * The reference log with a change; `existing` is its present content, if there is one. `temporary` is a path that may be
 * used meanwhile. Throws STORAGE.
 */
export function encodeReflog(
  fqrn: string,
  existing: Uint8Array | undefined,
  { added = [], removed = [], timestampSeconds }: ReflogChange,
  temporary: string,
): Uint8Array {
  const bytes = encodeDatabase(
    temporary,
    (database) => {
      database.exec(`
        CREATE TABLE IF NOT EXISTS properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
        CREATE TABLE IF NOT EXISTS refs (hash TEXT, type INTEGER, timestamp INTEGER,
          CONSTRAINT pk_refs PRIMARY KEY (hash));
        INSERT OR IGNORE INTO properties VALUES ('schema', '1.0'), ('schema_revision', '0');
      `);
      database.prepare('INSERT OR IGNORE INTO properties VALUES (?, ?)').run('fqrn', fqrn);
      const remove = database.prepare('DELETE FROM refs WHERE hash = ?');
      for (const { hash } of removed) remove.run(hash);
      const insert = database.prepare('INSERT OR IGNORE INTO refs VALUES (?, ?, ?)');
      for (const one of added) {
        insert.run(one.hash, REFERENCE_TYPES.indexOf(one.type), one.timestampSeconds ?? timestampSeconds);
      }
    },
    existing,
  );
  decodeReflog(bytes);
  return bytes;
}
