/**
 * A profile on its way into the cache of a mount: finds it, starts the thread that streams it, puts away what arrives, and
 * lets reads wait for what is about to. A mount works the same without it, so whatever goes wrong ends only the profile.
 */

import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type CacheId, cacheIdOf, type ObjectCache } from '../client/cache.ts';
import { Arrivals } from '../client/profile/arrivals.ts';
import { findProfile, loadPlaces, loadProfiles } from '../client/profile/find-profile.ts';
import type { ProfileStreamCounters } from '../client/profile/profile-stream.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { errorCodeOf, messageOf } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import type { Profile } from '../core/profile-index.ts';
import type { PlacedObject } from '../core/profile-table.ts';
import { nodeClock } from '../node/clock.ts';
import type { RepositoryAccess, RepositoryAddress } from '../node/repository-access.ts';
import { SharedQueue } from '../node/shared-queue.ts';
import {
  INDEX_BYTES,
  type NetworkOptions,
  type ProfileMessage,
  type ProfileWorkerData,
} from './profile-worker.ts';

export interface ProfileFeedOptions {
  readonly name: string;
  /** The file that calls `runProfileWorker` when it is run as a worker thread of this role. */
  readonly workerFile: string | URL;
  readonly access: RepositoryAccess;
  /** What `access` was opened with: the thread has connections of its own. */
  readonly address: RepositoryAddress;
  readonly network: NetworkOptions;
  /** Inflated; what is beyond it is left to the reads, so that the stream does not push out of the cache what it has brought. */
  readonly limitBytes: number;
  readonly log: Log;
}

export type ProfilePhase = 'looking' | 'absent' | 'streaming' | 'complete' | 'failed' | 'cancelled';

export interface ProfileStatus {
  readonly name: string;
  readonly phase: ProfilePhase;
  readonly failure: string | undefined;
  /** Of the profile, and of those what was not in the cache when it began. */
  readonly objects: number;
  readonly missing: number;
  /** Put into the cache. */
  readonly delivered: number;
  readonly deliveredBytes: number;
  /** From the network, as stored. */
  readonly receivedBytes: number;
  readonly requests: number;
  /** Objects or packs that could not be used. */
  readonly damaged: number;
  /** Arrived, and were here already. */
  readonly redundant: number;
  /** Reads that waited for an object of the stream, and those that did in vain. */
  readonly waited: number;
  readonly waitedInVain: number;
  readonly seconds: number;
}

/** For contents on their way from the thread that streams. */
const QUEUE_BYTES = 8 * 1024 * 1024;
/** 1 Gbit/s. */
const FAST_BYTES_PER_MS = 125_000;
const MIN_AHEAD_BYTES = 1024 * 1024;
const MAX_AHEAD_BYTES = 16 * 1024 * 1024;
/** Written at once; other work of this thread comes in between. */
const SLICE_BYTES = 1024 * 1024;
const CHECKED_AT_ONCE = 256;
const NOTHING: ProfileStreamCounters = { requests: 0, receivedBytes: 0, delivered: 0, damaged: 0 };

export class ProfileFeed {
  /** Resolves when it has ended, however. */
  readonly ended: Promise<void>;
  readonly #options: ProfileFeedOptions;
  readonly #startedMs = performance.now();
  #endedMs: number | undefined;
  #phase: ProfilePhase = 'looking';
  #failure: string | undefined;
  #worker: Worker | undefined;
  /** As long as it streams. */
  #contents: SharedQueue | undefined;
  #arrivals: Arrivals | undefined;
  #places: readonly PlacedObject[] = [];
  #counters = NOTHING;
  #missing = 0;
  #delivered = 0;
  #deliveredBytes = 0;
  #redundant = 0;

