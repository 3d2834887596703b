import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FailedWaits } from './failed-waits.ts';

const OBJECT = 'ab12';
const WAIT = { untilMs: 30_000, error: new Error('out of time') };

test('FailedWaits knows the wait of a thread for an object, for a moment', () => {
  const failed = new FailedWaits();
  failed.put(7, OBJECT, WAIT, 30_000);
  assert.deepEqual(failed.find(7, OBJECT, 30_500)?.error, WAIT.error);
  assert.equal(failed.find(7, OBJECT, 30_500)?.untilMs, WAIT.untilMs);
  assert.equal(failed.find(7, OBJECT, 31_001), undefined);
});

test('FailedWaits keeps threads and objects apart', () => {
  const failed = new FailedWaits();
  failed.put(7, OBJECT, WAIT, 30_000);
  assert.equal(failed.find(8, OBJECT, 30_000), undefined);
  assert.equal(failed.find(7, 'cd34', 30_000), undefined);
});

test('FailedWaits keeps the newest thousand', () => {
  const failed = new FailedWaits();
  for (let thread = 0; thread <= 1_000; thread++) failed.put(thread, OBJECT, WAIT, 30_000);
  assert.equal(failed.find(0, OBJECT, 30_000), undefined);
  assert.ok(failed.find(1, OBJECT, 30_000));
  assert.ok(failed.find(1_000, OBJECT, 30_000));
});
