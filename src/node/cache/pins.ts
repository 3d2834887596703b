/**
 * Objects that are not dropped, whatever room is needed. Each is a line of id and bytes in a file of `pins`: `kept` for those
 * that somebody wants to keep, and one file for each process that uses the cache, with what its mounts cannot do without. All
 * processes see them; a file whose process is gone counts for nothing.
 */

import { appendFileSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { CacheId, PinnedObject } from '../../client/cache.ts';
import { isResident, namesIn } from './residents.ts';

const KEPT = 'kept';

export class Pins {
  readonly #folder: string;
  readonly #resident: string;
  readonly #held = new Set<CacheId>();
  /** Of what this process holds. */
  heldBytes = 0;
  /** All that are pinned, by id, as they were when the files had `#state`. */
  #pinned = new Map<string, number>();
  #state = '';

  constructor(folder: string, resident: string) {
    this.#folder = `${folder}/pins`;
    this.#resident = resident;
  }

  /** All pinned objects and their bytes. Throws what `node:fs` throws. */
  all(): ReadonlyMap<string, number> {
    const names = namesIn(this.#folder).filter((name) => name === KEPT || this.#isAlive(name));
    const state = names.map((name) => `${name} ${this.#stateOf(name)}`).join('\n');
    if (state === this.#state) return this.#pinned;
    this.#pinned = new Map();
    for (const name of names) for (const [id, sizeBytes] of this.#read(name)) this.#pinned.set(id, sizeBytes);
    this.#state = state;
    return this.#pinned;
  }

  get bytes(): number {
    let sum = 0;
    for (const sizeBytes of this.all().values()) sum += sizeBytes;
    return sum;
  }

  /** Until `release`, or the end of this process. */
  hold({ id, sizeBytes }: PinnedObject): void {
    if (this.#held.has(id)) return;
    appendFileSync(`${this.#folder}/${this.#resident}`, `${id} ${sizeBytes}\n`, { mode: 0o600 });
    this.#held.add(id);
    this.heldBytes += sizeBytes;
  }

  /** Until `unkeep`. */
  keep(objects: readonly PinnedObject[]): void {
    const kept = this.#read(KEPT);
    for (const { id, sizeBytes } of objects) kept.set(id, sizeBytes);
    this.#writeKept(kept);
  }

  unkeep(ids: Iterable<CacheId>): void {
    const kept = this.#read(KEPT);
    for (const id of ids) kept.delete(id);
    this.#writeKept(kept);
  }

  release(): void {
    rmSync(`${this.#folder}/${this.#resident}`, { force: true });
    this.#held.clear();
    this.heldBytes = 0;
  }

  #isAlive(name: string): boolean {
    return name === this.#resident || isResident(`${this.#folder}/..`, name);
  }

  #stateOf(name: string): string {
    const stats = statSync(`${this.#folder}/${name}`, { throwIfNoEntry: false });
    return `${stats?.ino} ${stats?.size}`;
  }

  #read(name: string): Map<string, number> {
    const pinned = new Map<string, number>();
    let text: string;
    try {
      text = readFileSync(`${this.#folder}/${name}`, 'latin1');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return pinned;
      throw error;
    }
    for (const line of text.split('\n')) {
      const space = line.indexOf(' ');
      const sizeBytes = Number(line.slice(space + 1));
      if (space > 0 && Number.isSafeInteger(sizeBytes)) pinned.set(line.slice(0, space), sizeBytes);
    }
    return pinned;
  }

  #writeKept(kept: ReadonlyMap<string, number>): void {
    const temporary = `${this.#folder}/../tmp/${this.#resident}-kept`;
    const text = [...kept].map(([id, sizeBytes]) => `${id} ${sizeBytes}\n`).join('');
    writeFileSync(temporary, text, { mode: 0o600 });
    renameSync(temporary, `${this.#folder}/${KEPT}`);
  }
}
