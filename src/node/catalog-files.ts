/**
 * The catalogs of a mount, as its threads have them: the first ones in memory that the threads share, which is fastest and enough
 * for most trees. When there are more, they are files of the cache, and each thread reads the pages that it needs: a million
 * entries are 200 MB of catalogs.
 */

import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { cacheIdOf } from '../client/cache.ts';
import type { CatalogFile } from '../client/mounted-snapshot.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { PageCache, type PageFile } from '../core/sqlite/pages.ts';

/** Of all catalogs that are in memory. */
const SHARED_BYTES = 24 * 1024 * 1024;

/** Of pages, in the thread that answers almost all requests, and in the other. */
export const WORKER_PAGES_BYTES = 24 * 1024 * 1024;
const MAIN_PAGES_BYTES = 4 * 1024 * 1024;

/** A catalog on its way to another thread: its bytes, or a path to open, which is good even when the cache has dropped the file. */
export interface SharedCatalog {
  readonly mountpoint: ByteString;
  readonly hash: ContentHash;
  readonly content: Uint8Array | string;
}

/** Opens catalogs in one thread. */
export class CatalogOpener {
  readonly #pages: PageCache;
  // A catalog of an old revision is dropped some day, and nobody says so.
  readonly #dropped = new FinalizationRegistry<number>((fd) => closeSync(fd));

  constructor(pagesBytes: number) {
    this.#pages = new PageCache(pagesBytes);
  }

  /** Throws as `CatalogReader.open` does, and what `node:fs` throws. */
  open(content: Uint8Array | string): CatalogReader {
    return typeof content === 'string' ? this.openFile(content).reader : CatalogReader.open(content);
  }

  /** The descriptor is closed when nobody has the reader any more. Throws as `open` does. */
  openFile(path: string): { reader: CatalogReader; fd: number } {
    const fd = openSync(path, 'r');
    const file: PageFile = {
      sizeBytes: fstatSync(fd).size,
      read: (position, into, at, length) => readSync(fd, into, at, length, position),
    };
    this.#dropped.register(file, fd);
    return { reader: CatalogReader.openFile(file, this.#pages), fd };
  }
}

/** In the thread that fetches catalogs: decides how the others get them. */
export class CatalogShelf {
  readonly #cacheFolder: string | undefined;
  readonly #opener = new CatalogOpener(MAIN_PAGES_BYTES);
  #sharedBytes = 0;

  /** Without a folder everything is in memory. */
  constructor(cacheFolder: string | undefined) {
    this.#cacheFolder = cacheFolder;
  }

  /** Opens a catalog here, and answers with what to tell other threads. Throws FORMAT. */
  put({ mountpoint, hash, bytes }: CatalogFile): { reader: CatalogReader; shared: SharedCatalog } {
    if (this.#sharedBytes + bytes.length > SHARED_BYTES) {
      const path = this.#fileOf(hash, bytes.length);
      if (path !== undefined) {
        const { reader, fd } = this.#opener.openFile(path);
        return { reader, shared: { mountpoint, hash, content: `/proc/self/fd/${fd}` } };
      }
    }
    this.#sharedBytes += bytes.length;
    const content = new Uint8Array(new SharedArrayBuffer(bytes.length));
    content.set(bytes);
    return { reader: CatalogReader.open(content), shared: { mountpoint, hash, content } };
  }

  /** The catalog in the cache; `undefined` if the cache could not take it. */
  #fileOf(hash: ContentHash, sizeBytes: number): string | undefined {
    if (this.#cacheFolder === undefined) return undefined;
    const id = cacheIdOf(hash, 'zlib');
    const path = join(this.#cacheFolder, 'objects', id.slice(0, 2), id.slice(2));
    return statSync(path, { throwIfNoEntry: false })?.size === sizeBytes ? path : undefined;
  }
}
