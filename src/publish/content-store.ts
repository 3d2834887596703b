/**
 * From bytes to objects: cut, compress, hash, store. The same code runs in worker threads, for files, and in the main
 * thread, for metadata.
 */

import { closeSync, constants as fsConstants, fstatSync, openSync, readSync } from 'node:fs';
import { deflateSync } from 'node:zlib';
import { byteStringOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { Chunk } from '../core/catalog/catalog-reader.ts';
import type { Compression } from '../core/catalog/flags.ts';
import {
  type ContentHash,
  type HashAlgorithm,
  hashBytes,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Hashing } from '../core/ports.ts';
import type { Storage } from '../storage/storage.ts';
import { type ChunkSizes, findCut } from './chunker.ts';

export interface StoreSettings {
  readonly hashAlgorithm: HashAlgorithm;
  readonly compression: Compression;
  /** Of zlib, 1 (fast) to 9 (small). */
  readonly compressionLevel: number;
  readonly chunkSizes: ChunkSizes;
  /** Contents are hashed and not stored: clients fetch them by path from other servers (docs/format.md#external-data). */
  readonly isExternal?: boolean;
}

/** How a file is stored: as one object, or in chunks. */
export interface StoredContent {
  /** What was read; the size that goes into the catalog. */
  readonly sizeBytes: number;
  readonly hash: ContentHash | undefined;
  readonly chunks: readonly Chunk[];
  readonly compression: Compression;
  readonly isExternal: boolean;
}

export interface StoreCounters {
  objects: number;
  newObjects: number;
  newBytes: number;
  readBytes: number;
}

/** Not through a symlink that took the file's place since it was listed, and never waiting on a FIFO. */
export const FILE_FLAGS = fsConstants.O_RDONLY | fsConstants.O_NOFOLLOW | fsConstants.O_NONBLOCK;
const DEFLATE_CHUNK_BYTES = 256 * 1024;

export class ContentStore {
  readonly #storage: Storage;
  readonly #hashing: Hashing;
  readonly #settings: StoreSettings;
  #buffer = Buffer.alloc(0);
  readonly counters: StoreCounters = { objects: 0, newObjects: 0, newBytes: 0, readBytes: 0 };

  constructor(storage: Storage, hashing: Hashing, settings: StoreSettings) {
    this.#storage = storage;
    this.#hashing = hashing;
    this.#settings = settings;
  }

  /** Stores metadata: always zlib, whatever the repository's compression of files is. */
  async putMetadata(type: '' | 'C' | 'H', bytes: Uint8Array): Promise<ContentHash> {
    return this.#put(type, this.#compressed(bytes));
  }

  /**
   * Stores a certificate or metainfo. Replicas of the reference inflate these two and compress them again, under the hash
   * that they had: so they have to be what the original zlib makes of them at level 6. The one in Node makes other bytes.
   */
  async putAsReference(type: 'X' | 'M', bytes: Uint8Array): Promise<ContentHash> {
    const { deflate } = await import('pako');
    return this.#put(type, deflate(bytes, { level: 6 }));
  }

  /** Stores bytes as they are. */
  async putStored(bytes: Uint8Array): Promise<ContentHash> {
    return this.#put('', bytes);
  }

  async putContent(type: '' | 'P', bytes: Uint8Array): Promise<ContentHash> {
    if (this.#settings.isExternal === true) {
      return hashBytes(this.#hashing, this.#settings.hashAlgorithm, bytes);
    }
    return this.#put(type, this.#storedForm(bytes));
  }

  /** A whole file as a catalog has it, without storing it. */
  describe(bytes: Uint8Array): StoredContent {
    const hash = hashBytes(this.#hashing, this.#settings.hashAlgorithm, this.#storedForm(bytes));
    return storedContent(this.#settings, bytes.length, hash, []);
  }

  #storedForm(bytes: Uint8Array): Uint8Array {
    return this.#settings.compression === 'none' ? bytes : this.#compressed(bytes);
  }

  /** Reads and stores a file of this machine. Throws NOT_FOUND, STORAGE. */
  async putFile(hostPath: Buffer): Promise<StoredContent> {
    const { chunkSizes } = this.#settings;
    const fd = this.#openFile(hostPath);
    try {
      // One byte more than the file or the largest chunk: a buffer that is not full means the end of the file.
      const room = Math.min(Math.max(fstatSync(fd).size, 4095), chunkSizes.maxBytes) + 1;
      if (this.#buffer.length < room) this.#buffer = Buffer.allocUnsafeSlow(room);
      const buffer = this.#buffer;
      let filled = this.#fill(fd, hostPath, buffer, 0);
      let cut = findCut(buffer, filled, chunkSizes);
      if (filled < buffer.length && cut === filled) {
        const hash = await this.putContent('', buffer.subarray(0, filled));
        return storedContent(this.#settings, filled, hash, []);
      }
      const chunks: Chunk[] = [];
      let offset = 0;
      while (filled > 0) {
        chunks.push({ offset, sizeBytes: cut, hash: await this.putContent('P', buffer.subarray(0, cut)) });
        offset += cut;
        buffer.copyWithin(0, cut, filled);
        filled = this.#fill(fd, hostPath, buffer, filled - cut);
        cut = findCut(buffer, filled, chunkSizes);
      }
      return storedContent(this.#settings, offset, undefined, chunks);
    } finally {
      closeSync(fd);
    }
  }

  #openFile(hostPath: Buffer): number {
    try {
      return openSync(hostPath, FILE_FLAGS);
    } catch (error) {
      throw readFailure(hostPath, error);
    }
  }

  /** Reads until the buffer is full or the file ends; answers how many bytes the buffer holds. */
  #fill(fd: number, hostPath: Buffer, buffer: Buffer, from: number): number {
    let filled = from;
    try {
      while (filled < buffer.length) {
        const count = readSync(fd, buffer, filled, buffer.length - filled, null);
        if (count === 0) break;
        filled += count;
      }
    } catch (error) {
      throw readFailure(hostPath, error);
    }
    this.counters.readBytes += filled - from;
    return filled;
  }

  #compressed(bytes: Uint8Array): Uint8Array {
    return deflateSync(bytes, { level: this.#settings.compressionLevel, chunkSize: deflateChunk(bytes) });
  }

  async #put(type: ObjectType, stored: Uint8Array): Promise<ContentHash> {
    const hash = hashBytes(this.#hashing, this.#settings.hashAlgorithm, stored);
    this.counters.objects++;
    if (await this.#storage.putObject(objectPath(hash, type), stored)) {
      this.counters.newObjects++;
      this.counters.newBytes += stored.length;
    }
    return hash;
  }
}

/** What the catalog says of content that was stored with these settings. */
export function storedContent(
  { compression, isExternal = false }: StoreSettings,
  sizeBytes: number,
  hash: ContentHash | undefined,
  chunks: readonly Chunk[],
): StoredContent {
  // Other servers send files as they are.
  return { sizeBytes, hash, chunks, compression: isExternal ? 'none' : compression, isExternal };
}

/** One output buffer for small inputs, few for large ones. */
function deflateChunk(bytes: Uint8Array): number {
  return Math.min(Math.max(bytes.length + 64, 1024), DEFLATE_CHUNK_BYTES);
}

export function readFailure(hostPath: Buffer, cause: unknown): ThimbleError {
  const { code } = cause as NodeJS.ErrnoException;
  const isGone = code === 'ENOENT' || code === 'ELOOP';
  return new ThimbleError(
    isGone ? 'NOT_FOUND' : 'STORAGE',
    `Cannot read ${displayBytes(byteStringOf(hostPath))}`,
    {
      hint: isGone
        ? 'it vanished while it was being published; publish a tree that nobody changes'
        : undefined,
      cause,
    },
  );
}
