/** What was asked for so far, and what came of it: figures for people who want to know what a mount waits for. */

import { messageOf } from '../../core/errors.ts';
import type { Clock } from '../../core/ports.ts';
import type { ServerEntry } from './server-list.ts';
import type { SourceFile } from './source.ts';

export interface ServersCounters {
  requests: number;
  failures: number;
  bytes: number;
  /** Requests that were sent while nobody waited for another one: what a long way to the server costs. */
  roundTrips: number;
}

export interface FailedRequest {
  readonly message: string;
  readonly path: string;
  /** With the proxy on the way. */
  readonly server: string;
  readonly unixSeconds: number;
}

export interface SlowestRequest {
  readonly path: string;
  readonly server: string;
  readonly milliseconds: number;
}

export class Traffic {
  readonly counters: ServersCounters = { requests: 0, failures: 0, bytes: 0, roundTrips: 0 };
  readonly #clock: Clock;
  #underWay = 0;
  lastError: FailedRequest | undefined;
  slowest: SlowestRequest | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns when it began, for `ended`. */
  began(entry: ServerEntry, background: boolean): number {
    this.counters.requests++;
    entry.requests++;
    if (!background && this.#underWay++ === 0) this.counters.roundTrips++;
    return this.#clock.monotonicMs();
  }

  ended(startedMs: number, path: string, server: string, background: boolean): void {
    if (background) return;
    this.#underWay--;
    const milliseconds = this.#clock.monotonicMs() - startedMs;
    if (milliseconds > (this.slowest?.milliseconds ?? 0)) this.slowest = { path, server, milliseconds };
  }

  failed(entry: ServerEntry, path: string, server: string, error: unknown): void {
    this.counters.failures++;
    entry.failures++;
    const message = messageOf(error);
    entry.lastError = message;
    this.lastError = { message, path, server, unixSeconds: this.#clock.unixSeconds() };
  }

  /** The same file, counted while it is read. */
  counted(file: SourceFile, entry: ServerEntry): SourceFile {
    return {
      sizeBytes: file.sizeBytes,
      next: async () => {
        const chunk = await file.next();
        const length = chunk?.length ?? 0;
        this.counters.bytes += length;
        entry.bytes += length;
        return chunk;
      },
      close: () => file.close(),
    };
  }
}
