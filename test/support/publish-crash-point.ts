/**
 * Loaded into a publisher by `--import`: kills the process, as a power switch would, at one of its file operations.
 * `CRASH_AT` is the number of that operation in its thread, from 1; 0 counts only, into the file `CRASH_COUNT`.
 */

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const OPERATIONS = [
  'closeSync',
  'fsyncSync',
  'linkSync',
  'mkdirSync',
  'mkdtempSync',
  'openSync',
  'readSync',
  'renameSync',
  'rmSync',
  'writeFileSync',
  'writeSync',
] as const;

const crashAt = Number(process.env['CRASH_AT'] ?? '0');
const countFile = process.env['CRASH_COUNT'];
let count = 0;

for (const name of OPERATIONS) {
  const original = fs[name] as (...args: unknown[]) => unknown;
  (fs as unknown as Record<string, unknown>)[name] = (...args: unknown[]) => {
    if (++count === crashAt) process.kill(process.pid, 'SIGKILL');
    return original(...args);
  };
}
syncBuiltinESMExports();

if (countFile !== undefined && isMainThread) {
  process.once('exit', () => fs.writeFileSync(countFile, String(count)));
}
