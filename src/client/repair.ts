/** Brings objects that are missing or damaged from replicas: an object has the same bytes wherever it is. */

import type { Bytes } from '../core/bytes/byte-string.ts';
import {
  algorithmOf,
  type ContentHash,
  hashBytes,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { errorCodeOf, messageOf } from '../core/errors.ts';
import type { Hashing } from '../core/ports.ts';
import { wrongHash } from './check-objects.ts';
import type { Servers } from './network/servers.ts';
import { readWhole } from './objects.ts';

export type RepairOutcome =
  | { readonly kind: 'repaired'; readonly from: string }
  /** What is stored has its hash: the fault is elsewhere. */
  | { readonly kind: 'sound' }
  | { readonly kind: 'failed'; readonly reason: string };

export interface Repair {
  /** True if nothing is written: what could be repaired is only looked for. */
  readonly isDryRun: boolean;
  /** Throws STORAGE if what was fetched cannot be written. */
  repair(hash: ContentHash, type: ObjectType): Promise<RepairOutcome>;
}

/** Where the objects are kept that are repaired. */
export interface RepairPlace {
  /** `undefined` if there is no such file. Throws STORAGE. */
  read(path: string): Promise<Bytes | undefined>;
  /** Replaces a file; readers see the old or the new one, never a part. Throws STORAGE. */
  replace(path: string, bytes: Bytes): Promise<void>;
}

/** An object is held in memory on its way. */
const MAX_OBJECT_BYTES = 2 ** 31 - 1;

/** No lock is needed: an object that others write at the same time has the same bytes. */
export class ReplicaRepair implements Repair {
  readonly isDryRun: boolean;
  readonly #replicas: Servers;
  readonly #place: RepairPlace;
  readonly #hashing: Hashing;

  constructor(
    replicas: Servers,
    place: RepairPlace,
    { hashing, isDryRun }: { readonly hashing: Hashing; readonly isDryRun: boolean },
  ) {
    this.#replicas = replicas;
    this.#place = place;
    this.#hashing = hashing;
    this.isDryRun = isDryRun;
  }

  async repair(hash: ContentHash, type: ObjectType): Promise<RepairOutcome> {
    const path = objectPath(hash, type);
    if (await this.#isSound(path, hash)) return { kind: 'sound' };
    let bytes: Bytes;
    try {
      bytes = await this.#replicas.fetch(path, async (file) => {
        const received = await readWhole(file, MAX_OBJECT_BYTES);
        const actual = hashBytes(this.#hashing, algorithmOf(hash), received);
        if (actual !== hash) throw wrongHash(path, actual);
        return received;
      });
    } catch (error) {
      if (errorCodeOf(error) === 'INTERNAL') throw error;
      return { kind: 'failed', reason: messageOf(error) };
    }
    if (!this.isDryRun) await this.#place.replace(path, bytes);
    return { kind: 'repaired', from: this.#replicas.current };
  }

  async #isSound(path: string, hash: ContentHash): Promise<boolean> {
    let stored: Bytes | undefined;
    try {
      stored = await this.#place.read(path);
    } catch (error) {
      // A file that cannot be read is why this is asked.
      if (errorCodeOf(error) !== 'STORAGE') throw error;
    }
    return stored !== undefined && hashBytes(this.#hashing, algorithmOf(hash), stored) === hash;
  }
}
