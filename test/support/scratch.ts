/** Folders and mounts that a test makes and that are gone after it, also when it fails. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A test, or all tests of a file (`file-scope.ts`). */
interface Scope {
  after(clean: () => void): void;
}

/** An empty folder; what is mounted in it is unmounted before it goes. */
export function scratchFolder(t: Scope): string {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-test-'));
  t.after(() => {
    for (const mountpoint of mountsBelow(folder)) spawnSync('umount', ['-l', mountpoint]);
    // A process that ends just now may still write there.
    rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });
  return folder;
}

/** In memory where that is possible: each publish waits until its file system has written everything. */
export function memoryScratch(t: Scope, size = '256m'): string {
  const folder = scratchFolder(t);
  if (process.getuid?.() === 0) spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]);
  return folder;
}

/** Mount points at or below a folder, the deepest first. */
export function mountsBelow(folder: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path === folder || path.startsWith(`${folder}/`))
    .reverse();
}
