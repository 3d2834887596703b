/**
 * Keeps a mounted file system at the newest revision: looks for one when the time to live of the last has passed, when a server
 * says that there is one, and when somebody asks. Never backwards, and never halfway: docs/manual/updates.md.
 */

import { messageOf } from '../core/errors.ts';
import type { Manifest } from '../core/manifest.ts';
import type { Clock, Log, Random } from '../core/ports.ts';
import type { MountedSnapshot } from './mounted-snapshot.ts';
import type { Repository, ServerRevision, Snapshot } from './repository.ts';
import type { RevisionChanges } from './revision-changes.ts';

export interface UpdatesOptions {
  /** A longer time to live than this is cut short. */
  readonly maxTtlSeconds: number;
  /** After a failure, and while the revision shown is only remembered. */
  readonly retrySeconds: number;
  /** Tells when a server has something else than `root`; `undefined` where none can tell. Throws NETWORK. */
  readonly waitForNews?: ((shown: Snapshot) => Promise<'news' | 'none' | 'unsupported'>) | undefined;
}

export const DEFAULT_UPDATES_OPTIONS: UpdatesOptions = {
  maxTtlSeconds: Number.POSITIVE_INFINITY,
  retrySeconds: 30,
};

/** Before the first look, and where no manifest says another. */
const USUAL_TTL_SECONDS = 240;
/** Every so many looks, all servers are compared: one that has stopped would hold everybody back. */
const COMPARED_EACH = 4;
/** A server that sends everybody at once to another one's door would be no help. */
const NEWS_JITTER_MS = 1000;

export interface UpdatesStatus {
  /** When a server was last asked with success, in seconds since 1970. */
  readonly checkedSeconds: number | undefined;
  readonly nextCheckInSeconds: number | undefined;
  readonly ttlSeconds: number | undefined;
  /** What it is cut short to; missing if it is not. */
  readonly maxTtlSeconds?: number;
  /** Whether a server tells of news by itself. */
  readonly isPushed: boolean;
  readonly moves: number;
  /** Servers that showed an older revision than another when they were last compared. */
  readonly lagging: readonly ServerRevision[];
  /** Of the last look, if it failed. */
  readonly error: string | undefined;
}

export type UpdateResult =
  | { readonly kind: 'unchanged'; readonly snapshot: Snapshot }
  | { readonly kind: 'moved'; readonly snapshot: Snapshot; readonly from: Snapshot };

export interface UpdatesPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export class Updates {
  readonly #mounted: MountedSnapshot;
  readonly #repository: Repository;
  readonly #tellKernel: (changes: RevisionChanges) => Promise<void>;
  readonly #ports: UpdatesPorts;
  readonly #options: UpdatesOptions;
  #maxTtlSeconds: number;
  #checking: Promise<UpdateResult> | undefined;
  #cancelTimer: () => void = () => {};
  #endPause: () => void = () => {};
  #isStopped = false;
  #nextCheckMs: number | undefined;
  #checkedSeconds: number | undefined;
  #ttlSeconds: number | undefined;
  #isPushed = false;
  #moves = 0;
  #looks = 0;
  #lagging: readonly ServerRevision[] = [];
  #error: string | undefined;

  /** `tellKernel` makes the kernel forget what has changed; it is called when the new revision is shown. */
  constructor(
    mounted: MountedSnapshot,
    repository: Repository,
    tellKernel: (changes: RevisionChanges) => Promise<void>,
    ports: UpdatesPorts,
    options: Partial<UpdatesOptions> = {},
  ) {
    this.#mounted = mounted;
    this.#repository = repository;
    this.#tellKernel = tellKernel;
    this.#ports = ports;
    this.#options = { ...DEFAULT_UPDATES_OPTIONS, ...options };
    this.#maxTtlSeconds = this.#options.maxTtlSeconds;
  }

  /** Looks from now on. */
  start(): void {
    const { isRemembered = false } = this.#mounted.snapshot;
    this.#schedule(isRemembered ? this.#options.retrySeconds : this.#ttl(USUAL_TTL_SECONDS));
    void this.#listen();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer();
    this.#endPause();
  }

