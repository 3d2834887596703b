import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { OpenOptions, Source, SourceFile } from '../client/network/source.ts';
import { ThimbleError } from '../core/errors.ts';

const CHUNK_BYTES = 1024 * 1024;

/**
 * A repository in a folder: the storage of a publisher on this machine, or a copy on a medium. Reading is immediate:
 * handing files of a few kB to another thread takes longer than reading them.
 */
export class FolderSource implements Source {
  readonly name: string;
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.name = folder;
  }

  async open(path: string, { range }: Partial<OpenOptions> = {}): Promise<SourceFile> {
    const fd = this.#attempt(path, () => openSync(join(this.#folder, path), 'r'));
    let isOpen = true;
    const close = () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    };
    const { size } = fstatSync(fd);
    let at = Math.min(range?.offset ?? 0, size);
    const end = range === undefined ? size : Math.min(at + range.length, size);
    return {
      sizeBytes: end - at,
      next: async () => {
        if (at === end || !isOpen) return undefined;
        const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at));
        const count = this.#attempt(path, () => readSync(fd, buffer, 0, buffer.length, at));
        at = count === 0 ? end : at + count;
        return count === 0 ? undefined : buffer.subarray(0, count);
      },
      close,
    };
  }

  #attempt<T>(path: string, action: () => T): T {
    try {
      return action();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const isAbsent = code === 'ENOENT' || code === 'ENOTDIR';
      throw new ThimbleError(
        isAbsent ? 'NOT_FOUND' : 'NETWORK',
        `Cannot get ${path} from ${this.#folder}: ${code}`,
        {
          cause: error,
        },
      );
    }
  }
}
