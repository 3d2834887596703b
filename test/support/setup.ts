/**
 * Loaded before every test file: a test that prints to the console fails, and what mounts remember outside of their caches is
 * not kept where those of the machine keep it.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'thimble-state-'));
process.env['THIMBLE_STATE'] ??= join(folder, 'run');
process.env['THIMBLE_DATA'] ??= join(folder, 'data');
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace'] as const) {
  console[method] = (...args: unknown[]) => {
    throw new Error(`A test printed to the console: console.${method}(${args.map(String).join(', ')})`);
  };
}
