import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeClock, nodeRandom } from './clock.ts';

test('nodeClock calls back once, not too early, also for times that have passed', async () => {
  for (const ms of [20, 0, -5]) {
    const startedMs = nodeClock.monotonicMs();
    await new Promise<void>((resolve) => nodeClock.after(ms, resolve));
    assert.ok(nodeClock.monotonicMs() - startedMs >= ms - 1);
  }
});

test('nodeClock does not call back what was cancelled', async () => {
  let called = false;
  nodeClock.after(1, () => {
    called = true;
  })();
  await new Promise<void>((resolve) => nodeClock.after(10, resolve));
  assert.equal(called, false);
});

test('nodeClock does not take a long time for no time', async () => {
  let called = false;
  const cancel = nodeClock.after(2 ** 40, () => {
    called = true;
  });
  await new Promise<void>((resolve) => nodeClock.after(10, resolve));
  cancel();
  assert.equal(called, false);
});

test('nodeClock tells seconds since 1970 and nodeRandom fractions', () => {
  assert.ok(Math.abs(nodeClock.unixSeconds() - Date.now() / 1000) < 2);
  assert.ok(Number.isInteger(nodeClock.unixSeconds()));
  const fractions = Array.from({ length: 100 }, () => nodeRandom.fraction());
  assert.ok(fractions.every((fraction) => fraction >= 0 && fraction < 1));
  assert.ok(new Set(fractions).size > 1);
});
