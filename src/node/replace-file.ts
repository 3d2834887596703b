import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { ThimbleError } from '../core/errors.ts';

/** Writes a small file whole or not at all; it is on the disk when this returns. Throws STORAGE. */
export function replaceFile(path: string, text: string): void {
  try {
    const temporary = `${path}.${process.pid}`;
    const fd = openSync(temporary, 'w', 0o600);
    try {
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot write ${path}`, { cause: error });
  }
}

function syncFolder(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
