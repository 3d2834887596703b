import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cacheId, put, readAll, testSteeredCache } from '../../test/contract/cache-contract.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { cacheIdOf, MemoryCache } from './cache.ts';

testSteeredCache('MemoryCache', (_, limitBytes) => new MemoryCache(limitBytes));

test('MemoryCache keeps what was just put, even if it alone is over the limit', () => {
  const cache = new MemoryCache(100);
  put(cache, cacheId(1), 'small');
  put(cache, cacheId(2), 'x'.repeat(1_000));
  assert.equal(cache.has(cacheId(1)), false);
  assert.equal(readAll(cache, cacheId(2))?.length, 1_000);
  put(cache, cacheId(3), 'small again');
  assert.equal(cache.has(cacheId(2)), false);
  assert.equal(cache.has(cacheId(3)), true);
});

test('MemoryCache counts content that is put again once, and as the newest', () => {
  const cache = new MemoryCache(100);
  for (let i = 0; i < 10; i++) put(cache, cacheId(1), 'x'.repeat(40));
  put(cache, cacheId(2), 'x'.repeat(40));
  assert.deepEqual([cache.has(cacheId(1)), cache.has(cacheId(2))], [true, true]);
  put(cache, cacheId(1), 'x'.repeat(40));
  put(cache, cacheId(3), 'x'.repeat(40));
  assert.deepEqual(
    [cache.has(cacheId(1)), cache.has(cacheId(2)), cache.has(cacheId(3))],
    [true, false, true],
  );
});

test('cacheIdOf() names inflated content by its hash and plain content differently', () => {
  const hash = `${'0'.repeat(40)}-rmd160` as ContentHash;
  assert.equal(cacheIdOf(hash, 'zlib'), hash);
  assert.equal(cacheIdOf(hash, 'none'), `${hash}.plain`);
});

test('MemoryCache cannot pin, and says what to do', () => {
  const cache = new MemoryCache(100);
  assert.throws(() => cache.pin(), { code: 'UNSUPPORTED', hint: /--cache/ });
});
