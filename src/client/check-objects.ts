/** Looks whether objects are there, many at a time: the smaller of the two ways to check them. */

import type { ReferencedObject } from '../core/catalog/check-catalog.ts';
import {
  algorithmOf,
  type ContentHash,
  contentHashOf,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { type ErrorCode, errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import type { Hashing } from '../core/ports.ts';
import { isDamage } from './check-findings.ts';
import type { Servers } from './network/servers.ts';

export type CheckedObject = Omit<ReferencedObject, 'type' | 'sizeBytes'> & {
  readonly type: ObjectType;
  /** `undefined` if nothing says what its content is: its bytes as stored are all that can be checked. */
  readonly sizeBytes: number | undefined;
};

export interface ObjectFailure {
  readonly object: CheckedObject;
  readonly code: ErrorCode;
  readonly message: string;
}

/** Of one object, or of several at once. */
export interface ObjectResult {
  readonly storedBytes: number;
  readonly failure?: ObjectFailure | undefined;
}

/** Called once for each object; of several that were checked at once, the bytes of all are in the first. */
export type OnObjectResult = (result: ObjectResult) => void;

/** A way to check objects. Failures of the way to them reject `add` or `drain`; what is wrong with one is a result. */
export interface ObjectCheck {
  /** Takes an object, and returns when there is room for more. */
  add(object: CheckedObject, onResult: OnObjectResult): Promise<void>;
  /** Waits for all results. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** As many as connections that a client opens to one host, twice: none of them waits. */
const PARALLEL = 32;

/** Asks for each object without fetching it. An object that is not compressed shows by its size whether it is whole. */
export class PresenceCheck implements ObjectCheck {
  readonly #servers: Servers;
  readonly #isLocal: boolean;
  readonly #running = new Set<Promise<void>>();
  #failure: unknown;

  /** `isLocal`: they are folders of this machine; what cannot be read there is damaged. */
  constructor(servers: Servers, isLocal = false) {
    this.#servers = servers;
    this.#isLocal = isLocal;
  }

  async add(object: CheckedObject, onResult: OnObjectResult): Promise<void> {
    const running = this.#check(object, onResult)
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    if (this.#running.size >= PARALLEL) await Promise.race(this.#running);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async drain(): Promise<void> {
    await Promise.all(this.#running);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async close(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #check(object: CheckedObject, onResult: OnObjectResult): Promise<void> {
    const path = objectPath(object.hash, object.type);
    try {
      const storedBytes = await this.#servers.probe(path);
      onResult({ storedBytes: storedBytes ?? 0, failure: wrongSize(object, path, storedBytes) });
    } catch (error) {
      const code = errorCodeOf(error);
      if (!isDamage(code, this.#isLocal)) throw error;
      onResult({ storedBytes: 0, failure: { object, code, message: messageOf(error) } });
    }
  }
}

function wrongSize(
  object: CheckedObject,
  path: string,
  storedBytes: number | undefined,
): ObjectFailure | undefined {
  if (storedBytes === undefined) return undefined;
  const { compression, sizeBytes } = object;
  // No zlib stream is empty.
  const isWhole =
    compression === 'none' && sizeBytes !== undefined ? storedBytes === sizeBytes : storedBytes > 0;
  if (isWhole) return undefined;
  return { object, code: 'INTEGRITY', message: `${path} has ${storedBytes} bytes` };
}

/** Reads a file, and compares its bytes with their hash. Throws as `Servers.fetch` does. */
export async function verifyStoredBytes(
  servers: Servers,
  hashing: Hashing,
  hash: ContentHash,
  path: string,
): Promise<void> {
  const algorithm = algorithmOf(hash);
  await servers.fetch(path, async (file) => {
    const hasher = hashing.createHasher(algorithm);
    for (let chunk = await file.next(); chunk !== undefined; chunk = await file.next()) hasher.update(chunk);
    const actual = contentHashOf(algorithm, hasher.digest());
    if (actual !== hash) throw wrongHash(path, actual);
  });
}

export function wrongHash(path: string, actual: ContentHash): ThimbleError {
  return new ThimbleError('INTEGRITY', `${path} is damaged: its bytes hash to ${actual}`);
}