  constructor(options: ProfileFeedOptions) {
    this.#options = options;
    this.ended = this.#run()
      .catch((error: unknown) =>
        this.#end(errorCodeOf(error) === 'NOT_FOUND' ? 'absent' : 'failed', messageOf(error)),
      )
      .then(() => this.#close());
  }

  /** Ends it at once; what is here stays. */
  cancel(): void {
    if (this.#endedMs === undefined) this.#end('cancelled');
    void this.#worker?.terminate();
  }

  status(): ProfileStatus {
    return {
      name: this.#options.name,
      phase: this.#phase,
      failure: this.#failure,
      objects: this.#places.length,
      missing: this.#missing,
      delivered: this.#delivered,
      deliveredBytes: this.#deliveredBytes,
      receivedBytes: this.#counters.receivedBytes,
      requests: this.#counters.requests,
      damaged: this.#counters.damaged,
      redundant: this.#redundant,
      waited: this.#arrivals?.counters.waited ?? 0,
      waitedInVain: this.#arrivals?.counters.waitedInVain ?? 0,
      seconds: ((this.#endedMs ?? performance.now()) - this.#startedMs) / 1000,
    };
  }

  async #run(): Promise<void> {
    const { access, name } = this.#options;
    const { repository, objects } = access;
    const manifest = await repository.fetchManifest();
    const askedMs = performance.now();
    const profile = findProfile(await loadProfiles(objects, manifest), name);
    this.#places = await loadPlaces(objects, profile);
    // Two requests, one after the other; from the cache they take no time, and tell nothing.
    const roundTripMs = (performance.now() - askedMs) / 2;
    const wanted = new Uint8Array(new SharedArrayBuffer(this.#places.length));
    this.#missing = await this.#markMissing(wanted);
    if (this.#isOver) return;
    if (this.#missing === 0) return this.#end('complete');
    this.#arrivals = new Arrivals(this.#places, wanted, nodeClock, roundTripMs);
    objects.arrivals = this.#arrivals;
    this.#phase = 'streaming';
    await this.#stream(profile, wanted, aheadBytesOf(roundTripMs));
  }

  get #isOver(): boolean {
    return this.#endedMs !== undefined;
  }

  /** Answers how many. */
  async #markMissing(wanted: Uint8Array): Promise<number> {
    const { cache } = this.#options.access;
    let missing = 0;
    let leftBytes = this.#options.limitBytes;
    for (const [index, { hash, compression, sizeBytes }] of this.#places.entries()) {
      if (index % CHECKED_AT_ONCE === 0) await turn();
      leftBytes -= sizeBytes;
      if (leftBytes < 0) break;
      if (cache.has(cacheIdOf(hash, compression))) continue;
      wanted[index] = 1;
      missing++;
    }
    return missing;
  }

  async #stream({ packs }: Profile, wanted: Uint8Array, aheadBytes: number): Promise<void> {
    const { workerFile, address, network } = this.#options;
    this.#contents = new SharedQueue(QUEUE_BYTES);
    const data: ProfileWorkerData = {
      role: 'profile-worker',
      address,
      access: networkOptions(network),
      places: this.#places,
      packs,
      wanted,
      aheadBytes,
      contents: this.#contents.shared,
    };
    const worker = new Worker(workerFile, { workerData: data });
    this.#worker = worker;
    let putting = Promise.resolve();
    await new Promise<void>((resolve, reject) => {
      worker.on('message', (message: ProfileMessage) => {
        this.#counters = message.counters;
        putting = putting.then(() => this.#take(message)).catch(reject);
      });
      worker.once('error', reject);
      worker.once('exit', () => void putting.then(resolve));
    });
  }

  async #take(message: ProfileMessage): Promise<void> {
    if (this.#isOver) return;
    if ('failure' in message) {
      return this.#end(message.failure === undefined ? 'complete' : 'failed', message.failure);
    }
    const { index, content } = message;
    // One message for each that is in the queue.
    if (content === undefined) this.#takeQueued();
    else await this.#put(index, content);
    this.#worker?.postMessage(content?.length ?? 0);
  }

  #takeQueued(): void {
    const record = this.#contents?.take();
    if (record === undefined) return;
    const [index] = new Float64Array(record.buffer, record.byteOffset, 1);
    const content = record.subarray(INDEX_BYTES);
    const id = this.#idOf(index!);
    if (this.#options.access.cache.has(id)) this.#redundant++;
    else {
      this.#options.access.cache.put(id, content);
      this.#count(content);
    }
    this.#contents?.release();
    this.#arrivals?.arrived(index!, this.#places[index!]!);
  }

  async #put(index: number, content: Bytes): Promise<void> {
    const { cache } = this.#options.access;
    const id = this.#idOf(index);
    if (cache.has(id)) this.#redundant++;
    else {
      await putInSlices(cache, id, content);
      this.#count(content);
    }
    this.#arrivals?.arrived(index, this.#places[index]!);
  }

  #idOf(index: number): CacheId {
    const { hash, compression } = this.#places[index]!;
    return cacheIdOf(hash, compression);
  }

  #count(content: Bytes): void {
    this.#delivered++;
    this.#deliveredBytes += content.length;
  }

  #end(phase: ProfilePhase, failure?: string): void {
    if (this.#isOver) return;
    this.#endedMs = performance.now();
    this.#phase = phase;
    this.#failure = failure;
    this.#arrivals?.end();
    this.#contents = undefined;
    const { log, access } = this.#options;
    if (access.objects.arrivals === this.#arrivals) access.objects.arrivals = undefined;
    if (phase === 'failed') log.warn('profile ended early', { profile: this.#options.name, error: failure });
    else log.info('profile ended', { ...this.status() });
  }

  #close(): void {
    // A thread that ended without a word.
    this.#end('failed', 'the thread that streams it has ended');
    void this.#worker?.terminate();
  }
}

/** What a fast line holds while a request goes there and its response comes back. */
function aheadBytesOf(roundTripMs: number): number {
  return Math.min(Math.max(roundTripMs * FAST_BYTES_PER_MS, MIN_AHEAD_BYTES), MAX_AHEAD_BYTES);
}

/** Without what else may be there: a cache has one owner, and functions stay in their thread. */
function networkOptions({ networkSettings, proxyFile, http, retries }: NetworkOptions): NetworkOptions {
  return {
    ...(networkSettings === undefined ? {} : { networkSettings }),
    ...(proxyFile === undefined ? {} : { proxyFile }),
    ...(http === undefined ? {} : { http }),
    ...(retries === undefined ? {} : { retries }),
  };
}

/** With turns for others between. */
async function putInSlices(cache: ObjectCache, id: CacheId, content: Bytes): Promise<void> {
  const writer = cache.create(id, content.length);
  try {
    for (let at = 0; at < content.length; at += SLICE_BYTES) {
      if (at > 0) await turn();
      writer.write(content.subarray(at, at + SLICE_BYTES));
    }
    writer.commit();
  } catch (error) {
    writer.abort();
    throw error;
  }
}
