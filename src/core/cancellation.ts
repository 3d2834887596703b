/** A wish that work ends early, for engines without `AbortController`. */

import type { Clock } from './ports.ts';

export interface CancelSignal {
  readonly isCancelled: boolean;
  /** Calls back when it is cancelled, at once if it is already. The returned function takes that back. */
  onCancel(callback: () => void): () => void;
}

/** Cancelled once, for good. */
export class Cancellation implements CancelSignal {
  readonly #callbacks = new Set<() => void>();
  isCancelled = false;

  cancel(): void {
    this.isCancelled = true;
    for (const callback of this.#callbacks) {
      this.#callbacks.delete(callback);
      callback();
    }
  }

  onCancel(callback: () => void): () => void {
    if (this.isCancelled) {
      callback();
      return () => {};
    }
    this.#callbacks.add(callback);
    return () => void this.#callbacks.delete(callback);
  }
}

/** Returns after `ms`, or when the signal comes. */
export function sleep(clock: Clock, ms: number, signal?: CancelSignal): Promise<void> {
  return new Promise((resolve) => {
    let forget: (() => void) | undefined;
    const cancelTimer = clock.after(ms, () => {
      forget?.();
      resolve();
    });
    forget = signal?.onCancel(() => {
      cancelTimer();
      resolve();
    });
  });
}
