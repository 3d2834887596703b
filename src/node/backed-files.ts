/**
 * Passthrough on a mount: large files that the cache has as one file are read by the kernel itself, without a request, and without
 * a second copy in memory (docs/adr/0016-passthrough.md).
 */

import { closeSync } from 'node:fs';
import { type CacheId, cacheIdOf } from '../client/cache.ts';
import type { StoredChunk } from '../client/stored-file.ts';
import { messageOf, ThimbleError } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import type { NodeId } from '../core/vfs.ts';
import type { OpenedFile, Passthrough, RequestId } from '../fuse/passthrough.ts';
import { type BackingCalls, loadBackingCalls } from './backing-calls.ts';
import { OpenFiles } from './open-files.ts';
import { bytesOf, type FileCache, WholeFiles, wholeIdOf } from './whole-files.ts';

export interface PassthroughSettings {
  /** Smaller files are read as without. */
  readonly minimumBytes: number;
  /** Where the next process finds what is open. */
  readonly openFilesPath: string;
}

export interface PassthroughStatus {
  /** Why there is none; `undefined` where it works as far as is known. */
  readonly refusal: string | undefined;
  readonly minimumBytes: number;
  /** Large files that are open, and of them those that the kernel reads by itself. */
  readonly openFiles: number;
  readonly backedFiles: number;
  /** Openings so far of the second kind. */
  readonly backedOpens: number;
  /** Files that were put together from their pieces. */
  readonly wholeFiles: number;
}

/** What a mount knows of its files. */
export interface FileContents {
  chunksOf(node: NodeId): readonly StoredChunk[];
  /** Hears of each object of a file that the kernel is to read by itself. */
  onTouched(id: CacheId): void;
  /** Whether the kernel has agreed to read files by itself. */
  isAgreed(): boolean;
}

/** As far as there is passthrough, and what there is to say of it. */
export interface PassthroughPart {
  readonly files: BackedFiles | undefined;
  status(): PassthroughStatus | Pick<PassthroughStatus, 'refusal'>;
}

/** Without `files`, and with a line in the log, where the machine cannot do it. */
export async function openBackedFiles(
  settings: PassthroughSettings,
  cache: FileCache,
  log: Log,
): Promise<PassthroughPart> {
  try {
    if (cache.openContent === undefined || process.getuid?.() !== 0) {
      throw new ThimbleError('UNSUPPORTED', 'Cannot use passthrough: it needs root, and a cache folder');
    }
    const calls = await loadBackingCalls();
    const openFiles = new OpenFiles(settings.openFilesPath, settings.minimumBytes);
    const files = new BackedFiles(calls, openFiles, cache, log);
    return { files, status: () => files.status() };
  } catch (error) {
    const refusal = messageOf(error);
    log.warn('no passthrough: files are read as without', { error: refusal });
    return { files: undefined, status: () => ({ refusal }) };
  }
}

export class BackedFiles implements Passthrough {
  readonly #calls: BackingCalls;
  readonly #files: OpenFiles;
  readonly #cache: FileCache;
  readonly #log: Log;
  readonly #wholeFiles: WholeFiles;
  /** Handles of files in pieces that were all here when they were opened. */
  readonly #toBeWhole = new Set<number>();
  #device = -1;
  #contents: FileContents | undefined;
  #refusal: string | undefined;
  #backedOpens = 0;

  constructor(calls: BackingCalls, files: OpenFiles, cache: FileCache, log: Log) {
    this.#calls = calls;
    this.#files = files;
    this.#cache = cache;
    this.#log = log;
    this.#wholeFiles = new WholeFiles(cache, log);
  }

  get minimumBytes(): number {
    return this.#files.minimumBytes;
  }

  /** `device` is the descriptor of `/dev/fuse` that the mount has. */
  start(device: number, contents: FileContents): void {
    this.#device = device;
    this.#contents = contents;
  }

  open(node: NodeId, request: RequestId): OpenedFile | undefined {
    const known = this.#files.find(node);
    if (known !== undefined) {
      if (!this.#files.isCounted(request)) this.#files.reopen(known, request);
      return this.#opened(known);
    }
    const chunks = this.#contents!.chunksOf(node);
    const backingId = this.#back(chunks);
    if (this.#refusal !== undefined) return undefined;
    // Before the kernel knows: it may be told once too often that a file is open, never once too little.
    const handle = this.#files.add(node, backingId, request);
    if (backingId === 0 && chunks.length > 1 && this.#wholeFiles.areHere(chunks)) this.#toBeWhole.add(handle);
    return this.#opened(handle);
  }

  close(handle: number, request: RequestId): void {
    if (this.#files.isCounted(request)) return;
    const closed = this.#files.close(handle, request);
    if (closed === undefined) return;
    if (closed.backingId > 0) this.#calls.close(this.#device, closed.backingId);
    // While it was open it had to stay what it was.
    if (this.#toBeWhole.delete(handle)) void this.#wholeFiles.make(this.#contents!.chunksOf(closed.node));
  }

  /** When the file system is gone. */
  end(): void {
    this.#wholeFiles.stop();
    this.#files.end();
  }

  status(): PassthroughStatus {
    const { files, backed } = this.#files.count();
    return {
      refusal: this.#refusal ?? (this.#contents?.isAgreed() ? undefined : 'the kernel does not offer it'),
      minimumBytes: this.minimumBytes,
      openFiles: files,
      backedFiles: backed,
      backedOpens: this.#backedOpens,
      wholeFiles: this.#wholeFiles.made,
    };
  }

  #opened(handle: number): OpenedFile {
    const backingId = this.#files.backingId(handle);
    if (backingId > 0) this.#backedOpens++;
    return { handle, backingId };
  }

  /** The number of the file behind; 0 if there is none. */
  #back(chunks: readonly StoredChunk[]): number {
    const file = this.#cache.openContent!(wholeIdOf(chunks), bytesOf(chunks));
    if (file === undefined) return 0;
    try {
      const backingId = this.#calls.open(this.#device, file);
      for (const { hash, need } of chunks) this.#contents!.onTouched(cacheIdOf(hash, need.compression));
      return backingId;
    } catch (error) {
      this.#onRefused(error);
      return 0;
    } finally {
      closeSync(file);
    }
  }

  #onRefused(error: unknown): void {
    const code = error instanceof ThimbleError ? error.details['code'] : undefined;
    const why = REFUSALS[String(code)];
    if (why !== undefined) this.#refusal = why;
    this.#log.warn('no passthrough: files are read as without', { error: messageOf(error), why });
  }
}

/** Errors that will not go away. */
const REFUSALS: Readonly<Record<string, string>> = {
  EPERM: 'the process may not, it needs CAP_SYS_ADMIN',
  ELOOP: 'the cache is on a stacked file system, such as an overlay',
  ENOTTY: 'the kernel does not know it',
  EOPNOTSUPP: 'the kernel was built without it',
};
