import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../test/support/fake-clock.ts';
import type { ContentHash } from '../../core/content-hash.ts';
import type { PlacedObject } from '../../core/profile-table.ts';
import { cacheIdOf } from '../cache.ts';
import { Arrivals } from './arrivals.ts';

const MB = 1_000_000;
const ROUND_TRIP_MS = 100;

/** Objects of a megabyte each. */
function scene(count: number) {
  const places = Array.from(
    { length: count },
    (_, index): PlacedObject => ({
      hash: String(index).padStart(40, '0') as ContentHash,
      type: '',
      compression: 'zlib',
      storedBytes: MB,
      sizeBytes: MB,
      pack: 0,
      offset: index * MB,
    }),
  );
  const wanted = new Uint8Array(count).fill(1);
  const clock = new ManualClock();
  const arrivals = new Arrivals(places, wanted, clock, ROUND_TRIP_MS);
  const idOf = (index: number) => cacheIdOf(places[index]!.hash, 'zlib');
  const expect = (index: number) => arrivals.expect(idOf(index));
  const arrive = (index: number) => arrivals.arrived(index, places[index]!);
  return { arrivals, wanted, clock, expect, arrive, idOf };
}

/** Whether a promise has been resolved by now. */
async function isOver(promise: Promise<void>): Promise<boolean> {
  let over = false;
  void promise.then(() => {
    over = true;
  });
  await Promise.resolve();
  return over;
}

test('a read waits for what is about to arrive', async () => {
  const { expect, arrive, clock, arrivals } = scene(100);
  clock.advance(10);
  // 100 MB/s.
  arrive(0);
  const waiting = expect(1)!;
  assert.equal(await isOver(waiting), false);
  clock.advance(10);
  arrive(1);
  assert.equal(await isOver(waiting), true);
  assert.equal(clock.timers, 0);
  assert.deepEqual(arrivals.counters, { waited: 1, waitedInVain: 0 });
});

test('what is far off is fetched at once, and crossed out of the stream', () => {
  const { expect, arrive, clock, wanted } = scene(100);
  clock.advance(10);
  arrive(0);
  assert.equal(expect(90), undefined);
  assert.equal(wanted[90], 0);
  assert.equal(wanted[89], 1);
});

test('nobody waits for what is not in the stream, or has come by already', () => {
  const { expect, arrive, clock, arrivals } = scene(10);
  clock.advance(10);
  arrive(4);
  assert.equal(arrivals.expect(cacheIdOf('f'.repeat(40) as ContentHash, 'zlib')), undefined);
  assert.equal(expect(4), undefined);
  assert.equal(expect(3), undefined);
});

test('before anything has arrived, the first objects are waited for', () => {
  const { expect } = scene(100);
  assert.notEqual(expect(0), undefined);
  assert.equal(expect(50), undefined);
});

test('waiting has an end when the stream stops', async () => {
  const { expect, arrive, clock, arrivals } = scene(10);
  clock.advance(10);
  arrive(0);
  const waiting = expect(1)!;
  clock.advance(2 * (ROUND_TRIP_MS + 20) + 1);
  assert.equal(await isOver(waiting), true);
  assert.equal(arrivals.counters.waitedInVain, 1);
});

test('the end of the stream wakes everybody who waits', async () => {
  const { expect, arrive, clock, arrivals } = scene(10);
  clock.advance(10);
  arrive(0);
  const waiting = [expect(1)!, expect(1)!, expect(2)!];
  arrivals.end();
  for (const promise of waiting) assert.equal(await isOver(promise), true);
  assert.equal(expect(3), undefined);
  assert.equal(clock.timers, 0);
});
