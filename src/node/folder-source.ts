import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Source, SourceFile } from '../client/source.ts';
import { ThimbleError } from '../core/errors.ts';

const CHUNK_BYTES = 256 * 1024;

/** A repository in a folder: the storage of a publisher on this machine, or a copy on a medium. */
export class FolderSource implements Source {
  readonly name: string;
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.name = folder;
  }

  async open(path: string): Promise<SourceFile> {
    let handle: FileHandle;
    try {
      handle = await open(join(this.#folder, path));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      throw new ThimbleError(
        code === 'ENOENT' ? 'NOT_FOUND' : 'NETWORK',
        `Cannot get ${path} from ${this.#folder}: ${code}`,
        { cause: error },
      );
    }
    let sizeBytes: number;
    try {
      sizeBytes = (await handle.stat()).size;
    } catch (error) {
      await handle.close();
      throw error;
    }
    let closed = false;
    const close = () => {
      if (closed) return;
      closed = true;
      void handle.close();
    };
    return {
      sizeBytes,
      async next() {
        if (closed) return undefined;
        const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, sizeBytes + 1));
        try {
          const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
          return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead);
        } catch (error) {
          throw new ThimbleError('NETWORK', `Cannot read ${path} from ${join('', name(error))}`, {
            cause: error,
          });
        }
      },
      close,
    };
  }
}

function name(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
