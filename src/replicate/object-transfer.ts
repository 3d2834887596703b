/**
 * Objects from the servers of a repository into a storage, as they are: compressed, and verified by their hash before
 * anybody can see them. What is there already is not fetched; what is on its way is not asked for twice.
 */

import type { Servers } from '../client/network/servers.ts';
import { readWhole } from '../client/objects.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import {
  algorithmOf,
  type ContentHash,
  hashBytes,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Hashing } from '../core/ports.ts';
import type { Storage } from '../storage/storage.ts';

export interface TransferCounters {
  /** Brought here. */
  objects: number;
  /** Of these, as stored. */
  bytes: number;
  /** Found in the storage. */
  present: number;
}

export interface TransferOptions {
  readonly hashing: Hashing;
  /** True after a run that was killed: what is there may be cut short by a power failure, and is looked into. */
  readonly isDistrustful: boolean;
  /** Ends all work when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

export class ObjectTransfer {
  readonly counters: TransferCounters = { objects: 0, bytes: 0, present: 0 };
  readonly #servers: Servers;
  readonly #storage: Storage;
  readonly #options: TransferOptions;
  readonly #underWay = new Map<string, Promise<void>>();
  #isFlushed: boolean;

  constructor(servers: Servers, storage: Storage, options: TransferOptions) {
    this.#servers = servers;
    this.#storage = storage;
    this.#options = options;
    // What the killed run wrote may not be on the disk yet.
    this.#isFlushed = !options.isDistrustful;
  }

  /**
   * Brings an object here unless it is. `limitBytes` is for what the server sends. Throws NOT_FOUND, NETWORK, INTEGRITY,
   * LIMIT, STORAGE, CANCELLED.
   */
  bring(hash: ContentHash, type: ObjectType, limitBytes: number): Promise<void> {
    const path = objectPath(hash, type);
    const underWay = this.#underWay.get(path);
    if (underWay !== undefined) return underWay;
    const bringing = this.#bring(hash, type, limitBytes).finally(() => this.#underWay.delete(path));
    this.#underWay.set(path, bringing);
    return bringing;
  }

  /** An object as it is stored here; `undefined` if it is not, or damaged. Throws STORAGE. */
  async own(hash: ContentHash, type: ObjectType): Promise<Bytes | undefined> {
    const bytes = await this.#storage.read(objectPath(hash, type));
    return bytes !== undefined && this.#hashOf(hash, bytes) === hash ? bytes : undefined;
  }

  /** True if an object is stored here. Throws STORAGE. */
  async isHere(hash: ContentHash, type: ObjectType): Promise<boolean> {
    if (this.#options.isDistrustful) return (await this.own(hash, type)) !== undefined;
    return (await this.#storage.size(objectPath(hash, type))) !== undefined;
  }

  /** An object as the servers have it, verified and not stored. Throws as `bring` does. */
  fetch(hash: ContentHash, type: ObjectType, limitBytes: number): Promise<Bytes> {
    const path = objectPath(hash, type);
    return this.#servers.fetch(path, async (file) => {
      this.throwIfCancelled();
      const bytes = await readWhole(file, limitBytes);
      const actual = this.#hashOf(hash, bytes);
      if (actual === hash) return bytes;
      throw new ThimbleError('INTEGRITY', `Cannot use ${path}: its content hashes to ${actual}`);
    });
  }

  /** Makes an object visible here, also in place of a damaged one. Throws STORAGE. */
  async put(hash: ContentHash, type: ObjectType, bytes: Bytes): Promise<void> {
    const path = objectPath(hash, type);
    this.#isFlushed = false;
    if (!(await this.#storage.putObject(path, bytes))) await this.#storage.replace(path, bytes);
    this.counters.objects++;
    this.counters.bytes += bytes.length;
  }

  /** Returns when everything brought here so far survives a power cut. Throws STORAGE. */
  async flush(): Promise<void> {
    if (this.#isFlushed) return;
    this.#isFlushed = true;
    try {
      await this.#storage.flush();
    } catch (error) {
      this.#isFlushed = false;
      throw error;
    }
  }

  /** Throws CANCELLED. */
  throwIfCancelled(): void {
    if (this.#options.signal?.aborted) throw new ThimbleError('CANCELLED', 'Replication was stopped');
  }

  async #bring(hash: ContentHash, type: ObjectType, limitBytes: number): Promise<void> {
    if (await this.isHere(hash, type)) this.counters.present++;
    else await this.put(hash, type, await this.fetch(hash, type, limitBytes));
  }

  #hashOf(wanted: ContentHash, bytes: Bytes): ContentHash {
    return hashBytes(this.#options.hashing, algorithmOf(wanted), bytes);
  }
}
