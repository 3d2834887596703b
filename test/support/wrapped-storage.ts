/** Storages that misbehave, around one that does not. All of it repeats: a seed gives the same faults again. */

import { setTimeout as sleep } from 'node:timers/promises';
import { ThimbleError } from '../../src/core/errors.ts';
import type { Storage, StoredObject } from '../../src/storage/storage.ts';

/** Makes a call, or something else; `isChange` where it changes what is stored. */
type Around = <T>(call: () => Promise<T>, isChange: boolean) => Promise<T>;

function wrapStorage(inner: Storage, around: Around): Storage {
  return {
    name: inner.name,
    parallel: inner.parallel,
    create: () => around(() => inner.create(), true),
    size: (path) => around(() => inner.size(path), false),
    read: (path) => around(() => inner.read(path), false),
    putObject: (path, bytes) => around(() => inner.putObject(path, bytes), true),
    replace: (path, bytes) => around(() => inner.replace(path, bytes), true),
    remove: (paths) => around(() => inner.remove(paths), true),
    async *objects() {
      yield* await around(() => allObjects(inner), false);
    },
    flush: () => around(() => inner.flush(), true),
    close: () => inner.close(),
    removeTemporaryFiles: () => inner.removeTemporaryFiles(),
  };
}

export async function allObjects(storage: Storage): Promise<StoredObject[]> {
  const found: StoredObject[] = [];
  for await (const object of storage.objects()) found.push(object);
  return found;
}

/** Fractions from 0 to 1 (xorshift). */
export function seededFractions(seed: number): () => number {
  let state = seed * 2_654_435_769 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Two calls of five fail: half of these before anything was done, half after it, as when an answer is lost. */
export function faultyStorage(inner: Storage, seed: number): Storage {
  const fraction = seededFractions(seed);
  const fail = (): never => {
    throw new ThimbleError('STORAGE', 'Cannot go on: injected');
  };
  return wrapStorage(inner, async (call, isChange) => {
    const fate = fraction();
    if (fate < 0.2) fail();
    const result = await call();
    if (isChange && fate < 0.4) fail();
    return result;
  });
}

/** Makes each call again until it works. */
export function retryingStorage(inner: Storage): Storage {
  return wrapStorage(inner, async (call) => {
    for (;;) {
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof ThimbleError && error.message === 'Cannot go on: injected')) throw error;
      }
    }
  });
}

/** Calls begin and answer late, and in another order than they were made. */
export function slowStorage(inner: Storage, seed: number): Storage {
  const fraction = seededFractions(seed);
  return wrapStorage(inner, async (call) => {
    await sleep(3 * fraction());
    const result = await call();
    await sleep(3 * fraction());
    return result;
  });
}
