/** Files that hold what is expected byte by byte. `UPDATE_GOLDEN=1` writes them anew; the diff is for the reviewer. */

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../golden/', import.meta.url));

export function assertGolden(name: string, actual: string): void {
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(FOLDER + name, actual);
  assert.equal(actual, readFileSync(FOLDER + name, 'utf8'));
}
