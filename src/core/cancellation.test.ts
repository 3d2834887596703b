import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../test/support/fake-clock.ts';
import { Cancellation, inTime, sleep } from './cancellation.ts';

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

test('inTime() gives what comes in time, and hands on what comes late', async () => {
  const clock = new ManualClock();
  const signal = new Cancellation();
  const limits = () => ({ clock, deadlineMs: clock.monotonicMs() + 100, signal });
  assert.equal(await inTime(Promise.resolve(1), 'wait', limits()), 1);
  await assert.rejects(inTime(Promise.reject(new Error('no')), 'wait', limits()), { message: 'no' });
  const late: number[] = [];
  const finish: ((value: number) => void)[] = [];
  const slow = () => new Promise<number>((resolve) => finish.push(resolve));
  const first = inTime(slow(), 'wait', limits(), (value) => late.push(value));
  clock.advance(100);
  await assert.rejects(first, { code: 'NETWORK', message: 'Cannot wait: out of time' });
  const second = inTime(slow(), 'wait', limits(), (value) => late.push(value));
  signal.cancel();
  await assert.rejects(second, { code: 'CANCELLED' });
  for (const [i, end] of finish.entries()) end(i);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(late, [0, 1]);
  assert.equal(clock.timers, 0);
});
