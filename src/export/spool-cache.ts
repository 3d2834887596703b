/**
 * Content on its way through: held while somebody wants it, forgotten after. So reading a whole repository fills neither a
 * disk nor memory; objects too large for memory wait in a file without a name.
 */

import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CacheId, type CacheWriter, type ObjectCache, putByWriter } from '../client/cache.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';

/** Objects up to this are held in memory: any chunk that publishers make of a file. */
const MEMORY_OBJECT_BYTES = 32 * 1024 * 1024;

interface Held {
  wanted: number;
  content: Spooled | undefined;
}

interface Spooled {
  read(position: number, length: number, into: Bytes, at: number): number;
  close(): void;
}

export class SpoolCache implements ObjectCache {
  readonly #held = new Map<CacheId, Held>();
  readonly #folder: string;
  readonly #memoryObjectBytes: number;

  /** Large objects wait in `folder`, which has to have room for the largest. */
  constructor(folder = tmpdir(), memoryObjectBytes = MEMORY_OBJECT_BYTES) {
    this.#folder = folder;
    this.#memoryObjectBytes = memoryObjectBytes;
  }

  /** Content with this id will be kept, once it comes, until as many calls of `release`. */
  retain(id: CacheId): void {
    const held = this.#held.get(id);
    if (held === undefined) this.#held.set(id, { wanted: 1, content: undefined });
    else held.wanted++;
  }

  release(id: CacheId): void {
    const held = this.#held.get(id);
    if (held === undefined || --held.wanted > 0) return;
    held.content?.close();
    this.#held.delete(id);
  }

  read(id: CacheId, position: number, length: number, into: Bytes, at: number): number | undefined {
    return this.#held.get(id)?.content?.read(position, length, into, at);
  }

  /** Metadata is kept by those who load it. */
  load(): undefined {
    return undefined;
  }

  has(id: CacheId): boolean {
    return this.#held.get(id)?.content !== undefined;
  }

  put(id: CacheId, content: Bytes): void {
    putByWriter(this, id, content);
  }

  create(id: CacheId, sizeBytes: number): CacheWriter {
    const held = this.#held.get(id);
    // Nobody waits for it.
    if (held === undefined) return { write: () => {}, commit: () => {}, abort: () => {} };
    const spool =
      sizeBytes <= this.#memoryObjectBytes ? new MemorySpool(sizeBytes) : new FileSpool(this.#folder);
    let isKept = false;
    return {
      write: (bytes) => spool.write(bytes),
      commit: () => {
        isKept = this.#held.get(id) === held && held.content === undefined;
        if (isKept) held.content = spool;
        else spool.close();
      },
      abort: () => {
        if (!isKept) spool.close();
      },
    };
  }
}

class MemorySpool implements Spooled {
  readonly #bytes: Bytes;
  #length = 0;

  constructor(sizeBytes: number) {
    this.#bytes = new Uint8Array(sizeBytes);
  }

  write(bytes: Bytes): void {
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  read(position: number, length: number, into: Bytes, at: number): number {
    const piece = this.#bytes.subarray(position, Math.min(position + length, this.#length));
    into.set(piece, at);
    return piece.length;
  }

  close(): void {}
}

class FileSpool implements Spooled {
  #fd: number | undefined;
  #length = 0;

  constructor(folder: string) {
    this.#fd = attempt(folder, () => openUnnamed(folder));
  }

  write(bytes: Bytes): void {
    attempt('a spooled object', () => {
      for (let at = 0; at < bytes.length; ) {
        const count = writeSync(this.#fd!, bytes, at, bytes.length - at, this.#length);
        at += count;
        this.#length += count;
      }
    });
  }

  read(position: number, length: number, into: Bytes, at: number): number {
    return attempt('a spooled object', () => readSync(this.#fd!, into, at, length, position));
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** A file that is gone when it is closed, whatever happens to the process. */
function openUnnamed(folder: string): number {
  const own = mkdtempSync(join(folder, 'thimble-spool-'));
  try {
    return openSync(join(own, 'object'), 'wx+', 0o600);
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
}

function attempt<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot keep ${what} for a while`, {
      hint: 'large objects wait in the folder that TMPDIR names',
      cause: error,
    });
  }
}
