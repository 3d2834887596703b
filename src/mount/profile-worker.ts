/**
 * The thread that streams a profile: HTTP, hashes and inflating of much data at once must not stall the thread that fetches
 * for readers. Verified contents go to that thread, which owns the cache.
 */

import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';
import type { MessagePort } from 'node:worker_threads';
import { ProfileStream, type ProfileStreamCounters } from '../client/profile/profile-stream.ts';
import { messageOf } from '../core/errors.ts';
import { silentLog } from '../core/ports.ts';
import type { Pack } from '../core/profile-index.ts';
import type { PlacedObject } from '../core/profile-table.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { type AccessOptions, openRepository, type RepositoryAddress } from '../node/repository-access.ts';
import { SharedQueue } from '../node/shared-queue.ts';

export interface ProfileWorkerData {
  readonly role: 'profile-worker';
  readonly address: RepositoryAddress;
  readonly access: NetworkOptions;
  readonly places: readonly PlacedObject[];
  readonly packs: readonly Pack[];
  /** One byte for each place; both threads cross out. */
  readonly wanted: Uint8Array;
  readonly aheadBytes: number;
  /** A `SharedQueue` for contents that fit into it: records of the index, as 64 bits, and content. */
  readonly contents: SharedArrayBuffer;
}

/** What of the options is about the network; plain data. */
export type NetworkOptions = Pick<AccessOptions, 'networkSettings' | 'proxyFile' | 'http' | 'retries'>;

/** From the worker: what has arrived is in the queue, or here; or the end, with what ended it too early. */
export type ProfileMessage =
  | {
      readonly index: number;
      readonly content: Uint8Array | undefined;
      readonly counters: ProfileStreamCounters;
    }
  | { readonly failure: string | undefined; readonly counters: ProfileStreamCounters };

/** In the queue, before the content. */
export const INDEX_BYTES = 8;
/** Contents that the other thread has not put away yet, and that are not in the queue. */
const MAX_UNDER_WAY_BYTES = 32 * 1024 * 1024;
/** Readers come first, also for the processor. */
const NICE = 5;

/** Runs until the profile is here, or cannot be had. The other thread answers each object with its length. */
export async function runProfileWorker(data: ProfileWorkerData, main: MessagePort): Promise<void> {
  makeNice();
  let underWayBytes = 0;
  let makeRoom = () => {};
  const somethingIsPutAway = () =>
    new Promise<void>((resolve) => {
      makeRoom = resolve;
    });
  const contents = new SharedQueue(data.contents);
  main.on('message', (putAwayBytes: number) => {
    underWayBytes -= putAwayBytes;
    makeRoom();
  });
  const access = openRepository(data.address, {
    ...data.access,
    cacheFolder: undefined,
    cacheLimitBytes: 0,
    log: silentLog,
  });
  const stream = new ProfileStream({
    servers: access.servers,
    hashing: nodeHashing,
    inflating: nodeInflating,
    places: data.places,
    packs: data.packs,
    wanted: data.wanted,
    aheadBytes: data.aheadBytes,
    room: async (sizeBytes) => {
      const length = INDEX_BYTES + sizeBytes;
      if (length > contents.maxRecordBytes) return;
      while (contents.reserve(length) === undefined) await somethingIsPutAway();
    },
    memory: (sizeBytes) => contents.reserve(INDEX_BYTES + sizeBytes)?.subarray(INDEX_BYTES),
    deliver: async (index, content) => {
      const { counters } = stream;
      if (content.buffer === data.contents) {
        new Float64Array(content.buffer, content.byteOffset - INDEX_BYTES, 1)[0] = index;
        contents.publish(INDEX_BYTES + content.length);
        main.postMessage({ index, content: undefined, counters } satisfies ProfileMessage);
        return;
      }
      underWayBytes += content.length;
      const own = new Uint8Array(content);
      main.postMessage({ index, content: own, counters } satisfies ProfileMessage, [own.buffer]);
      while (underWayBytes > MAX_UNDER_WAY_BYTES) await somethingIsPutAway();
    },
  });
  let failure: string | undefined;
  try {
    await stream.run();
  } catch (error) {
    failure = messageOf(error);
  }
  main.postMessage({ failure, counters: stream.counters } satisfies ProfileMessage);
  access.close();
  main.close();
}

/** On Linux the priority of a thread is its own. */
function makeNice(): void {
  try {
    setPriority(Number(basename(readlinkSync('/proc/thread-self'))), NICE);
  } catch {
    // Without /proc it competes as any other thread.
  }
}
