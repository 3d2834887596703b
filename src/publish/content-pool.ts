/**
 * Stores file contents on all cores. Small files travel in batches, what is under way is bounded, and the first failure
 * ends everything.
 */

import { createReadStream, openSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { Chunk } from '../core/catalog/catalog-reader.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { TreeContent } from '../core/tree.ts';
import type { StorageLocation } from '../storage/storage.ts';
import { findCut } from './chunker.ts';
import {
  FILE_FLAGS,
  readFailure,
  type StoreCounters,
  type StoredContent,
  type StoreSettings,
  storedContent,
} from './content-store.ts';
import type { ContentJob, ContentResult, ContentWorkerData } from './content-worker.ts';

/** A batch is closed when it has this many files or bytes. */
const BATCH_FILES = 128;
const BATCH_BYTES = 2 * 1024 * 1024;
/** Files larger than this are cut here and compressed by all workers; others are one worker's affair. */
const SHARED_BYTES = 64 * 1024 * 1024;
/** A small nursery: buffers are few and large, and garbage that waits there is memory. */
const YOUNG_GENERATION_MB = 8;
const READ_BYTES = 1024 * 1024;
/** Jobs waiting or running per worker: enough to never run dry, few enough to keep memory flat. */
const JOBS_PER_WORKER = 4;

interface PendingJob {
  readonly resolve: (result: ContentResult) => void;
  readonly reject: (error: unknown) => void;
}

interface BatchedFile {
  readonly hostPath: string;
  readonly resolve: (content: StoredContent) => void;
  readonly reject: (error: unknown) => void;
}

/** In an object of its own: a bare promise would be waited for by whoever waits for room. */
export interface AddedContent {
  readonly stored: Promise<StoredContent>;
}

interface Piece {
  readonly type: '' | 'P';
  readonly sizeBytes: number;
  readonly hash: ContentHash;
}

export class ContentPool {
  readonly #workers: Worker[];
  readonly #load: number[];
  readonly #counters: StoreCounters[];
  readonly #settings: StoreSettings;
  readonly #pending = new Map<number, PendingJob & { readonly worker: number }>();
  readonly #ready: (() => void)[] = [];
  #batch: BatchedFile[] = [];
  #batchBytes = 0;
  #nextId = 0;
  #failure: unknown;

  constructor(location: StorageLocation, settings: StoreSettings, threads = availableParallelism()) {
    this.#settings = settings;
    const data: ContentWorkerData = { role: 'content-worker', location, settings };
    this.#workers = Array.from({ length: threads }, (_, index) => this.#start(index, data));
    this.#load = this.#workers.map(() => 0);
    this.#counters = this.#workers.map(() => ({ objects: 0, newObjects: 0, newBytes: 0, readBytes: 0 }));
  }

  /**
   * Stores a file's content. Returns when the pool has room for more; the result follows in `stored`. A failure rejects
   * every `stored`, and every later call.
   */
  async add(content: TreeContent): Promise<AddedContent> {
    const stored =
      content.kind === 'file' && content.sizeBytes <= SHARED_BYTES
        ? this.#addFile(content.hostPath, content.sizeBytes)
        : Promise.all(await this.#addStream(content)).then((pieces) =>
            contentOfPieces(pieces, this.#settings),
          );
    // Whoever waits for the results sees the failure; until then it must not count as unhandled.
    stored.catch(() => {});
    await this.#room();
    return { stored };
  }

  /** Waits until everything added is stored. */
  async drain(): Promise<void> {
    this.#flushBatch();
    while (this.#pending.size > 0) await new Promise<void>((resolve) => this.#ready.push(resolve));
    if (this.#failure !== undefined) throw this.#failure;
  }

  counters(): StoreCounters {
    const sum = { objects: 0, newObjects: 0, newBytes: 0, readBytes: 0 };
    for (const counters of this.#counters) {
      sum.objects += counters.objects;
      sum.newObjects += counters.newObjects;
      sum.newBytes += counters.newBytes;
      sum.readBytes += counters.readBytes;
    }
    return sum;
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #addFile(hostPath: string, sizeBytes: number): Promise<StoredContent> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#batch.push({ hostPath, resolve, reject });
      this.#batchBytes += sizeBytes;
      if (this.#batch.length >= BATCH_FILES || this.#batchBytes >= BATCH_BYTES) this.#flushBatch();
    });
  }

  #flushBatch(): void {
    const files = this.#batch;
    if (files.length === 0) return;
    this.#batch = [];
    this.#batchBytes = 0;
    const hostPaths = files.map((file) => file.hostPath);
    this.#run((id) => ({ kind: 'files', id, hostPaths }))
      .then((result) => {
        for (const [i, file] of files.entries()) file.resolve(result.files![i]!);
      })
      .catch((error: unknown) => {
        for (const file of files) file.reject(error);
      });
  }

  /** Reads a stream to its end, cuts it as the workers cut files, and has them store the pieces. */
  async #addStream(content: TreeContent): Promise<Promise<Piece>[]> {
    const { chunkSizes } = this.#settings;
    const buffer = new Uint8Array(Math.min(content.sizeBytes, chunkSizes.maxBytes) + 1);
    const pieces: Promise<Piece>[] = [];
    let filled = 0;
    const emit = async (type: '' | 'P', sizeBytes: number) => {
      const stored = this.#putBytes(type, buffer.slice(0, sizeBytes));
      pieces.push(stored.then((hash) => ({ type, sizeBytes, hash })));
      buffer.copyWithin(0, sizeBytes, filled);
      filled -= sizeBytes;
      await this.#room();
    };
    const source = content.kind === 'stream' ? content.chunks : readHostFile(content.hostPath);
    for await (const arrived of source) {
      for (let at = 0; at < arrived.length; ) {
        const part = arrived.subarray(at, at + buffer.length - filled);
        buffer.set(part, filled);
        filled += part.length;
        at += part.length;
        if (filled === buffer.length) await emit('P', findCut(buffer, filled, chunkSizes));
      }
    }
    const isWhole = pieces.length === 0 && findCut(buffer, filled, chunkSizes) === filled;
    if (isWhole) await emit('', filled);
    else while (filled > 0) await emit('P', findCut(buffer, filled, chunkSizes));
    return pieces;
  }

  async #putBytes(type: '' | 'P', bytes: Uint8Array): Promise<ContentHash> {
    const result = await this.#run(
      (id) => ({ kind: 'bytes', id, type, bytes }),
      [bytes.buffer as ArrayBuffer],
    );
    return result.hash!;
  }

  #run(makeJob: (id: number) => ContentJob, transfer: ArrayBuffer[] = []): Promise<ContentResult> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    const worker = this.#load.indexOf(Math.min(...this.#load));
    this.#load[worker]!++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, worker });
      this.#workers[worker]!.postMessage(makeJob(id), transfer);
    });
  }

  /** Resolves when another job may be added. */
  async #room(): Promise<void> {
    while (this.#pending.size >= this.#workers.length * JOBS_PER_WORKER && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#ready.push(resolve));
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #start(index: number, data: ContentWorkerData): Worker {
    const worker = new Worker(new URL('./content-worker.ts', import.meta.url), {
      workerData: data,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    worker.on('message', (result: ContentResult) => this.#onResult(result));
    worker.on('error', (error) =>
      this.#fail(
        new ThimbleError('INTERNAL', `Worker thread ${index} of the publisher failed`, { cause: error }),
      ),
    );
    return worker;
  }

  #onResult(result: ContentResult): void {
    const job = this.#pending.get(result.id);
    // After a failure nobody waits for the rest.
    if (job === undefined) return;
    this.#pending.delete(result.id);
    this.#load[job.worker]!--;
    this.#counters[job.worker] = result.counters;
    if (result.failure === undefined) {
      job.resolve(result);
    } else {
      const { code, message, hint } = result.failure;
      const error = new ThimbleError(code, message, { hint });
      job.reject(error);
      this.#fail(error);
    }
    for (const wake of this.#ready.splice(0)) wake();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    for (const job of this.#pending.values()) job.reject(this.#failure);
    this.#pending.clear();
    for (const file of this.#batch.splice(0)) file.reject(this.#failure);
    for (const wake of this.#ready.splice(0)) wake();
  }
}

async function* readHostFile(hostPath: ByteString): AsyncGenerator<Uint8Array> {
  const path = Buffer.from(hostPath, 'latin1');
  try {
    const fd = openSync(path, FILE_FLAGS);
    yield* createReadStream(path, { fd, highWaterMark: READ_BYTES });
  } catch (error) {
    throw readFailure(path, error);
  }
}

function contentOfPieces(pieces: readonly Piece[], settings: StoreSettings): StoredContent {
  const [first] = pieces;
  if (first?.type === '') return storedContent(settings, first.sizeBytes, first.hash, []);
  let offset = 0;
  const chunks: Chunk[] = [];
  for (const { sizeBytes, hash } of pieces) {
    chunks.push({ offset, sizeBytes, hash });
    offset += sizeBytes;
  }
  return storedContent(settings, offset, undefined, chunks);
}
