/** The worker thread of the publisher: stores batches of files and pieces of memory. */

import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type { ContentHash } from '../core/content-hash.ts';
import { type ErrorCode, messageOf, ThimbleError } from '../core/errors.ts';
import { nodeHashing } from '../node/hashing.ts';
import { openStorage } from '../storage/open-storage.ts';
import type { StorageLocation } from '../storage/storage.ts';
import { ContentStore, type StoreCounters, type StoredContent, type StoreSettings } from './content-store.ts';

export interface ContentWorkerData {
  readonly role: 'content-worker';
  readonly location: StorageLocation;
  readonly settings: StoreSettings;
}

export type ContentJob =
  | { readonly kind: 'files'; readonly id: number; readonly hostPaths: readonly string[] }
  | { readonly kind: 'bytes'; readonly id: number; readonly type: '' | 'P'; readonly bytes: Uint8Array };

export interface ContentResult {
  readonly id: number;
  readonly files?: readonly StoredContent[];
  readonly hash?: ContentHash;
  /** Of this worker, since its start. */
  readonly counters: StoreCounters;
  readonly failure?: {
    readonly code: ErrorCode;
    readonly message: string;
    readonly hint: string | undefined;
  };
}

/**
 * As many files at a time as the storage likes. One after another, they share a store and its buffer; else each has a store
 * of its own: a buffer is up to a chunk large, and is not kept longer than for its file.
 */
class ContentLanes {
  readonly counters: StoreCounters = { objects: 0, newObjects: 0, newBytes: 0, readBytes: 0 };
  readonly #makeStore: () => ContentStore;
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(parallel: number, makeStore: () => ContentStore) {
    const shared = parallel === 1 ? makeStore() : undefined;
    this.#makeStore = () => shared ?? makeStore();
    this.#free = parallel;
  }

  /** Waits for its turn. */
  async run<T>(action: (store: ContentStore) => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const store = this.#makeStore();
    try {
      return await action(store);
    } finally {
      for (const name of Object.keys(this.counters) as (keyof StoreCounters)[]) {
        this.counters[name] += store.counters[name];
        store.counters[name] = 0;
      }
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

async function run(lanes: ContentLanes, job: ContentJob): Promise<ContentResult> {
  const { counters } = lanes;
  try {
    if (job.kind === 'bytes') {
      return {
        id: job.id,
        hash: await lanes.run((store) => store.putContent(job.type, job.bytes)),
        counters,
      };
    }
    const stored = job.hostPaths.map((path) =>
      lanes.run((store) => store.putFile(Buffer.from(path, 'latin1'))),
    );
    return { id: job.id, files: await Promise.all(stored), counters };
  } catch (error) {
    const { code, hint } =
      error instanceof ThimbleError ? error : { code: 'INTERNAL' as const, hint: undefined };
    return { id: job.id, counters, failure: { code, message: messageOf(error), hint } };
  }
}

function serve(port: MessagePort, { location, settings }: ContentWorkerData): void {
  const storage = openStorage(location);
  const lanes = new ContentLanes(storage.parallel, () => new ContentStore(storage, nodeHashing, settings));
  port.on('message', (job: ContentJob) => {
    void run(lanes, job).then((result) => port.postMessage(result));
  });
}

if (parentPort !== null && (workerData as Partial<ContentWorkerData>)?.role === 'content-worker') {
  serve(parentPort, workerData as ContentWorkerData);
}
