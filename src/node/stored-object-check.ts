/**
 * Checks objects in a folder of this machine, one after the other and without waiting: a file is read into a buffer that is
 * used again, hashed in one go, and inflated into one buffer of the size that its catalog says.
 *
 * The hash alone proves the bytes. Inflating proves what the catalog says of their size: a wrong one makes the file
 * unreadable, and no hash shows it.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { type CheckedObject, wrongHash } from '../client/check-objects.ts';
import { storedLimit } from '../client/objects.ts';
import { algorithmOf, contentHashOf, hashBytes, objectPath } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { nodeHashing } from './hashing.ts';
import { nodeInflating } from './inflating.ts';

const FIRST_BUFFER_BYTES = 1024 * 1024;

export class StoredObjectCheck {
  readonly #folder: string;
  #buffer = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Answers how many bytes are stored. Content is held in memory, stored and inflated. Throws NOT_FOUND, STORAGE, INTEGRITY,
   * FORMAT, LIMIT.
   */
  check(object: CheckedObject): number {
    const path = objectPath(object.hash, object.type);
    const fd = this.#attempt(path, () => openSync(join(this.#folder, path), 'r'));
    try {
      return object.sizeBytes === undefined
        ? this.#checkStored(fd, path, object)
        : this.#checkContent(fd, path, object, object.sizeBytes);
    } finally {
      closeSync(fd);
    }
  }

  #checkContent(fd: number, path: string, object: CheckedObject, sizeBytes: number): number {
    const { hash, compression } = object;
    const stored = this.#readAll(fd, path, storedLimit(sizeBytes));
    const actual = hashBytes(nodeHashing, algorithmOf(hash), stored);
    if (actual !== hash) throw wrongHash(path, actual);
    const content = compression === 'none' ? stored : nodeInflating.inflate(stored, sizeBytes);
    if (content.length !== sizeBytes) {
      throw new ThimbleError('INTEGRITY', `${path} has ${content.length} bytes of content, not ${sizeBytes}`);
    }
    return stored.length;
  }

  /** Piece by piece: nobody says how long it may be. */
  #checkStored(fd: number, path: string, { hash }: CheckedObject): number {
    const algorithm = algorithmOf(hash);
    const hasher = nodeHashing.createHasher(algorithm);
    const buffer = this.#buffer;
    let length = 0;
    for (let count = -1; count !== 0; length += count) {
      count = this.#attempt(path, () => readSync(fd, buffer, 0, buffer.length, null));
      hasher.update(buffer.subarray(0, count));
    }
    const actual = contentHashOf(algorithm, hasher.digest());
    if (actual !== hash) throw wrongHash(path, actual);
    return length;
  }

  /** Valid until the next call. */
  #readAll(fd: number, path: string, limitBytes: number): Buffer {
    let filled = 0;
    for (;;) {
      if (filled > limitBytes) {
        throw new ThimbleError(
          'INTEGRITY',
          `${path} is longer than the ${limitBytes} bytes that it may have`,
        );
      }
      if (filled === this.#buffer.length) {
        const larger = Buffer.allocUnsafeSlow(2 * filled);
        this.#buffer.copy(larger);
        this.#buffer = larger;
      }
      const buffer = this.#buffer;
      const at = filled;
      const count = this.#attempt(path, () => readSync(fd, buffer, at, buffer.length - at, null));
      if (count === 0) return buffer.subarray(0, filled);
      filled += count;
    }
  }

  #attempt<T>(path: string, action: () => T): T {
    try {
      return action();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const isAbsent = code === 'ENOENT' || code === 'ENOTDIR';
      throw new ThimbleError(
        isAbsent ? 'NOT_FOUND' : 'STORAGE',
        `Cannot ${isAbsent ? 'find' : 'read'} ${path} in ${this.#folder}: ${code}`,
        { cause: error },
      );
    }
  }
}
