/**
 * Objects that may be damaged: those of a time that ended without goodbye, or before the machine was started anew. Names of
 * files may survive a power cut which contents do not. So `objects` as a whole becomes `suspect/<n>`, one rename whatever its
 * size, and each object is compared with its line in `sums` when it is first asked for, and taken back or removed.
 */

import { closeSync, existsSync, openSync, renameSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { CacheId } from '../../client/cache.ts';
import { messageOf } from '../../core/errors.ts';
import type { Log } from '../../core/ports.ts';
import { makeFolder } from '../make-folder.ts';
import { shardedName } from './folder-reader.ts';
import { namesIn } from './residents.ts';
import { checksumOf, SumTable } from './sum-table.ts';

/** Objects that nobody asked for in so many times are not worth keeping. */
const MAX_GENERATIONS = 4;
/** So seldom is looked for new ones. */
const LOOK_AFTER_MS = 100;

export class Suspects {
  readonly #folder: string;
  readonly #log: Log;
  #generations: readonly string[] = [];
  #lookedMs = Number.NEGATIVE_INFINITY;
  #state = '';
  #sums: SumTable | undefined;

  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Folders of suspects, the youngest first. */
  get generations(): readonly string[] {
    // They are asked for with every object that is not here. Who misses one for a moment fetches it again.
    const nowMs = performance.now();
    if (nowMs - this.#lookedMs < LOOK_AFTER_MS) return this.#generations;
    this.#lookedMs = nowMs;
    const path = `${this.#folder}/suspect`;
    const state = stateOf(path);
    if (state !== this.#state) {
      this.#state = state;
      this.#generations = numbersIn(path).map((n) => `${path}/${n}`);
      // Whoever made a new one had the lines of it in `sums` before.
      this.#sums = undefined;
    }
    return this.#generations;
  }

  /** From now on, everything is. `temporary` is a name for what goes. */
  suspectEverything(temporary: string): void {
    this.#lookedMs = Number.NEGATIVE_INFINITY;
    const objects = `${this.#folder}/objects`;
    const numbers = numbersIn(`${this.#folder}/suspect`);
    const oldest = numbers[MAX_GENERATIONS - 1];
    try {
      if (namesIn(objects).length > 0) {
        renameSync(objects, `${this.#folder}/suspect/${(numbers[0] ?? 0) + 1}`);
        if (oldest !== undefined) this.#remove(`${this.#folder}/suspect/${oldest}`, temporary);
      }
    } catch (error) {
      // Another process that starts at this moment has moved them; nothing older than that is in `objects`.
      const { code = '' } = error as NodeJS.ErrnoException;
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(code)) throw error;
    }
    makeFolder(objects, 0o700);
  }

  /** Checks an object, and takes it back if it is whole. */
  acquit(id: CacheId): boolean {
    for (const generation of this.generations) {
      const path = `${generation}/${shardedName(id)}`;
      if (existsSync(path) && this.#acquit(id, path)) return true;
    }
    return false;
  }

  /** Removes an object, unchecked. Answers its size. */
  discard(id: CacheId): number | undefined {
    for (const generation of this.generations) {
      const path = `${generation}/${shardedName(id)}`;
      const stats = statSync(path, { throwIfNoEntry: false });
      if (stats === undefined) continue;
      rmSync(path, { force: true });
      return stats.size;
    }
    return undefined;
  }

  #acquit(id: CacheId, path: string): boolean {
    let fd: number | undefined;
    try {
      fd = openSync(path, 'r');
      this.#sums ??= SumTable.read(`${this.#folder}/sums`);
      if (!this.#sums.matches(id, checksumOf(fd))) {
        this.#log.warn('cached object is damaged, fetching it again', { id });
        unlinkSync(path);
        return false;
      }
      renameInto(path, `${this.#folder}/objects/${shardedName(id)}`);
      return true;
    } catch (error) {
      // Another process may have taken it, or the disk fails: either way it is fetched again.
      this.#log.warn('cached object cannot be checked', { id, error: messageOf(error) });
      return existsSync(`${this.#folder}/objects/${shardedName(id)}`);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  /** In the background: it may hold very many files. */
  #remove(path: string, temporary: string): void {
    renameSync(path, temporary);
    rm(temporary, { recursive: true, force: true }).catch((error: unknown) => {
      this.#log.warn('old cached objects cannot be removed', { error: messageOf(error) });
    });
  }
}

/** Changes when a folder gets another name in it. */
function stateOf(folder: string): string {
  try {
    const { mtimeMs, nlink } = statSync(folder);
    return `${mtimeMs} ${nlink}`;
  } catch {
    // On a disk that fails nothing is acquitted.
    return '';
  }
}

/** Highest first. */
function numbersIn(folder: string): number[] {
  return namesIn(folder)
    .map(Number)
    .filter((n) => n > 0)
    .sort((a, b) => b - a);
}

export function renameInto(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    makeFolder(dirname(to), 0o700);
    renameSync(from, to);
  }
}
