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

async function run(store: ContentStore, job: ContentJob): Promise<ContentResult> {
  try {
    if (job.kind === 'bytes') {
      return { id: job.id, hash: await store.putContent(job.type, job.bytes), counters: store.counters };
    }
    const files: StoredContent[] = [];
    for (const path of job.hostPaths) files.push(await store.putFile(Buffer.from(path, 'latin1')));
    return { id: job.id, files, counters: store.counters };
  } catch (error) {
    const { code, hint } =
      error instanceof ThimbleError ? error : { code: 'INTERNAL' as const, hint: undefined };
    return { id: job.id, counters: store.counters, failure: { code, message: messageOf(error), hint } };
  }
}

function serve(port: MessagePort, { location, settings }: ContentWorkerData): void {
  const store = new ContentStore(openStorage(location), nodeHashing, settings);
  port.on('message', (job: ContentJob) => {
    void run(store, job).then((result) => port.postMessage(result));
  });
}

if (parentPort !== null && (workerData as Partial<ContentWorkerData>)?.role === 'content-worker') {
  serve(parentPort, workerData as ContentWorkerData);
}
