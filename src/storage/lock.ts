/** One publisher at a time: a lock file that says who holds it, and that the death of its holder opens. */

import { linkSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { ThimbleError } from '../core/errors.ts';
import { identityOf } from '../node/process-identity.ts';

/** Takes the lock and returns a function that gives it back. Throws CONFLICT, naming the holder; STORAGE. */
export function takeLock(path: string, what: string): () => void {
  const own = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(own, `${process.pid} ${hostname()} ${identityOf(process.pid) ?? ''}`);
    try {
      // A link appears with its content: nobody reads a lock that does not yet say whose it is.
      while (!link(own, path)) makeRoom(path, own, what);
    } finally {
      rmSync(own, { force: true });
    }
    removeLeftovers(path);
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('STORAGE', `Cannot write lock file ${path}`, { cause: error });
  }
  return () => rmSync(path, { force: true });
}

/** Removes the lock of a dead process. Throws CONFLICT if its holder is alive. */
function makeRoom(path: string, own: string, what: string): void {
  const held = readIfThere(path);
  if (held === undefined) return;
  const [pid = '', host = '', ...identity] = held.split(' ');
  const isAlive = held !== '' && (host !== hostname() || identityOf(Number(pid)) === identity.join(' '));
  if (isAlive) {
    throw new ThimbleError('CONFLICT', `Cannot change ${what}: process ${pid} on ${host} is changing it`, {
      hint: `wait for it to end; if that machine is gone for good, remove ${path}`,
    });
  }
  const stale = `${own}.stale`;
  try {
    renameSync(path, stale);
    // Another may have been faster, and this is its lock.
    if (readIfThere(stale) !== held) link(stale, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  } finally {
    rmSync(stale, { force: true });
  }
}

/** Removes what processes of this machine left that were killed while they took the lock. */
function removeLeftovers(path: string): void {
  for (const name of readdirSync(dirname(path))) {
    if (!name.startsWith(`${basename(path)}.`)) continue;
    const [, pid] = /^(\d+)(?:\.stale)?$/.exec(name.slice(basename(path).length + 1)) ?? [];
    if (pid === undefined || identityOf(Number(pid)) !== undefined) continue;
    const file = join(dirname(path), name);
    const [, host = hostname()] = (readIfThere(file) ?? '').split(' ');
    if (host === hostname()) rmSync(file, { force: true });
  }
}

/** False if there is a file at `path` already. */
function link(file: string, path: string): boolean {
  try {
    linkSync(file, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new ThimbleError('STORAGE', `Cannot read lock file ${path}`, { cause: error });
  }
}
