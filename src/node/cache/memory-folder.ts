/**
 * A cache in memory that both threads of a mount can read: a folder of this process alone on a file system in memory. It goes
 * with the process; what a killed one left is removed by the next.
 */

import { mkdirSync, rmSync, statfsSync } from 'node:fs';
import type { Log } from '../../core/ports.ts';
import { identityOf } from '../process-identity.ts';
import { FolderCache } from './folder-cache.ts';
import { namesIn } from './residents.ts';

/** Where Linux has memory as a folder for everybody. */
const MEMORY_FOLDERS = ['/dev/shm', '/run'];
const TMPFS_MAGIC = 0x0102_1994;
const RAMFS_MAGIC = 0x8584_58f6;
const NAME = /^thimble-cache-(\d+)-(\d+)$/;
/** A smaller one is not worth it. */
const MIN_BYTES = 16 * 1024 * 1024;
/** Of what is free there, this part is taken at most: others need memory as well. */
const MAX_PART = 0.5;

let made = 0;

/** `undefined` where there is no such file system, or too little room on it: less than a quarter of the limit, or 16 MiB. */
export function openMemoryFolder(
  limitBytes: number,
  log: Log,
  folders: readonly string[] = MEMORY_FOLDERS,
): FolderCache | undefined {
  for (const parent of folders) {
    const roomBytes = Math.min(limitBytes, freeMemory(parent) * MAX_PART);
    if (roomBytes < Math.max(Math.min(MIN_BYTES, limitBytes), limitBytes / 4)) continue;
    removeLeftovers(parent);
    const folder = `${parent}/thimble-cache-${process.pid}-${++made}`;
    try {
      // Fails if anything is there: nobody else can have prepared it.
      mkdirSync(folder, 0o700);
    } catch {
      continue;
    }
    return new MemoryFolder(folder, roomBytes, log);
  }
  return undefined;
}

class MemoryFolder extends FolderCache {
  constructor(folder: string, limitBytes: number, log: Log) {
    super(folder, { limitBytes, log });
  }

  override close(): void {
    super.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function freeMemory(folder: string): number {
  try {
    const { type, bavail, bsize } = statfsSync(folder);
    return type === TMPFS_MAGIC || type === RAMFS_MAGIC ? bavail * bsize : 0;
  } catch {
    return 0;
  }
}

function removeLeftovers(parent: string): void {
  for (const name of namesIn(parent)) {
    const pid = NAME.exec(name)?.[1];
    if (pid === undefined || identityOf(Number(pid)) !== undefined) continue;
    try {
      rmSync(`${parent}/${name}`, { recursive: true, force: true });
    } catch {
      // It belongs to another user.
    }
  }
}
