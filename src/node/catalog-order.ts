/** A file that remembers in which order the catalogs of a mounted snapshot were attached. */

import { readFileSync } from 'node:fs';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import { replaceFile } from './replace-file.ts';

export class CatalogOrder {
  readonly #file: string;
  readonly #paths: Set<ByteString>;

  /** Reads what is there. Throws STORAGE. */
  constructor(file: string) {
    this.#file = file;
    this.#paths = new Set(readCatalogOrder(file));
  }

  get paths(): readonly ByteString[] {
    return [...this.#paths];
  }

  /**
   * Adds a path, unless it is known. It is on the disk when this returns, before the kernel gets a node of this catalog: an
   * overlay may remember that node for longer than the machine runs. Throws STORAGE.
   */
  add(path: ByteString): void {
    if (this.#paths.has(path)) return;
    this.#paths.add(path);
    replaceFile(this.#file, `${JSON.stringify(this.paths)}\n`);
  }
}

/** Paths of transition points, the first one first; none if there is no file. Throws STORAGE. */
export function readCatalogOrder(file: string): ByteString[] {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as ByteString[];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new ThimbleError('STORAGE', `Cannot read ${file}`, { cause: error });
  }
}
