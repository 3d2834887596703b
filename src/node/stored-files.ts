import { type Dirent, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { StoredFile, StoredFiles } from '../client/check-unreferenced.ts';
import { ThimbleError } from '../core/errors.ts';

const SHARD = /^[0-9a-f]{2}$/;
/** Files on their way into the storage. */
const TEMPORARY = 'txn';

/** The files of a storage folder, also those that do not belong there. */
export class FolderFiles implements StoredFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async *list(): AsyncGenerator<StoredFile> {
    for (const entry of this.#read('data')) {
      const path = `data/${entry.name}`;
      if (entry.name === TEMPORARY) continue;
      const isShard = entry.isDirectory() && SHARD.test(entry.name);
      const paths = isShard ? this.#read(path).map(({ name }) => `${path}/${name}`) : [path];
      for (const each of paths) {
        const file = this.#look(each);
        if (file !== undefined) yield file;
      }
    }
  }

  #read(path: string): Dirent[] {
    return this.#attempt('list', path, () => readdirSync(join(this.#folder, path), { withFileTypes: true }));
  }

  /** `undefined` if it is gone meanwhile. */
  #look(path: string): StoredFile | undefined {
    const stats = this.#attempt('look at', path, () =>
      lstatSync(join(this.#folder, path), { throwIfNoEntry: false }),
    );
    return stats === undefined ? undefined : { path, sizeBytes: stats.size, isRegular: stats.isFile() };
  }

  #attempt<T>(verb: string, path: string, action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw new ThimbleError('STORAGE', `Cannot ${verb} ${join(this.#folder, path)}`, { cause: error });
    }
  }
}
