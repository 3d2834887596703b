/** One publisher at a time: a lock file that says who holds it, and that the death of its holder opens. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { ThimbleError } from '../core/errors.ts';
import { identityOf } from '../node/process-identity.ts';

/** Takes the lock and returns a function that gives it back. Throws CONFLICT, naming the holder. */
export function takeLock(path: string, what: string): () => void {
  mkdirSync(dirname(path), { recursive: true });
  const content = `${process.pid} ${hostname()} ${identityOf(process.pid) ?? ''}`;
  for (;;) {
    try {
      writeFileSync(path, content, { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new ThimbleError('STORAGE', `Cannot write lock file ${path}`, { cause: error });
      }
    }
    const held = readIfThere(path);
    if (held === undefined) continue;
    const [pid = '', host = '', ...identity] = held.split(' ');
    const isAlive = host !== hostname() || identityOf(Number(pid)) === identity.join(' ');
    if (isAlive) {
      throw new ThimbleError('CONFLICT', `Cannot change ${what}: process ${pid} on ${host} is changing it`, {
        hint: `wait for it to end; if that machine is gone for good, remove ${path}`,
      });
    }
    rmSync(path, { force: true });
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
