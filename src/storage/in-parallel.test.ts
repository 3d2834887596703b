import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inParallel } from './in-parallel.ts';

test('inParallel() takes every item once, and has at most so many under way', async () => {
  let [open, most] = [0, 0];
  const done: number[] = [];
  await inParallel([...Array(20).keys()], 3, async (item) => {
    most = Math.max(most, ++open);
    await sleep(item % 4);
    open--;
    done.push(item);
  });
  assert.equal(most, 3);
  assert.deepEqual(
    done.sort((a, b) => a - b),
    [...Array(20).keys()],
  );
});

test('inParallel() begins nothing after a failure, and throws it when all have ended', async () => {
  const events: string[] = [];
  const running = inParallel(['bad', 'slow', 'never'], 2, async (item) => {
    events.push(`begin ${item}`);
    if (item === 'bad') throw new Error('it failed');
    await sleep(5);
    events.push(`end ${item}`);
  });
  await assert.rejects(running, /it failed/);
  assert.deepEqual(events, ['begin bad', 'begin slow', 'end slow']);
});

test('inParallel() of nothing does nothing', async () => {
  await inParallel([], 5, () => assert.fail('there is nothing'));
});
