/** A wish that work ends early, for engines without `AbortController`. */

import { ThimbleError } from './errors.ts';
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

/**
 * What the promise gives, if it comes in time. Throws NETWORK at the deadline, on the clock's `monotonicMs`, and CANCELLED when
 * the signal comes; `what` could not be done then. A result that comes later is handed to `onLate`.
 */
export function inTime<T>(
  promise: Promise<T>,
  what: string,
  { clock, deadlineMs, signal }: { clock: Clock; deadlineMs: number; signal?: CancelSignal | undefined },
  onLate: (result: T) => void = () => {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    let isOver = false;
    let forget: (() => void) | undefined;
    const end = () => {
      isOver = true;
      cancelTimer();
      forget?.();
    };
    const cancelTimer = clock.after(deadlineMs - clock.monotonicMs(), () => {
      end();
      reject(new ThimbleError('NETWORK', `Cannot ${what}: out of time`));
    });
    promise.then(
      (result) => {
        if (isOver) return onLate(result);
        end();
        resolve(result);
      },
      (error: unknown) => {
        end();
        reject(error);
      },
    );
    forget = signal?.onCancel(() => {
      end();
      reject(new ThimbleError('CANCELLED', `Cannot ${what}: the request was cancelled`));
    });
  });
}
