import type { Clock, Random } from '../core/ports.ts';

/** `setTimeout` takes no more than this; longer waits are cut, which only makes a caller look again. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export const nodeClock: Clock = {
  monotonicMs: () => performance.now(),
  unixSeconds: () => Math.floor(Date.now() / 1000),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(ms, 0), MAX_TIMEOUT_MS));
    return () => clearTimeout(timer);
  },
};

export const nodeRandom: Random = { fraction: () => Math.random() };
