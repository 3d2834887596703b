/** Makes SQLite files: in a temporary file, since Node's SQLite has no other way that all its versions know. */

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { ThimbleError } from '../core/errors.ts';

const PAGE_BYTES = 4096;
/** READONLY, IOERR, FULL and CANTOPEN of sqlite3.h: failures of the disk, all others are ours. */
const DISK_FAILURES = new Set([8, 10, 13, 14]);

/**
 * The bytes of a database that `fill` fills, beginning with `existing`. `temporary` is a path that may be used meanwhile.
 * Throws STORAGE if nothing can be written there.
 */
export function encodeDatabase(
  temporary: string,
  fill: (database: DatabaseSync) => void,
  existing?: Uint8Array,
): Uint8Array {
  try {
    rmSync(temporary, { force: true });
    if (existing !== undefined) writeFileSync(temporary, existing);
    const database = new DatabaseSync(temporary);
    try {
      // The file is scratch until it is read back whole: no journal, no waiting for the disk.
      database.exec(
        `PRAGMA page_size = ${PAGE_BYTES}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN`,
      );
      fill(database);
      database.exec('COMMIT');
    } finally {
      database.close();
    }
    const bytes = readFileSync(temporary);
    rmSync(temporary);
    return bytes;
  } catch (error) {
    throw isDiskFailure(error)
      ? new ThimbleError('STORAGE', `Cannot write temporary file ${temporary}`, { cause: error })
      : error;
  }
}

function isDiskFailure(error: unknown): boolean {
  const { syscall, errcode } = error as { syscall?: string; errcode?: number };
  // Extended codes carry the plain one in their low byte.
  return syscall !== undefined || (errcode !== undefined && DISK_FAILURES.has(errcode & 0xff));
}
