/** Whether a cache can be written, in a word, and since when it is so. */

import type { CacheState, CacheStatus } from '../../client/cache.ts';
import { messageOf } from '../../core/errors.ts';

/** A disk that fails may take seconds for each try: it is not asked again before this. */
const RETRY_MS = 5_000;

const STATES: Readonly<Record<string, CacheState>> = {
  ENOSPC: 'full',
  EDQUOT: 'full',
  EROFS: 'read-only',
  EACCES: 'read-only',
  EPERM: 'read-only',
};

export class CacheHealth {
  #state: CacheState = 'good';
  #sinceMs = Date.now();
  #lastError: string | undefined;
  #retryAtMs = 0;
  writeFailures = 0;
  readFailures = 0;

  status(): Pick<CacheStatus, 'state' | 'sinceSeconds' | 'lastError'> {
    return {
      state: this.#state,
      sinceSeconds: Math.floor(this.#sinceMs / 1000),
      lastError: this.#lastError,
    };
  }

  /** False for a while after the disk has failed. */
  isWorthTrying(): boolean {
    return this.#state !== 'failing' || performance.now() >= this.#retryAtMs;
  }

  onWritten(): void {
    if (this.#state !== 'good') this.#enter('good');
  }

  onWriteFailed(error: unknown): void {
    this.writeFailures++;
    this.#lastError = messageOf(error);
    this.#enter(STATES[(error as NodeJS.ErrnoException).code ?? ''] ?? 'failing');
    this.#retryAtMs = performance.now() + RETRY_MS;
  }

  onReadFailed(error: unknown): void {
    this.readFailures++;
    this.#lastError = messageOf(error);
  }

  #enter(state: CacheState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#sinceMs = Date.now();
  }
}
