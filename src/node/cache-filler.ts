/** The main thread's side of the thread that fills caches (`filler-worker.ts`); that starts when there is something to do. */

import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Filler } from '../client/filler.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { messageOf } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import type { NodeId, ObjectNeed } from '../core/vfs.ts';
import type { FolderCacheSettings } from './cache/folder-cache.ts';
import { type FillerJob, jobLength, writeJob } from './filler-job.ts';
import { type FillerWorkerData, RESULT_BYTES } from './filler-worker.ts';
import { SharedQueue } from './shared-queue.ts';

export interface CacheFillerOptions {
  /** The file that calls `runFillerWorker` when it is run as a worker thread. */
  readonly workerFile: string | URL;
  readonly fd: number;
  readonly cache: FolderCacheSettings;
  readonly log: Log;
  /** False: the kernel asks for everything itself. */
  readonly handsOver: boolean;
  /** Whether what is put goes first when something is dropped. */
  readonly isVolatile: () => boolean;
}

/** What a server may have sent and nobody has looked at. */
const QUEUE_BYTES = 2 * 1024 * 1024;
const MAX_CONTENT_BYTES = 1024 * 1024;
const MAX_JOBS = 1024;
const MAX_NUMBER = 0xffff_ffff;
/** The thread has memory, and a part in the cache: both go when it has nothing to do. */
const IDLE_MS = 10_000;
/** The kernel may keep it waiting for a reader; whoever ends the process does not wait for that. */
const MAX_GOODBYE_MS = 1_000;

interface Running {
  readonly jobs: SharedQueue;
  readonly results: SharedQueue;
  readonly hurry: Int32Array;
  readonly ended: Promise<void>;
  /** It has been told. */
  isEnding: boolean;
}

export class CacheFiller implements Filler {
  readonly #options: CacheFillerOptions;
  readonly #waiting = new Map<number, (isGood: boolean) => void>();
  #running: Running | undefined;
  #number = 0;
  /** Somebody waits for a job with a number up to this. */
  #awaited = 0;
  #lastMs = 0;
  #idleTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: CacheFillerOptions) {
    this.#options = options;
  }

  get handsOver(): boolean {
    return this.#options.handsOver;
  }

  fill(need: ObjectNeed, stored: Bytes, node: NodeId | undefined): Promise<boolean> | undefined {
    this.#takeResults();
    if (this.#waiting.size >= MAX_JOBS || need.sizeBytes > MAX_CONTENT_BYTES) return undefined;
    const number = (this.#number % MAX_NUMBER) + 1;
    this.#number = number;
    if (!this.#put(need, number, node, stored)) return undefined;
    return new Promise((resolve) => this.#waiting.set(number, resolve));
  }

  offer(need: ObjectNeed, node: NodeId): void {
    if (this.handsOver && need.sizeBytes <= MAX_CONTENT_BYTES) this.#put(need, 0, node, undefined);
  }

  hurry(): void {
    this.#awaited = this.#number;
    this.#takeResults();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const running = this.#running;
    if (running === undefined) return;
    const untilMs = performance.now() + MAX_GOODBYE_MS;
    while (!this.#end(running) && performance.now() < untilMs) await setTimeout(1);
    await Promise.race([running.ended, setTimeout(MAX_GOODBYE_MS, undefined, { ref: false })]);
  }

  #put(need: ObjectNeed, number: number, node: NodeId | undefined, stored: Bytes | undefined): boolean {
    if (this.#isClosed || this.#running?.isEnding === true) return false;
    const { hash, compression, sizeBytes } = need;
    const job: FillerJob = {
      number,
      hash,
      isPlain: compression === 'none',
      isVolatile: this.#options.isVolatile(),
      sizeBytes,
      node: this.handsOver ? node : undefined,
      stored,
    };
    this.#running ??= this.#start();
    this.#lastMs = performance.now();
    return this.#running.jobs.put(jobLength(job), (record) => writeJob(job, record));
  }

  #takeResults(): void {
    const running = this.#running;
    if (running === undefined) return;
    // Jobs are done in order. Either the thread sees this behind a result, or the result is seen here.
    const [oldest] = this.#waiting.keys();
    if (oldest !== undefined && oldest <= this.#awaited) Atomics.store(running.hurry, 0, 1);
    const { results } = running;
    for (let result = results.take(); result !== undefined; result = results.take()) {
      const [number, isGood] = new Uint32Array(result.buffer, result.byteOffset, 2);
      const resolve = this.#waiting.get(number!);
      this.#waiting.delete(number!);
      resolve?.(isGood === 1);
    }
  }

  #start(): Running {
    const jobs = new SharedQueue(QUEUE_BYTES);
    const results = new SharedQueue(2 * MAX_JOBS * (RESULT_BYTES + 8));
    const hurry = new SharedArrayBuffer(4);
    const { workerFile, fd, cache } = this.#options;
    const workerData: FillerWorkerData = {
      role: 'filler',
      fd,
      cache,
      maxContentBytes: MAX_CONTENT_BYTES,
      jobs: jobs.shared,
      results: results.shared,
      hurry,
    };
    const worker = new Worker(workerFile, { workerData });
    // A mount that is gone does not wait for it: `close` does.
    worker.unref();
    worker.on('message', () => this.#takeResults());
    const ended = new Promise<void>((resolve) => {
      // Its jobs are done by those who asked for them.
      worker.once('error', (error) => {
        this.#isClosed = true;
        this.#options.log.warn('the thread that fills the cache has ended', { error: messageOf(error) });
      });
      worker.once('exit', () => resolve());
    });
    const running: Running = {
      ...{ jobs, results, ended },
      ...{ hurry: new Int32Array(hurry), isEnding: false },
    };
    void ended.then(() => this.#onEnded(running));
    this.#idleTimer = setInterval(() => {
      if (performance.now() - this.#lastMs > IDLE_MS) this.#end(running);
    }, IDLE_MS).unref();
    return running;
  }

  /** Lets the thread finish what it has to do. False if it has so much of that that it cannot be told. */
  #end(running: Running): boolean {
    running.isEnding ||= running.jobs.put(0, () => {});
    return running.isEnding;
  }

  #onEnded(running: Running): void {
    if (this.#running !== running) return;
    this.#takeResults();
    this.#running = undefined;
    clearInterval(this.#idleTimer);
    for (const resolve of this.#waiting.values()) resolve(false);
    this.#waiting.clear();
  }
}