  /**
   * Looks for a newer revision, and shows it. Who asks while somebody looks already gets the same answer. Throws as
   * `Repository.fetchManifest` and `MountedSnapshot.moveTo` do; then all is as it was. After a server has told of news, caches on the
   * way are not asked.
   */
  checkNow(isPushed = false): Promise<UpdateResult> {
    this.#checking ??= this.#check(isPushed).finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** A longer time to live is cut short; 0: none is. */
  limitTtl(maxTtlSeconds: number): void {
    this.#maxTtlSeconds = maxTtlSeconds === 0 ? Number.POSITIVE_INFINITY : maxTtlSeconds;
    const leftMs = (this.#nextCheckMs ?? 0) - this.#now();
    if (leftMs > 1000 * this.#maxTtlSeconds) this.#schedule(this.#maxTtlSeconds);
  }

  status(): UpdatesStatus {
    const leftMs = this.#nextCheckMs === undefined ? undefined : this.#nextCheckMs - this.#now();
    return {
      checkedSeconds: this.#checkedSeconds,
      nextCheckInSeconds: leftMs === undefined ? undefined : Math.max(0, Math.ceil(leftMs / 1000)),
      ttlSeconds: this.#ttlSeconds,
      ...(Number.isFinite(this.#maxTtlSeconds) ? { maxTtlSeconds: this.#maxTtlSeconds } : {}),
      isPushed: this.#isPushed,
      moves: this.#moves,
      lagging: this.#lagging,
      error: this.#error,
    };
  }

  async #check(isPushed: boolean): Promise<UpdateResult> {
    const { clock, log } = this.#ports;
    const from = this.#mounted.snapshot;
    try {
      const manifest = await this.#newestManifest(isPushed);
      const result = await this.#follow(manifest, from);
      this.#checkedSeconds = clock.unixSeconds();
      this.#error = undefined;
      this.#ttlSeconds = this.#ttl(manifest.ttlSeconds);
      this.#schedule(this.#ttlSeconds);
      return result;
    } catch (error) {
      const message = messageOf(error);
      // Once is enough: a network that is away is away for long.
      if (this.#error !== message) log.warn('cannot look for a new revision', { error: message });
      this.#error = message;
      this.#schedule(this.#options.retrySeconds);
      throw error;
    }
  }

  /** From the server in use; now and then from whichever has the newest, which then is the one in use. */
  async #newestManifest(noCache: boolean): Promise<Manifest> {
    const { servers } = this.#repository;
    const manifest = await this.#repository.fetchManifest({ noCache });
    if (noCache || this.#looks++ % COMPARED_EACH !== 0 || servers.status().servers.length < 2)
      return manifest;
    const shown = await this.#repository.compareServers();
    const newest = shown.reduce((best, one) => (one.revision > best.revision ? one : best), {
      server: servers.current,
      revision: manifest.revision,
    });
    this.#lagging = shown.filter(({ revision }) => revision < newest.revision);
    if (newest.revision === manifest.revision) return manifest;
    const fields = { server: servers.current, revision: manifest.revision, newest: newest.revision };
    this.#ports.log.warn('the server lags behind, another is used', fields);
    servers.switchServer(newest.server);
    return this.#repository.fetchManifest();
  }

  #ttl(seconds: number): number {
    return Math.min(Math.max(seconds, 1), this.#maxTtlSeconds);
  }

  async #follow(manifest: Manifest, from: Snapshot): Promise<UpdateResult> {
    const { rootCatalog, rootCatalogSizeBytes, revision } = manifest;
    const isOlder = from.revision !== undefined && revision < from.revision;
    if (isOlder || rootCatalog === from.rootCatalog) return { kind: 'unchanged', snapshot: from };
    const snapshot: Snapshot = { rootCatalog, rootCatalogSizeBytes, revision, tag: undefined };
    const changes = await this.#mounted.moveTo(snapshot);
    this.#moves++;
    await this.#tellKernel(changes);
    this.#ports.log.info('shows another revision', { revision, before: from.revision, rootCatalog });
    return { kind: 'moved', snapshot, from };
  }

  #schedule(seconds: number): void {
    this.#cancelTimer();
    if (this.#isStopped) return;
    const { clock } = this.#ports;
    this.#nextCheckMs = this.#now() + 1000 * seconds;
    // Failures are in the status and in the log, and the next look is planned.
    this.#cancelTimer = clock.after(1000 * seconds, () => void this.checkNow().catch(() => undefined));
  }

  /** Asks servers to tell, one question after the other, as long as they can. */
  async #listen(): Promise<void> {
    const { waitForNews, retrySeconds } = this.#options;
    if (waitForNews === undefined) return;
    while (!this.#isStopped) {
      try {
        const answer = await waitForNews(this.#mounted.snapshot);
        this.#isPushed = answer !== 'unsupported';
        if (answer === 'news' && !this.#isStopped) {
          await this.#pause(NEWS_JITTER_MS * this.#ports.random.fraction());
          const { kind } = await this.checkNow(true);
          // A cache on the way, or another server, may still have the old one.
          if (kind === 'unchanged') await this.#pause(NEWS_JITTER_MS);
        }
        if (answer === 'unsupported' && !this.#isStopped) await this.#pause(10 * 1000 * retrySeconds);
      } catch {
        // Whoever cannot be heard is asked again later; looking goes on by the clock.
        this.#isPushed = false;
        if (!this.#isStopped) await this.#pause(1000 * retrySeconds);
      }
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#ports.clock.after(ms, resolve);
      this.#endPause = () => {
        cancel();
        resolve();
      };
    });
  }

  #now(): number {
    return this.#ports.clock.monotonicMs();
  }
}
