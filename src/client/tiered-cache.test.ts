import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cacheId, put, readAll, testSteeredCache } from '../../test/contract/cache-contract.ts';
import { FaultyCache } from '../../test/support/faulty-cache.ts';
import { MemoryCache } from './cache.ts';
import { type LowerCache, TieredCache } from './tiered-cache.ts';

testSteeredCache('TieredCache', (_, limitBytes) => {
  const upper = new MemoryCache(limitBytes);
  const lower = new FaultyCache(new MemoryCache(1));
  return new TieredCache(upper, [asLower(lower)]);
});
testSteeredCache(
  'FaultyCache without faults',
  (_, limitBytes) => new FaultyCache(new MemoryCache(limitBytes)),
);

function asLower(cache: FaultyCache): LowerCache {
  return {
    read: (...args) => cache.read(...args),
    load: (id) => cache.load(id),
    has: (id) => cache.has(id),
    discard: (id) => cache.discard(id),
    status: () => ({ folder: '/lower', hits: cache.status().hits, damaged: 0 }),
  };
}

function tiers() {
  const [upper, first, second] = [1, 2, 3].map(() => new FaultyCache(new MemoryCache(1_000)));
  const cache = new TieredCache(upper!, [asLower(first!), asLower(second!)]);
  return { upper: upper!, first: first!, second: second!, cache };
}

test('TieredCache asks the upper cache, then the lower ones in order', () => {
  const { upper, first, second, cache } = tiers();
  put(second, cacheId(1), 'second');
  assert.equal(readAll(cache, cacheId(1)), 'second');
  put(first, cacheId(1), 'first');
  assert.equal(readAll(cache, cacheId(1)), 'first');
  put(cache, cacheId(1), 'upper');
  assert.equal(readAll(cache, cacheId(1)), 'upper');
  assert.equal(Buffer.from(cache.load(cacheId(1))!).toString(), 'upper');
  assert.equal(readAll(upper, cacheId(1)), 'upper');
  assert.equal(readAll(first, cacheId(1)), 'first', 'lower caches are not written');
});

test('TieredCache goes on with the next one where one cannot be read', () => {
  const { upper, first, second, cache } = tiers();
  put(first, cacheId(1), 'first');
  put(second, cacheId(1), 'second');
  upper.faults.reading = true;
  first.faults.reading = true;
  assert.equal(readAll(cache, cacheId(1)), 'second');
  assert.equal(Buffer.from(cache.load(cacheId(1))!).toString(), 'second');
  second.faults.reading = true;
  assert.equal(readAll(cache, cacheId(1)), undefined);
});

test('TieredCache passes on what goes wrong in the upper cache', () => {
  const { upper, cache } = tiers();
  upper.faults.creating = true;
  assert.throws(() => cache.create(cacheId(1), 1), { code: 'STORAGE' });
});

test('TieredCache shows what is wrong, and what its lower caches say', () => {
  const trouble = { state: 'read-only', sinceSeconds: 5, lastError: 'no' } as const;
  const lower = asLower(new FaultyCache(new MemoryCache(1)));
  const status = new TieredCache(new MemoryCache(10), [lower], trouble).status();
  assert.equal(status.state, 'read-only');
  assert.equal(status.lastError, 'no');
  assert.deepEqual(status.lower, [{ folder: '/lower', hits: 0, damaged: 0 }]);
});
