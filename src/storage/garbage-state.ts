/**
 * What a garbage collection remembers until the next one, beside the lock of whoever changes the repository: since when
 * references are expired, and which objects were to be deleted when it was interrupted.
 */

import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { type ContentHash, isContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';

const WRITE_CHARACTERS = 64 * 1024;

export class GarbageState {
  readonly #expired: string;
  readonly #condemned: string;
  /** A path that may be used while the reference log is written. */
  readonly temporary: string;

  /** `prefix` is what the paths of its files begin with. */
  constructor(prefix: string) {
    this.#expired = `${prefix}expired.json`;
    this.#condemned = `${prefix}condemned`;
    this.temporary = `${prefix}reflog.db`;
  }

  /** When references were first seen to be needed no longer, in seconds since 1970. Throws FORMAT, STORAGE. */
  readExpired(): Map<ContentHash, number> {
    const path = this.#expired;
    try {
      if (!existsSync(path)) return new Map();
      const entries = Object.entries(JSON.parse(readFileSync(path, 'utf8')) as object);
      for (const [hash, seconds] of entries) {
        if (!isContentHash(hash) || !Number.isSafeInteger(seconds)) throw new SyntaxError(`unknown ${hash}`);
      }
      return new Map(entries as [ContentHash, number][]);
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof TypeError)) throw failure('read', path, error);
      throw new ThimbleError('FORMAT', `Cannot read ${path}`, {
        hint: 'remove it: then the grace period of what has expired begins anew',
        cause: error,
      });
    }
  }

  /** Throws STORAGE. */
  writeExpired(expired: ReadonlyMap<ContentHash, number>): void {
    replaceFile(this.#expired, [`${JSON.stringify(Object.fromEntries(expired), null, 2)}\n`]);
  }

  /** Writes down what is going to be deleted, whole or not at all. Throws STORAGE. */
  writeCondemned(paths: Iterable<string>): void {
    replaceFile(this.#condemned, blocks(paths));
  }

  /** In the order in which they were written; nothing if nothing was. Throws STORAGE. */
  async *readCondemned(): AsyncGenerator<string> {
    if (!existsSync(this.#condemned)) return;
    const stream = createReadStream(this.#condemned);
    try {
      yield* createInterface({ input: stream });
    } catch (error) {
      throw failure('read', this.#condemned, error);
    } finally {
      stream.destroy();
    }
  }

  removeCondemned(): void {
    rmSync(this.#condemned, { force: true });
  }
}

function* blocks(paths: Iterable<string>): Generator<string> {
  let block = '';
  for (const path of paths) {
    block += `${path}\n`;
    if (block.length < WRITE_CHARACTERS) continue;
    yield block;
    block = '';
  }
  yield block;
}

/** Durable, and then in one rename. */
function replaceFile(path: string, blocks: Iterable<string>): void {
  const temporary = `${path}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(temporary, 'w', 0o600);
    try {
      for (const block of blocks) writeWhole(file, block);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw failure('write', path, error);
  }
}

function writeWhole(file: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

function failure(verb: string, path: string, cause: unknown): ThimbleError {
  return new ThimbleError('STORAGE', `Cannot ${verb} ${path}`, { cause });
}
