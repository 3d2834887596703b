/**
 * Brings the rest of a snapshot, or of parts of it, into the cache: in the background of a mount, or to fill a cache ahead. What
 * is there is passed over, so that it can be broken off and begun again at any time.
 */

import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import type { Clock, Hashing } from '../core/ports.ts';
import { type ObjectNeed, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { type CacheId, cacheIdOf, type ObjectCache, type SteeredCache } from './cache.ts';
import { MountedSnapshot } from './mounted-snapshot.ts';
import { ObjectTable } from './object-table.ts';
import type { Objects } from './objects.ts';
import type { Snapshot } from './repository.ts';
import { SnapshotReader } from './snapshot-reader.ts';
import { walkSnapshot } from './walk.ts';

export interface CompletionOptions {
  /** Files and folders of the tree; none: all of it. */
  readonly paths: readonly ByteString[];
  /** Of inflated content. */
  readonly rateBytesPerSecond?: number | undefined;
  /** Goes on when the network is back; else a failure of it is the end. */
  readonly isPatient?: boolean;
}

export interface CompletionPorts {
  readonly objects: Objects;
  /** That of `objects`. */
  readonly cache: ObjectCache & Partial<SteeredCache>;
  readonly hashing: Hashing;
  readonly clock: Clock;
}

/** `waiting`: for the network. */
export type CompletionState = 'counting' | 'fetching' | 'waiting' | 'complete' | 'cancelled' | 'failed';

export interface CompletionStatus {
  readonly state: CompletionState;
  readonly paths: readonly string[];
  readonly files: number;
  /** All that is wanted; and of that, what was here before, what has been fetched, and what no server has. */
  readonly objects: number;
  readonly bytes: number;
  readonly presentObjects: number;
  readonly presentBytes: number;
  readonly fetchedObjects: number;
  readonly fetchedBytes: number;
  readonly missingObjects: number;
  readonly bytesPerSecond: number;
  readonly lastError: string | undefined;
}

const PARALLEL = 16;
/** Others get their turn after so many files: a tree whose catalogs are here is walked without waiting for anything. */
const FILES_AT_A_TIME = 128;
/** How often somebody who pauses looks whether it is over. */
const LOOK_MS = 200;
const RETRY_MS = 5_000;

export class Completion {
  readonly #snapshot: Snapshot;
  readonly #ports: CompletionPorts;
  readonly #options: CompletionOptions;
  readonly #probe: Bytes = new Uint8Array(1);
  #mounted: MountedSnapshot | undefined;
  #state: CompletionState = 'counting';
  #isCancelled = false;
  #lastError: string | undefined;
  #startedMs = 0;
  #endedMs: number | undefined;
  /** When the rate allows another byte. */
  #freeAtMs = 0;
  readonly #total = { files: 0, objects: 0, bytes: 0 };
  readonly #present = { objects: 0, bytes: 0 };
  readonly #fetched = { objects: 0, bytes: 0 };
  #missing = 0;

  constructor(snapshot: Snapshot, ports: CompletionPorts, options: CompletionOptions) {
    this.#snapshot = snapshot;
    this.#ports = ports;
    this.#options = options;
  }

  status(): CompletionStatus {
    const ms = this.#startedMs === 0 ? 0 : (this.#endedMs ?? this.#nowMs()) - this.#startedMs;
    return {
      state: this.#state,
      paths: this.#options.paths.map(displayBytes),
      ...this.#total,
      presentObjects: this.#present.objects,
      presentBytes: this.#present.bytes,
      fetchedObjects: this.#fetched.objects,
      fetchedBytes: this.#fetched.bytes,
      missingObjects: this.#missing,
      bytesPerSecond: ms <= 0 ? 0 : Math.round((this.#fetched.bytes * 1000) / ms),
      lastError: this.#lastError,
    };
  }

  /** Ends it as soon as what is under way is here. */
  cancel(): void {
    this.#isCancelled = true;
  }

  /**
   * Fetches all catalogs that are needed, and finds out how much there is to fetch. Throws NOT_FOUND for a path that is not
   * there, LIMIT if the cache or the disk cannot hold it, CANCELLED, and as `Objects.load` does.
   */
  async count(): Promise<void> {
    try {
      const { objects, hashing, cache } = this.#ports;
      this.#mounted = await MountedSnapshot.open(this.#snapshot, objects, { hashing });
      for await (const need of this.#needs(true)) {
        const isHere = this.#isHere(cacheIdOf(need.hash, need.compression));
        add(this.#total, need);
        if (isHere) add(this.#present, need);
      }
      if (cache.status !== undefined) this.#verifyRoom(cache as SteeredCache);
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  /** Fetches what `count` found missing. Throws STORAGE if the cache cannot keep it, NETWORK unless it is patient. */
  async run(): Promise<void> {
    this.#state = 'fetching';
    this.#startedMs = this.#nowMs();
    try {
      const needs = this.#needs(false);
      const work = async () => {
        for await (const need of needs) await this.#bring(need);
      };
      await Promise.all(Array.from({ length: PARALLEL }, work));
      this.#state = 'complete';
    } catch (error) {
      this.#fail(error);
      throw error;
    } finally {
      this.#endedMs = this.#nowMs();
      this.#mounted = undefined;
    }
  }

  /** Every object once. */
  async *#needs(isCounting: boolean): AsyncGenerator<ObjectNeed> {
    const mounted = this.#mounted!;
    const seen = new ObjectTable({ sizes: false });
    const { paths } = this.#options;
    let files = 0;
    for (const path of paths.length === 0 ? [''] : paths) {
      const from = await new SnapshotReader(mounted).find(path);
      if (from === undefined) {
        const shown = displayBytes(path as ByteString);
        throw new ThimbleError('NOT_FOUND', `Cannot find ${shown} in the snapshot`);
      }
      for await (const { node, attributes } of walkSnapshot(mounted, from)) {
        if ((attributes.mode & S_IFMT) !== S_IFREG) continue;
        if (isCounting) this.#total.files++;
        if (++files % FILES_AT_A_TIME === 0) await this.#sleep(0);
        this.#verifyWanted();
        for (const { need } of mounted.vfs.chunksOf(node)) {
          if (seen.add(need.hash, need.compression)) yield { ...need };
        }
      }
    }
  }

  async #bring(need: ObjectNeed): Promise<void> {
    const { cache, objects } = this.#ports;
    const id = cacheIdOf(need.hash, need.compression);
    if (this.#isHere(id) || (await this.#isMissing(need))) return;
    objects.flush();
    if (!cache.has(id)) {
      throw new ThimbleError('STORAGE', `Cannot keep ${need.label}: the cache cannot be written`, {
        hint: 'see what is wrong with the disk of the cache, then begin again: what is there is kept',
      });
    }
    add(this.#fetched, need);
  }

  /** Fetches it. True if no server has it, or not as it should be. */
  async #isMissing(need: ObjectNeed): Promise<boolean> {
    for (;;) {
      await this.#pace(need.sizeBytes);
      this.#verifyWanted();
      try {
        await this.#ports.objects.fetch(need, { background: true });
        this.#state = 'fetching';
        return false;
      } catch (error) {
        this.#lastError = messageOf(error);
        const code = errorCodeOf(error);
        if (MISSING.has(code)) {
          this.#missing++;
          return true;
        }
        if (code !== 'NETWORK' || this.#options.isPatient !== true) throw error;
        this.#state = 'waiting';
        await this.#sleep(RETRY_MS);
      }
    }
  }

  /** Reading marks it as used, so that it is not dropped for what comes. */
  #isHere(id: CacheId): boolean {
    return this.#ports.cache.read(id, 0, 1, this.#probe, 0) !== undefined;
  }

  #verifyRoom(cache: SteeredCache): void {
    const { limitBytes, keepFreeBytes, freeBytes, usedBytes } = cache.status();
    const missing = this.#total.bytes - this.#present.bytes;
    if (this.#total.bytes > limitBytes) {
      throw new ThimbleError(
        'LIMIT',
        `Cannot hold ${this.#total.bytes} bytes: the cache may have ${limitBytes}`,
        { hint: 'give it a higher limit with --cache-size, or name the parts that are wanted' },
      );
    }
    if (freeBytes === undefined) return;
    const room = Math.max(0, freeBytes - keepFreeBytes) + Math.max(0, usedBytes - this.#present.bytes);
    if (missing > room) {
      throw new ThimbleError(
        'LIMIT',
        `Cannot hold ${missing} bytes more: the disk of the cache has room for ${room}`,
        {
          hint: 'make room on the disk, use another folder, or name the parts that are wanted',
        },
      );
    }
  }

  async #pace(sizeBytes: number): Promise<void> {
    const { rateBytesPerSecond: rate } = this.#options;
    if (rate === undefined) return;
    const nowMs = this.#nowMs();
    const startMs = Math.max(nowMs, this.#freeAtMs);
    this.#freeAtMs = startMs + (sizeBytes * 1000) / rate;
    await this.#sleep(startMs - nowMs);
  }

  async #sleep(ms: number): Promise<void> {
    let leftMs = ms;
    do {
      const pauseMs = Math.min(leftMs, LOOK_MS);
      await new Promise<void>((resolve) => this.#ports.clock.after(pauseMs, resolve));
      leftMs -= pauseMs;
    } while (leftMs > 0 && !this.#isCancelled);
  }

  #verifyWanted(): void {
    if (this.#isCancelled) throw new ThimbleError('CANCELLED', 'Stopped before all was here');
  }

  #fail(error: unknown): void {
    this.#state = errorCodeOf(error) === 'CANCELLED' ? 'cancelled' : 'failed';
    if (this.#state === 'failed') this.#lastError = messageOf(error);
    // Whoever works beside the one that failed stops too.
    this.#isCancelled = true;
  }

  #nowMs(): number {
    return this.#ports.clock.monotonicMs();
  }
}

/** Failures of one object: the others may be fine. */
const MISSING: ReadonlySet<string> = new Set(['NOT_FOUND', 'INTEGRITY', 'FORMAT', 'LIMIT', 'UNSUPPORTED']);

function add(sum: { objects: number; bytes: number }, { sizeBytes }: ObjectNeed): void {
  sum.objects++;
  sum.bytes += sizeBytes;
}
