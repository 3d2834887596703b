/**
 * The servers of a repository, in order of preference. One file is asked for until it is here: the next server after a
 * failure, the same one without caches after damaged data, all of them again after a pause, and never beyond the
 * deadline. The server that answered last is asked first.
 */

import { ThimbleError } from '../../core/errors.ts';
import { type Clock, type Log, type Random, silentLog } from '../../core/ports.ts';
import type { ByteRange } from '../../core/vfs.ts';
import type { OpenOptions, Source, SourceFile } from './source.ts';

export interface ServersOptions {
  /** A request that is not answered within this, retries included, has failed. */
  readonly deadlineMs: number;
  /** How often the whole list is asked before giving up ahead of the deadline. */
  readonly rounds: number;
  /** Pause before the second round; doubles from round to round, with jitter. */
  readonly backoffMs: number;
}

export const DEFAULT_SERVERS_OPTIONS: ServersOptions = { deadlineMs: 30_000, rounds: 3, backoffMs: 500 };
const MAX_BACKOFF_MS = 10_000;

export interface ServersCounters {
  requests: number;
  failures: number;
  bytes: number;
}

export class Servers {
  readonly #sources: readonly Source[];
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Log;
  readonly #options: ServersOptions;
  #preferred = 0;
  readonly counters: ServersCounters = { requests: 0, failures: 0, bytes: 0 };

  constructor(
    sources: readonly Source[],
    ports: { readonly clock: Clock; readonly random: Random; readonly log?: Log },
    options: Partial<ServersOptions> = {},
  ) {
    if (sources.length === 0) throw new ThimbleError('USAGE', 'Cannot fetch anything: there is no server');
    this.#sources = sources;
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#log = ports.log ?? silentLog;
    this.#options = { ...DEFAULT_SERVERS_OPTIONS, ...options };
  }

  get current(): string {
    return this.#sources[this.#preferred]!.name;
  }

  /**
   * Gets a file, or a range of it, and hands it to `consume`, whose result is the answer. If `consume` throws FORMAT,
   * INTEGRITY or TRUST, the data is bad and another server is asked. Throws NOT_FOUND when every server says so, NETWORK, or
   * what `consume` threw last.
   */
  async fetch<T>(
    path: string,
    consume: (file: SourceFile) => Promise<T>,
    range?: ByteRange | undefined,
  ): Promise<T> {
    return this.#ask(path, { range }, consume);
  }

  /** Asks whether a file is there, and for its size where the server says it. Throws NOT_FOUND, NETWORK. */
  async probe(path: string): Promise<number | undefined> {
    return this.#ask(path, { headOnly: true }, async (file) => file.sizeBytes);
  }

  async #ask<T>(
    path: string,
    asked: Pick<OpenOptions, 'range' | 'headOnly'>,
    consume: (file: SourceFile) => Promise<T>,
  ): Promise<T> {
    const deadlineMs = this.#clock.monotonicMs() + this.#options.deadlineMs;
    let failure: unknown;
    for (let round = 0; round < this.#options.rounds; round++) {
      if (round > 0 && !(await this.#pause(round, deadlineMs))) break;
      let isTransient = false;
      const first = this.#preferred;
      for (let i = 0; i < this.#sources.length; i++) {
        const index = (first + i) % this.#sources.length;
        try {
          const result = await this.#fetchFrom(
            this.#sources[index]!,
            path,
            { ...asked, deadlineMs },
            consume,
          );
          this.#preferred = index;
          return result;
        } catch (error) {
          const code = error instanceof ThimbleError ? error.code : 'INTERNAL';
          if (!RETRIED.has(code)) throw error;
          if (code === 'NETWORK') isTransient = true;
          // "Not here" of one server says less than the failure of another.
          if (failure === undefined || code !== 'NOT_FOUND') failure = error;
          this.counters.failures++;
          this.#log.warn('fetch failed', {
            path,
            server: this.#sources[index]!.name,
            round,
            error: String(error),
          });
        }
        if (this.#clock.monotonicMs() >= deadlineMs) break;
      }
      // Absent, damaged or untrusted everywhere: asking again would not help.
      if (!isTransient) break;
    }
    throw failure;
  }

  async #fetchFrom<T>(
    source: Source,
    path: string,
    options: Omit<OpenOptions, 'noCache'>,
    consume: (file: SourceFile) => Promise<T>,
  ): Promise<T> {
    try {
      return await this.#attempt(source, path, { ...options, noCache: false }, consume);
    } catch (error) {
      if (!(error instanceof ThimbleError) || (error.code !== 'INTEGRITY' && error.code !== 'FORMAT'))
        throw error;
      // A cache on the way may hold a damaged copy.
      this.#log.warn('bad data, asking again without caches', {
        path,
        server: source.name,
        error: error.message,
      });
      this.counters.failures++;
      return this.#attempt(source, path, { ...options, noCache: true }, consume);
    }
  }

  async #attempt<T>(
    source: Source,
    path: string,
    options: OpenOptions,
    consume: (file: SourceFile) => Promise<T>,
  ): Promise<T> {
    this.counters.requests++;
    try {
      const file = await source.open(path, options);
      try {
        return await consume(this.#counted(file));
      } finally {
        file.close();
      }
    } catch (error) {
      if (!(error instanceof ThimbleError) || error.code !== 'NETWORK') throw error;
      throw new ThimbleError('NETWORK', `Cannot get ${path} from ${source.name}`, {
        hint: 'check that the server runs and that this machine can reach it',
        cause: error,
      });
    }
  }

  #counted(file: SourceFile): SourceFile {
    return {
      sizeBytes: file.sizeBytes,
      next: async () => {
        const chunk = await file.next();
        this.counters.bytes += chunk?.length ?? 0;
        return chunk;
      },
      close: () => file.close(),
    };
  }

  /** Waits before another round; false if there is no time for one. */
  async #pause(round: number, deadlineMs: number): Promise<boolean> {
    const longest = Math.min(this.#options.backoffMs * 2 ** (round - 1), MAX_BACKOFF_MS);
    const pauseMs = longest * (0.5 + this.#random.fraction() / 2);
    if (this.#clock.monotonicMs() + pauseMs >= deadlineMs) return false;
    await new Promise<void>((resolve) => this.#clock.after(pauseMs, resolve));
    return true;
  }
}

/** Failures of one server or of the way to it; others, such as a full disk, no server can mend. */
const RETRIED = new Set(['NETWORK', 'NOT_FOUND', 'INTEGRITY', 'FORMAT', 'LIMIT', 'TRUST']);
