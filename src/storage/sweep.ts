/** Deletes objects, and counts what they were; or only counts. */

import type { ObjectType } from '../core/content-hash.ts';
import { inParallel } from './in-parallel.ts';
import { parseObjectPath } from './object-set.ts';
import type { Storage } from './storage.ts';

export type ObjectKind = 'files' | 'chunks' | 'catalogs' | 'histories' | 'certificates' | 'metainfo';

const KIND_OF: Readonly<Record<ObjectType, ObjectKind>> = {
  '': 'files',
  P: 'chunks',
  C: 'catalogs',
  H: 'histories',
  X: 'certificates',
  M: 'metainfo',
};

export interface Count {
  objects: number;
  /** As stored. */
  bytes: number;
}

export interface SweepCounts extends Readonly<Count> {
  readonly kinds: Readonly<Record<ObjectKind, Readonly<Count>>>;
}

/** Asked for, and deleted, at a time. */
const BATCH = 128;

export class Sweep {
  readonly #storage: Storage;
  readonly #isDry: boolean;
  readonly #onProgress: (objects: number) => void;
  readonly #total: Count = { objects: 0, bytes: 0 };
  readonly #kinds: Record<ObjectKind, Count> = {
    files: { objects: 0, bytes: 0 },
    chunks: { objects: 0, bytes: 0 },
    catalogs: { objects: 0, bytes: 0 },
    histories: { objects: 0, bytes: 0 },
    certificates: { objects: 0, bytes: 0 },
    metainfo: { objects: 0, bytes: 0 },
  };
  /** What a power cut might bring back. */
  #unsafe: 'nothing' | 'catalogs' | 'objects' = 'nothing';

  constructor(storage: Storage, isDry: boolean, onProgress: (objects: number) => void = () => {}) {
    this.#storage = storage;
    this.#isDry = isDry;
    this.#onProgress = onProgress;
  }

  get counts(): SweepCounts {
    return { ...this.#total, kinds: this.#kinds };
  }

  /** In the order given; what is not there is passed over. Throws STORAGE. */
  async run(paths: Iterable<string> | AsyncIterable<string>): Promise<void> {
    let batch: string[] = [];
    for await (const path of paths) {
      batch.push(path);
      if (batch.length < BATCH) continue;
      await this.#sweep(batch);
      batch = [];
    }
    await this.#sweep(batch);
  }

  /** Returns when what was deleted stays so after a power cut. Throws STORAGE. */
  async flush(): Promise<void> {
    if (this.#unsafe !== 'nothing') await this.#storage.flush();
    this.#unsafe = 'nothing';
  }

  async #sweep(paths: readonly string[]): Promise<void> {
    const sizes = new Map<string, number>();
    await inParallel(paths, this.#storage.parallel, async (path) => {
      const sizeBytes = await this.#storage.size(path);
      if (sizeBytes !== undefined) sizes.set(path, sizeBytes);
    });
    if (!this.#isDry) await this.#remove(paths.filter((path) => sizes.has(path)));
    for (const [path, sizeBytes] of sizes) this.#count(path, sizeBytes);
    this.#onProgress(this.#total.objects);
  }

  async #remove(paths: readonly string[]): Promise<void> {
    const isCatalog = (path: string) => path.endsWith('C');
    // One by one, since their order counts.
    for (const path of paths.filter(isCatalog)) {
      await this.#storage.remove([path]);
      this.#unsafe = 'catalogs';
    }
    const others = paths.filter((path) => !isCatalog(path));
    if (others.length === 0) return;
    // A power cut must not bring back a catalog whose objects are gone.
    if (this.#unsafe === 'catalogs') await this.flush();
    await this.#storage.remove(others);
    this.#unsafe = 'objects';
  }

  #count(path: string, sizeBytes: number | undefined): void {
    if (sizeBytes === undefined) return;
    for (const count of [this.#total, this.#kinds[KIND_OF[parseObjectPath(path)!.type]]]) {
      count.objects++;
      count.bytes += sizeBytes;
    }
  }
}
