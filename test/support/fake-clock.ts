/** Clocks that a test moves. */

import type { Clock } from '../../src/core/ports.ts';

/** Time passes only in waits, and at once: whoever waits for a second is called back immediately, a second later. */
export class JumpingClock implements Clock {
  nowMs = 1_000_000;
  readonly waits: number[] = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  unixSeconds(): number {
    return 1_700_000_000 + Math.floor(this.nowMs / 1000);
  }

  after(ms: number, callback: () => void): () => void {
    let cancelled = false;
    this.waits.push(ms);
    this.nowMs += ms;
    queueMicrotask(() => {
      if (!cancelled) callback();
    });
    return () => {
      cancelled = true;
    };
  }
}

/** Time passes in waits that nothing else ends: first comes what can be done without any. */
export class IdleClock extends JumpingClock {
  override after(ms: number, callback: () => void): () => void {
    const dueMs = this.nowMs + ms;
    const timer = setImmediate(() => {
      this.waits.push(ms);
      this.nowMs = Math.max(this.nowMs, dueMs);
      callback();
    });
    return () => clearImmediate(timer);
  }
}

/** Time passes when the test says so. */
export class ManualClock implements Clock {
  #nowMs = 1_000_000;
  readonly #timers = new Set<{ readonly dueMs: number; readonly callback: () => void }>();

  monotonicMs(): number {
    return this.#nowMs;
  }

  unixSeconds(): number {
    return 1_700_000_000 + Math.floor(this.#nowMs / 1000);
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { dueMs: this.#nowMs + ms, callback };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    for (const timer of [...this.#timers]) {
      if (timer.dueMs > this.#nowMs || !this.#timers.delete(timer)) continue;
      timer.callback();
    }
  }

  get timers(): number {
    return this.#timers.size;
  }
}
