/**
 * Which objects go. Looking at all of them would take longer the more there are: a slice of the folder is looked at, and of that
 * the quarter that was used longest ago goes. Hashes are spread evenly, so each slice is a fair sample of all.
 */

import { statSync, unlinkSync } from 'node:fs';
import type { Usage } from './journal.ts';
import { namesIn } from './residents.ts';

/** Objects looked at in one go: 10 to 25 ms. */
const SLICE_OBJECTS = 2048;
/** Folders that objects are spread over, by the first byte of their hash. */
export const SHARDS = 256;
/** Part of a slice that goes, by bytes. */
const DROPPED_PART = 0.25;
/** Shards counted in one go by `count`. */
const COUNTED_SHARDS = 4;

interface CachedFile {
  readonly id: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly usedMs: number;
}

export interface Slice {
  /** How many of them it was. */
  readonly shards: number;
  readonly dropped: Usage;
  /** What the whole folder holds, if this slice was all of it. */
  readonly total: Usage | undefined;
}

export class Eviction {
  /** Folders with shards in them: `objects` and the suspects. */
  readonly #folders: () => readonly string[];
  #nextShard = Math.floor(Math.random() * SHARDS);

  constructor(folders: () => readonly string[]) {
    this.#folders = folders;
  }

  /** Drops objects of the next slice, but for pinned ones, until `wantedBytes` are free or its quarter is gone. */
  dropSlice(wantedBytes: number, pinned: ReadonlyMap<string, number>): Slice {
    const files: CachedFile[] = [];
    let shards = 0;
    while (shards < SHARDS && files.length < SLICE_OBJECTS) {
      files.push(...this.#shard(this.#nextShard));
      this.#nextShard = (this.#nextShard + 1) % SHARDS;
      shards++;
    }
    const isAll = shards === SHARDS;
    const total = totalOf(files);
    const most = isAll ? wantedBytes : Math.min(wantedBytes, total.bytes * DROPPED_PART);
    files.sort((a, b) => a.usedMs - b.usedMs);
    let [bytes, objects] = [0, 0];
    for (const { id, path, sizeBytes } of files) {
      if (bytes >= most) break;
      if (pinned.has(id) || !removed(path)) continue;
      bytes += sizeBytes;
      objects++;
    }
    return { shards, dropped: { bytes, objects }, total: isAll ? total : undefined };
  }

  /** Counts all, a little at a time; `undefined` if `isOver` says so meanwhile. Every id goes to `onId`. */
  async count(onId: (id: string) => void, isOver: () => boolean): Promise<Usage | undefined> {
    let [bytes, objects] = [0, 0];
    for (let shard = 0; shard < SHARDS; shard++) {
      if (shard % COUNTED_SHARDS === 0) await new Promise((resolve) => setImmediate(resolve));
      if (isOver()) return undefined;
      for (const { id, sizeBytes } of this.#shard(shard)) {
        bytes += sizeBytes;
        objects++;
        onId(id);
      }
    }
    return { bytes, objects };
  }

  /** The files of a shard; others may add and remove some meanwhile. */
  #shard(index: number): CachedFile[] {
    const shard = index.toString(16).padStart(2, '0');
    const found: CachedFile[] = [];
    for (const folder of this.#folders()) {
      for (const name of namesIn(`${folder}/${shard}`)) {
        const path = `${folder}/${shard}/${name}`;
        const stats = statSync(path, { throwIfNoEntry: false });
        if (stats === undefined) continue;
        found.push({ id: shard + name, path, sizeBytes: stats.size, usedMs: stats.mtimeMs });
      }
    }
    return found;
  }
}

function totalOf(files: readonly CachedFile[]): Usage {
  return { bytes: files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0), objects: files.length };
}

/** False if another process was faster. */
function removed(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
