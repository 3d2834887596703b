/** Looks whether objects are there, many at a time: the smaller of the two ways to check them. */

import type { ReferencedObject } from '../core/catalog/check-catalog.ts';
import { objectPath } from '../core/content-hash.ts';
import { type ErrorCode, errorCodeOf, messageOf } from '../core/errors.ts';
import type { Servers } from './servers.ts';

export interface ObjectFailure {
  readonly object: ReferencedObject;
  readonly code: ErrorCode;
  readonly message: string;
}

/** Of one object, or of several at once. */
export interface ObjectResult {
  readonly storedBytes: number;
  readonly failure?: ObjectFailure | undefined;
}

/** A way to check objects. Failures of the way to them reject `add` or `drain`; what is wrong with one is a result. */
export interface ObjectCheck {
  /** Takes an object, and returns when there is room for more. */
  add(object: ReferencedObject, onResult: (result: ObjectResult) => void): Promise<void>;
  /** Waits for all results. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** As many as connections that a client opens to one host, twice: none of them waits. */
const PARALLEL = 32;

/** Asks for each object without fetching it. An object that is not compressed shows by its size whether it is whole. */
export class PresenceCheck implements ObjectCheck {
  readonly #servers: Servers;
  readonly #running = new Set<Promise<void>>();
  #failure: unknown;

  constructor(servers: Servers) {
    this.#servers = servers;
  }

  async add(object: ReferencedObject, onResult: (result: ObjectResult) => void): Promise<void> {
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

  async #check(object: ReferencedObject, onResult: (result: ObjectResult) => void): Promise<void> {
    const path = objectPath(object.hash, object.type);
    try {
      const storedBytes = await this.#servers.probe(path);
      onResult({ storedBytes: storedBytes ?? 0, failure: wrongSize(object, path, storedBytes) });
    } catch (error) {
      const code = errorCodeOf(error);
      if (code !== 'NOT_FOUND') throw error;
      onResult({ storedBytes: 0, failure: { object, code, message: messageOf(error) } });
    }
  }
}

function wrongSize(
  object: ReferencedObject,
  path: string,
  storedBytes: number | undefined,
): ObjectFailure | undefined {
  if (storedBytes === undefined) return undefined;
  const { compression, sizeBytes } = object;
  // No zlib stream is empty.
  const isWhole = compression === 'none' ? storedBytes === sizeBytes : storedBytes > 0;
  if (isWhole) return undefined;
  return { object, code: 'INTEGRITY', message: `${path} has ${storedBytes} bytes` };
}
