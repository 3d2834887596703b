/** Metadata read straight from a storage, by those who write it. Readers go through `client/objects.ts`. */

import { CatalogReader, MAX_CATALOG_BYTES } from '../core/catalog/catalog-reader.ts';
import type { Compression } from '../core/catalog/flags.ts';
import {
  algorithmOf,
  type ContentHash,
  hashBytes,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Hashing, Inflating } from '../core/ports.ts';
import type { Storage } from './storage.ts';

export interface StoredCatalogFile {
  readonly hash: ContentHash;
  /** Inflated. */
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
  readonly reader: CatalogReader;
}

export class StoredObjects {
  readonly storage: Storage;
  readonly #hashing: Hashing;
  readonly #inflating: Inflating;

  constructor(storage: Storage, ports: { readonly hashing: Hashing; readonly inflating: Inflating }) {
    this.storage = storage;
    this.#hashing = ports.hashing;
    this.#inflating = ports.inflating;
  }

  /** Verified and inflated; `undefined` if it is not there. Throws INTEGRITY, FORMAT, LIMIT, STORAGE. */
  async find(
    hash: ContentHash,
    type: ObjectType,
    limitBytes: number,
    compression: Compression = 'zlib',
  ): Promise<Uint8Array | undefined> {
    const path = objectPath(hash, type);
    const stored = await this.storage.read(path);
    if (stored === undefined) return undefined;
    if (hashBytes(this.#hashing, algorithmOf(hash), stored) !== hash) {
      throw new ThimbleError('INTEGRITY', `Cannot use ${path} in ${this.storage.name}: it is damaged`, {
        hint: 'thimble check --repair-from fetches it again from a replica',
      });
    }
    return compression === 'none' ? stored : this.#inflating.inflate(stored, limitBytes);
  }

  /** Throws NOT_FOUND, and as `find` does. */
  async load(
    hash: ContentHash,
    type: ObjectType,
    limitBytes: number,
    compression: Compression = 'zlib',
  ): Promise<Uint8Array> {
    const bytes = await this.find(hash, type, limitBytes, compression);
    if (bytes !== undefined) return bytes;
    throw new ThimbleError(
      'NOT_FOUND',
      `Cannot use ${objectPath(hash, type)}: it is missing in ${this.storage.name}`,
    );
  }

  /** Throws NOT_FOUND, and as `find` does. */
  async openCatalog(hash: ContentHash): Promise<StoredCatalogFile> {
    const bytes = await this.load(hash, 'C', MAX_CATALOG_BYTES);
    return { hash, sizeBytes: bytes.length, bytes, reader: CatalogReader.open(bytes) };
  }
}
