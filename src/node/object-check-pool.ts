/** Reads, hashes and inflates objects on all cores. Small ones travel in batches, and what is under way is bounded. */

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { isDamage } from '../client/check-findings.ts';
import type { CheckedObject, ObjectCheck, OnObjectResult } from '../client/check-objects.ts';
import { ThimbleError } from '../core/errors.ts';
import { localFolder } from './local-folder.ts';
import type { ObjectCheckJob, ObjectCheckResult, ObjectCheckWorkerData } from './object-check-worker.ts';
import type { RepositoryAddress } from './repository-access.ts';

/** A batch is closed when it has this many objects or bytes of content. */
const BATCH_OBJECTS = 128;
const BATCH_BYTES = 4 * 1024 * 1024;
/** What is taken for the size of an object that nobody tells. */
const UNKNOWN_BYTES = 64 * 1024;
/** Enough to never run dry, few enough to keep memory flat and to stop soon. */
const JOBS_PER_WORKER = 2;
/** A small nursery: buffers are few and large, and garbage that waits there is memory. */
const YOUNG_GENERATION_MB = 8;

interface Added {
  readonly object: CheckedObject;
  readonly onResult: OnObjectResult;
}

export class ObjectCheckPool implements ObjectCheck {
  readonly #isLocal: boolean;
  readonly #workers: Worker[];
  readonly #load: number[];
  readonly #pending = new Map<number, { readonly batch: readonly Added[]; readonly worker: number }>();
  readonly #waiting: (() => void)[] = [];
  #batch: Added[] = [];
  #batchBytes = 0;
  #nextId = 0;
  #failure: unknown;

  constructor(address: RepositoryAddress, threads = availableParallelism()) {
    this.#isLocal = localFolder(address) !== undefined;
    const data: ObjectCheckWorkerData = { role: 'object-check-worker', address };
    this.#workers = Array.from({ length: threads }, () => this.#start(data));
    this.#load = this.#workers.map(() => 0);
  }

  async add(object: CheckedObject, onResult: OnObjectResult): Promise<void> {
    this.#batch.push({ object, onResult });
    this.#batchBytes += object.sizeBytes ?? UNKNOWN_BYTES;
    if (this.#batch.length >= BATCH_OBJECTS || this.#batchBytes >= BATCH_BYTES) this.#send();
    await this.#until(this.#workers.length * JOBS_PER_WORKER - 1);
  }

  async drain(): Promise<void> {
    this.#send();
    await this.#until(0);
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  /** Waits until at most this many jobs are under way. */
  async #until(jobs: number): Promise<void> {
    while (this.#pending.size > jobs && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  #send(): void {
    if (this.#batch.length === 0 || this.#failure !== undefined) return;
    const batch = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    const id = this.#nextId++;
    const worker = this.#load.indexOf(Math.min(...this.#load));
    this.#load[worker]!++;
    this.#pending.set(id, { batch, worker });
    const job: ObjectCheckJob = { id, objects: batch.map(({ object }) => object) };
    this.#workers[worker]!.postMessage(job);
  }

  #start(data: ObjectCheckWorkerData): Worker {
    const worker = new Worker(new URL('./object-check-worker.ts', import.meta.url), {
      workerData: data,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    worker.on('message', (result: ObjectCheckResult) => this.#onResult(result));
    worker.on('error', (cause) =>
      this.#fail(new ThimbleError('INTERNAL', 'A worker thread of the check failed', { cause })),
    );
    return worker;
  }

  #onResult({ id, storedBytes, failures }: ObjectCheckResult): void {
    const { batch, worker } = this.#pending.get(id)!;
    this.#pending.delete(id);
    this.#load[worker]!--;
    const failed = new Map(failures.map((failure) => [failure.index, failure]));
    for (const [index, { object, onResult }] of batch.entries()) {
      const { code, message } = failed.get(index) ?? {};
      const bytes = index === 0 ? storedBytes : 0;
      if (code === undefined) onResult({ storedBytes: bytes });
      else if (isDamage(code, this.#isLocal))
        onResult({ storedBytes: bytes, failure: { object, code, message: message! } });
      else this.#failure ??= new ThimbleError(code, message!);
    }
    this.#wake();
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
