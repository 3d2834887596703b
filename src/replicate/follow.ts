/** Keeps a replica as new as its source: replicates, waits, and begins again, whatever the network does. */

import { errorCodeOf } from '../core/errors.ts';
import type { Clock, Random } from '../core/ports.ts';
import type { ReplicationReport } from './replicator.ts';

export interface FollowOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Ends it, at once while it waits. */
  readonly signal: AbortSignal;
  /** Between two looks at the source; what the manifest says where it is missing. */
  readonly intervalSeconds?: number | undefined;
  readonly onReport: (report: ReplicationReport) => void;
  readonly onFailure: (error: unknown, retrySeconds: number) => void;
}

/** A repository that may change at every moment is not asked for that more often than this. */
const MIN_INTERVAL_SECONDS = 10;
const FIRST_RETRY_SECONDS = 5;
const MAX_RETRY_SECONDS = 300;
/** Waiting does not help against these. */
const FINAL = new Set(['USAGE', 'INTERNAL', 'CANCELLED']);

/**
 * Runs until the signal. The first run shows whether everything is set up well: only the network may fail it. Later ones may
 * fail for any reason that can pass: an expired whitelist, a full disk, a source that lags behind.
 */
export async function follow(run: () => Promise<ReplicationReport>, options: FollowOptions): Promise<void> {
  const { clock, signal, intervalSeconds } = options;
  let isProven = false;
  let failures = 0;
  while (!signal.aborted) {
    let pauseSeconds: number;
    try {
      const report = await run();
      options.onReport(report);
      isProven = true;
      failures = 0;
      pauseSeconds = intervalSeconds ?? Math.max(report.ttlSeconds, MIN_INTERVAL_SECONDS);
    } catch (error) {
      if (signal.aborted) return;
      const code = errorCodeOf(error);
      if (FINAL.has(code) || (!isProven && code !== 'NETWORK')) throw error;
      pauseSeconds = retrySeconds(failures++, options);
      options.onFailure(error, pauseSeconds);
    }
    await pause(clock, pauseSeconds, signal);
  }
}

/** Spread, so that the replicas of a source that was away do not come back together. */
function retrySeconds(failures: number, { random }: FollowOptions): number {
  const longest = Math.min(FIRST_RETRY_SECONDS * 2 ** failures, MAX_RETRY_SECONDS);
  return longest * (0.5 + random.fraction() / 2);
}

function pause(clock: Clock, seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const cancel = clock.after(seconds * 1000, end);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}
