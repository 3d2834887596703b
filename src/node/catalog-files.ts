/**
 * The catalogs of a mount, as its threads have them: the first ones in memory that the threads share, which is fastest and enough
 * for most trees. When there are more, they are files of the cache, and each thread reads the pages that it needs: a million
 * entries are 150 MB of catalogs.
 */

import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { cacheIdOf } from '../client/cache.ts';
import type { CatalogFile, CatalogName } from '../client/mounted-snapshot.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { AwakeReaders } from '../core/catalog/awake-readers.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { PageCache, type PageFile } from '../core/sqlite/pages.ts';
import { type CacheReaderSettings, shardedName } from './cache/folder-reader.ts';

/** Of all catalogs that are in memory. */
const SHARED_BYTES = 10 * 1024 * 1024;

/** Of pages, and readers that are awake: in the thread that answers almost all requests, and in the other. */
const WORKER_SHARE: ThreadShare = { pagesBytes: 10 * 1024 * 1024, awake: 192 };
const MAIN_SHARE: ThreadShare = { pagesBytes: 2 * 1024 * 1024, awake: 64 };

interface ThreadShare {
  readonly pagesBytes: number;
  readonly awake: number;
}

/** A catalog on its way to another thread: its bytes, or a path to open, which is good even when the cache has dropped the file. */
export interface SharedCatalog extends CatalogName {
  readonly content: Uint8Array | string;
}

/** A file that is open while its reader is awake. */
class RestingFile implements PageFile {
  readonly sizeBytes: number;
  readonly #path: string;
  readonly #inode: number;
  #fd: number | undefined;

  /** Throws what `node:fs` throws. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, 'r');
    const { size, ino } = fstatSync(this.#fd);
    this.sizeBytes = size;
    this.#inode = ino;
  }

  read(position: number, into: Bytes, at: number, length: number): number {
    this.#fd ??= this.#open();
    return readSync(this.#fd, into, at, length, position);
  }

  rest(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** A path of descriptors leads to another file when whoever had it open has closed it. */
  #open(): number {
    const fd = openSync(this.#path, 'r');
    if (fstatSync(fd).ino === this.#inode) return fd;
    closeSync(fd);
    throw new ThimbleError('STORAGE', `Cannot read catalog: ${this.#path} is another file now`);
  }
}

/** Opens catalogs in the thread that answers the kernel. */
export class CatalogOpener {
  readonly #pages = new PageCache(WORKER_SHARE.pagesBytes);
  readonly #awake = new AwakeReaders(WORKER_SHARE.awake);

  /** Throws as `CatalogReader.open` does, and what `node:fs` throws. */
  open(content: Uint8Array | string): CatalogReader {
    return typeof content === 'string'
      ? CatalogReader.openFile(new RestingFile(content), this.#pages, this.#awake)
      : CatalogReader.open(content, this.#awake);
  }
}

/** A catalog in the thread that fetches them, and what to tell others. */
export interface ShelvedCatalog {
  readonly reader: CatalogReader;
  readonly sizeBytes: number;
  readonly shared: SharedCatalog;
}

/** In the thread that fetches catalogs: decides how the others get them. */
export class CatalogShelf {
  readonly #folders: readonly string[];
  readonly #pages = new PageCache(MAIN_SHARE.pagesBytes);
  readonly #awake = new AwakeReaders(MAIN_SHARE.awake);
  // A catalog of an old revision is dropped some day, and nobody says so.
  readonly #dropped = new FinalizationRegistry<number>((fd) => closeSync(fd));
  #sharedBytes = 0;

  /** `undefined`: everything is in memory. */
  constructor(cache: Pick<CacheReaderSettings, 'folder' | 'lowerFolders'> | undefined) {
    this.#folders = [cache?.folder ?? [], cache?.lowerFolders ?? []].flat();
  }

  /** Opens a catalog that the cache has, and vouches for, where it lies; `undefined` if it is to be put here as bytes. Throws FORMAT. */
  find(name: CatalogName): ShelvedCatalog | undefined {
    return this.#openFile(name, (sizeBytes) => this.#sharedBytes + sizeBytes > SHARED_BYTES);
  }

  /** Opens a catalog here. `flush` has the cache write what it has not written yet. Throws FORMAT. */
  put({ mountpoint, hash, bytes }: CatalogFile, flush: () => void): ShelvedCatalog {
    if (this.#sharedBytes + bytes.length > SHARED_BYTES && this.#folders.length > 0) {
      flush();
      // The cache may not have been able to take it.
      const file = this.#openFile({ mountpoint, hash }, (sizeBytes) => sizeBytes === bytes.length);
      if (file !== undefined) return file;
    }
    this.#sharedBytes += bytes.length;
    const content = new Uint8Array(new SharedArrayBuffer(bytes.length));
    content.set(bytes);
    const reader = CatalogReader.open(content, this.#awake);
    return { reader, sizeBytes: bytes.length, shared: { mountpoint, hash, content } };
  }

  /** The descriptor is closed when nobody has the reader any more. */
  #openFile(name: CatalogName, isWanted: (sizeBytes: number) => boolean): ShelvedCatalog | undefined {
    const fd = this.#descriptorOf(name.hash);
    if (fd === undefined) return undefined;
    const sizeBytes = fstatSync(fd).size;
    if (!isWanted(sizeBytes)) {
      closeSync(fd);
      return undefined;
    }
    const file: PageFile = {
      sizeBytes,
      read: (position, into, at, length) => readSync(fd, into, at, length, position),
    };
    this.#dropped.register(file, fd);
    const reader = CatalogReader.openFile(file, this.#pages, this.#awake);
    return { reader, sizeBytes, shared: { ...name, content: `/proc/self/fd/${fd}` } };
  }

  #descriptorOf(hash: ContentHash): number | undefined {
    const name = shardedName(cacheIdOf(hash, 'zlib'));
    for (const folder of this.#folders) {
      const path = `${folder}/objects/${name}`;
      if (existsSync(path)) return openIfThere(path);
    }
    return undefined;
  }
}

/** The cache may drop it at any time. */
function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch {
    return undefined;
  }
}
