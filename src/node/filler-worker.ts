/**
 * The thread of a mount that fills caches: it verifies, inflates and puts what was fetched ahead of need, and hands small files to
 * the kernel before anybody reads them, so that reading them is no request at all.
 *
 * The kernel makes it wait, as it hands over a file, for a reader of that file who waits for content. So whatever such a reader
 * could wait for here is done and told before: nothing else is between an object and its result.
 */

import { writeSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import { cacheIdOf } from '../client/cache.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { algorithmOf, hashBytes } from '../core/content-hash.ts';
import { silentLog } from '../core/ports.ts';
import { STORE_HEADER_BYTES, writeStoreHeader } from '../fuse/notifications.ts';
import { FolderCache, type FolderCacheSettings } from './cache/folder-cache.ts';
import { type FillerJob, readJob } from './filler-job.ts';
import { nodeHashing } from './hashing.ts';
import { nodeInflating } from './inflating.ts';
import { SharedQueue } from './shared-queue.ts';

export interface FillerWorkerData {
  readonly role: 'filler';
  /** Of the FUSE device; it is left open. */
  readonly fd: number;
  readonly cache: FolderCacheSettings;
  /** Content of more bytes does not come. */
  readonly maxContentBytes: number;
  /** `SharedQueue`s: jobs in, an empty one is the last; results out. */
  readonly jobs: SharedArrayBuffer;
  readonly results: SharedArrayBuffer;
  /** 32 bits: 1 if somebody waits for a result. */
  readonly hurry: SharedArrayBuffer;
}

/** A result: number of the job, and whether it went well. The main thread is woken for some of them with `undefined`. */
export const RESULT_BYTES = 8;
/** Results that the main thread may not know of yet, as long as there is more to do. */
const MAX_UNTOLD = 32;
const FOREVER_MS = Number.POSITIVE_INFINITY;

/** Runs until the empty job. */
export function runFillerWorker(data: FillerWorkerData, main: MessagePort): void {
  const jobs = new SharedQueue(data.jobs);
  const results = new SharedQueue(data.results);
  const hurry = new Int32Array(data.hurry);
  const { folder, ...limits } = data.cache;
  const cache = FolderCache.open(folder, { ...limits, log: silentLog });
  const filling = new Filling(data, cache);
  let untold = 0;
  const tell = () => {
    untold = 0;
    main.postMessage(undefined);
  };
  for (;;) {
    const record = jobs.take();
    if (record === undefined) {
      if (untold > 0) tell();
      jobs.wait(FOREVER_MS);
      continue;
    }
    if (record.length === 0) break;
    const job = readJob(record);
    if (job.stored !== undefined) {
      const isGood = filling.fill(job, job.stored);
      results.put(RESULT_BYTES, (result) => {
        new Uint32Array(result.buffer, result.byteOffset, 2).set([job.number, isGood ? 1 : 0]);
      });
      untold++;
      const isHurried = Atomics.exchange(hurry, 0, 0) === 1;
      if (isHurried || untold === MAX_UNTOLD) tell();
      // It may be this one that somebody waits for: the kernel asks for it then.
      if (isGood && !isHurried) filling.handOver(job);
    } else if (filling.load(job)) filling.handOver(job);
  }
  jobs.release();
  cache.close();
  main.close();
}

class Filling {
  readonly #fd: number;
  readonly #cache: FolderCache;
  /** Room for the header of a message to the kernel, content, and a byte that shows that content is too long. */
  readonly #message: Buffer;
  readonly #content: Bytes;
  #handsOver = true;

  constructor({ fd, maxContentBytes }: FillerWorkerData, cache: FolderCache) {
    this.#fd = fd;
    this.#cache = cache;
    this.#message = Buffer.allocUnsafeSlow(STORE_HEADER_BYTES + maxContentBytes + 1);
    this.#content = this.#message.subarray(STORE_HEADER_BYTES);
  }

  /** False if the content is not what it should be, or cannot be put. */
  fill({ hash, isPlain, isVolatile, sizeBytes }: FillerJob, stored: Bytes): boolean {
    try {
      if (hashBytes(nodeHashing, algorithmOf(hash), stored) !== hash) return false;
      let length = stored.length;
      if (!isPlain) length = nodeInflating.inflateInto(stored, this.#content.subarray(0, sizeBytes + 1));
      else if (length === sizeBytes) this.#content.set(stored);
      if (length !== sizeBytes) return false;
      this.#cache.isVolatile = isVolatile;
      this.#cache.put(cacheIdOf(hash, isPlain ? 'none' : 'zlib'), this.#content.subarray(0, sizeBytes));
      return true;
    } catch {
      // Whoever does the same again is told.
      return false;
    }
  }

  /** Content that should be in the cache; false if it is not. */
  load({ hash, isPlain, sizeBytes }: FillerJob): boolean {
    const id = cacheIdOf(hash, isPlain ? 'none' : 'zlib');
    return this.#cache.read(id, 0, sizeBytes, this.#content, 0) === sizeBytes;
  }

  /** The kernel gets the content that was filled or loaded last. */
  handOver({ node, sizeBytes }: FillerJob): void {
    if (node === undefined || !this.#handsOver) return;
    writeStoreHeader(this.#message, node, sizeBytes);
    try {
      writeSync(this.#fd, this.#message, 0, STORE_HEADER_BYTES + sizeBytes);
    } catch (error) {
      // ENOENT: it does not know the file (any more), and does not need it. All else concerns every file.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#handsOver = false;
    }
  }
}
