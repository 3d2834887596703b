/**
 * Of whom the kernel asks once more: when reading ahead of a program has failed, it asks again for the page that the program really
 * wants. For the program that is one read, and so it has one deadline, and one answer.
 */

/** The kernel asks again at once; a program that tries again may do so later. */
const ASKED_AGAIN_MS = 1_000;
const MAX_KEPT = 1_000;

/** How a wait ended. */
export interface FailedWait {
  /** When whoever waited had waited long enough, on the same clock as `nowMs`. */
  readonly untilMs: number;
  readonly error: unknown;
}

export class FailedWaits {
  readonly #kept = new Map<string, FailedWait & { readonly failedMs: number }>();

  /** A thread has waited in vain for an object. */
  put(thread: number, hash: string, wait: FailedWait, nowMs: number): void {
    const key = `${thread} ${hash}`;
    this.#kept.delete(key);
    if (this.#kept.size === MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    this.#kept.set(key, { ...wait, failedMs: nowMs });
  }

  /** The wait that this one goes on with, if any. */
  find(thread: number, hash: string, nowMs: number): FailedWait | undefined {
    if (this.#kept.size === 0) return undefined;
    const key = `${thread} ${hash}`;
    const found = this.#kept.get(key);
    if (found === undefined || nowMs - found.failedMs <= ASKED_AGAIN_MS) return found;
    this.#kept.delete(key);
    return undefined;
  }
}
