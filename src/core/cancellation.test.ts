import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../test/support/fake-clock.ts';
import { Cancellation, sleep } from './cancellation.ts';

test('Cancellation calls back once, at once where it has come already, and not who does not want it any more', () => {
  const called: string[] = [];
  const signal = new Cancellation();
  const forget = signal.onCancel(() => called.push('forgotten'));
  signal.onCancel(() => called.push('early'));
  forget();
  assert.equal(signal.isCancelled, false);
  signal.cancel();
  signal.cancel();
  signal.onCancel(() => called.push('late'));
  assert.deepEqual(called, ['early', 'late']);
  assert.equal(signal.isCancelled, true);
});

test('sleep() ends with its time or with the signal, and leaves nothing behind', async () => {
  const clock = new ManualClock();
  const signal = new Cancellation();
  const first = sleep(clock, 100, signal);
  clock.advance(100);
  await first;
  const second = sleep(clock, 100, signal);
  signal.cancel();
  await second;
  await sleep(clock, 100, signal);
  assert.equal(clock.timers, 0);
});
