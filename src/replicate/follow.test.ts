import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JumpingClock, ManualClock } from '../../test/support/fake-clock.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { type ErrorCode, errorCodeOf, ThimbleError } from '../core/errors.ts';
import { type FollowOptions, follow } from './follow.ts';
import type { ReplicationReport } from './replicator.ts';

const report = (ttlSeconds = 240): ReplicationReport => ({
  fqrn: 'a.example.org',
  rootCatalog: '0'.repeat(40) as ContentHash,
  revision: 1,
  formerRevision: 1,
  snapshots: 1,
  skipped: [],
  objects: 0,
  catalogs: 0,
  bytes: 0,
  isPartial: false,
  ttlSeconds,
});

/** Runs a script of outcomes, the signal at its end; answers with the pauses in seconds and with what failed. */
async function play(outcomes: readonly (ErrorCode | number)[], options: Partial<FollowOptions> = {}) {
  const clock = new JumpingClock();
  const stop = new AbortController();
  const failures: string[] = [];
  let at = 0;
  const run = async () => {
    const outcome = outcomes[at++]!;
    if (at === outcomes.length) stop.abort();
    if (typeof outcome === 'string') throw new ThimbleError(outcome, 'scripted');
    return report(outcome);
  };
  const random = { fraction: () => 1 };
  const onFailure = (error: unknown, seconds: number) => failures.push(`${errorCodeOf(error)} ${seconds}`);
  await follow(run, { clock, random, signal: stop.signal, onReport: () => {}, onFailure, ...options });
  assert.equal(at, outcomes.length);
  return { pauses: clock.waits.map((ms) => ms / 1000).slice(0, -1), failures };
}

test('follow() waits as long as the manifest says, and not less than ten seconds', async () => {
  assert.deepEqual((await play([240, 60, 0, 240])).pauses, [240, 60, 10]);
});

test('follow() waits as long as it is told', async () => {
  assert.deepEqual((await play([240, 240, 240], { intervalSeconds: 7 })).pauses, [7, 7]);
});

test('follow() survives failures, waits longer after each, and begins anew after a success', async () => {
  const { pauses, failures } = await play([240, 'NETWORK', 'TRUST', 'STORAGE', 240, 'NOT_FOUND', 240]);
  assert.deepEqual(pauses, [240, 5, 10, 20, 240, 5]);
  assert.deepEqual(failures, ['NETWORK 5', 'TRUST 10', 'STORAGE 20', 'NOT_FOUND 5']);
});

test('follow() never waits longer than five minutes for the network', async () => {
  const outcomes = [...new Array<ErrorCode>(9).fill('NETWORK'), 240];
  const { pauses } = await play(outcomes);
  assert.deepEqual(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
});

for (const code of ['TRUST', 'NOT_FOUND', 'CONFLICT', 'STORAGE', 'UNSUPPORTED', 'FORMAT'] as const) {
  test(`follow() shows at once that something is wrong from the beginning: ${code}`, async () => {
    const signal = new AbortController().signal;
    await assert.rejects(play([code, 240], { signal }), { code });
  });
}

for (const code of ['USAGE', 'INTERNAL'] as const) {
  test(`follow() does not go on after ${code}`, async () => {
    await assert.rejects(play([240, code, 240], { signal: new AbortController().signal }), { code });
  });
}

test('follow() ends at once when it is told to while it waits', async () => {
  const clock = new ManualClock();
  const stop = new AbortController();
  const random = { fraction: () => 0 };
  const following = follow(async () => report(), {
    clock,
    random,
    signal: stop.signal,
    onReport: () => setImmediate(() => stop.abort()),
    onFailure: () => assert.fail(),
  });
  await following;
  assert.equal(clock.timers, 0);
});

test('follow() ends without a word when a run is stopped', async () => {
  const { failures } = await play([240, 'CANCELLED']);
  assert.deepEqual(failures, []);
});
