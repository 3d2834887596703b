/** Storage in a local folder, laid out as a web server serves it. */

import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { ThimbleError } from '../core/errors.ts';
import type { FolderLocation, Storage, StoredObject } from './storage.ts';

const TEMPORARY = 'data/txn';

export class FolderStorage implements Storage {
  readonly name: string;
  readonly parallel = 1;
  readonly #folder: string;
  /** A folder of its own for each thread: in a shared one they would wait for each other with every file. */
  #scratch: string | undefined;
  #counter = 0;

  constructor(folder: string) {
    this.#folder = folder;
    this.name = folder;
  }

  get location(): FolderLocation {
    return { kind: 'folder', path: this.#folder };
  }

  async create(): Promise<void> {
    this.#attempt('create', '', () => {
      mkdirSync(join(this.#folder, TEMPORARY), { recursive: true });
      for (let shard = 0; shard < 256; shard++) {
        mkdirSync(join(this.#folder, 'data', shard.toString(16).padStart(2, '0')), { recursive: true });
      }
    });
  }

  async size(path: string): Promise<number | undefined> {
    return this.#attempt(
      'look at',
      path,
      () => statSync(join(this.#folder, path), { throwIfNoEntry: false })?.size,
    );
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    try {
      return readFileSync(join(this.#folder, path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw this.#failure('read', path, error);
    }
  }

  async putObject(path: string, bytes: Uint8Array): Promise<boolean> {
    if (existsSync(join(this.#folder, path))) return false;
    this.#write(path, bytes, false);
    return true;
  }

  async replace(path: string, bytes: Uint8Array): Promise<void> {
    this.#write(path, bytes, true);
  }

  async remove(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      this.#attempt('remove', path, () => rmSync(join(this.#folder, path), { force: true }));
    }
  }

  async *objects(): AsyncGenerator<StoredObject> {
    for (let shard = 0; shard < 256; shard++) {
      const folder = `data/${shard.toString(16).padStart(2, '0')}`;
      for (const name of this.#list(folder)) {
        const path = `${folder}/${name}`;
        const stats = this.#attempt('look at', path, () =>
          statSync(join(this.#folder, path), { throwIfNoEntry: false }),
        );
        if (stats?.isFile() !== true) continue;
        yield { path, sizeBytes: stats.size, modifiedSeconds: Math.floor(stats.mtimeMs / 1000) };
      }
    }
  }

  #list(folder: string): string[] {
    return this.#attempt('list', folder, () => {
      const path = join(this.#folder, folder);
      return existsSync(path) ? readdirSync(path) : [];
    });
  }

  /** `sync -f` flushes the one file system that the folder is on; there is no such call in Node. */
  async flush(): Promise<void> {
    const child = spawn('sync', ['-f', this.#folder], { stdio: 'ignore' });
    const status = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    }).catch((error: unknown) => {
      throw this.#failure('flush', '', error);
    });
    if (status !== 0) throw this.#failure('flush', '', new Error(`sync ended with status ${status}`));
  }

  async close(): Promise<void> {
    if (this.#scratch !== undefined) rmSync(this.#scratch, { recursive: true, force: true });
    this.#scratch = undefined;
  }

  async removeTemporaryFiles(): Promise<void> {
    const folder = join(this.#folder, TEMPORARY);
    try {
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
    } catch {
      // They take room and harm nobody; the next publisher tries again.
    }
  }

  /** Whole, then renamed. Objects are made durable together by `flush`; a file that is replaced, on its own. */
  #write(path: string, bytes: Uint8Array, durable: boolean): void {
    this.#attempt('write', path, () => {
      this.#scratch ??= mkdtempSync(join(this.#folder, TEMPORARY, `${process.pid}-`));
      const temporary = join(this.#scratch, String(this.#counter++));
      try {
        const fd = openSync(temporary, 'wx', 0o644);
        try {
          for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
          if (durable) fsyncSync(fd);
        } finally {
          closeSync(fd);
        }
        const target = join(this.#folder, path);
        try {
          renameSync(temporary, target);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
          mkdirSync(dirname(target), { recursive: true });
          renameSync(temporary, target);
        }
        if (durable) this.#syncFolder(dirname(target));
      } catch (error) {
        rmSync(temporary, { force: true });
        throw error;
      }
    });
  }

  #syncFolder(folder: string): void {
    const fd = openSync(folder, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  #attempt<T>(verb: string, path: string, action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw this.#failure(verb, path, error);
    }
  }

  #failure(verb: string, path: string, cause: unknown): ThimbleError {
    const { code } = cause as NodeJS.ErrnoException;
    return new ThimbleError('STORAGE', `Cannot ${verb} ${join(this.#folder, path)}`, {
      hint: code === 'ENOSPC' ? 'the disk is full' : undefined,
      cause,
    });
  }
}
