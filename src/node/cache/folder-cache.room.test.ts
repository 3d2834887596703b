/** Pins, volatile content, and the count of what is there. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cacheId, put, readAll } from '../../../test/contract/cache-contract.ts';
import { memoryScratch, scratchFolder } from '../../../test/support/scratch.ts';
import { type CacheId, cacheIdOf } from '../../client/cache.ts';
import type { ContentHash } from '../../core/content-hash.ts';
import { FolderCache } from './folder-cache.ts';

function openCache(t: Pick<TestContext, 'after'>, folder: string, limitBytes = 1_000): FolderCache {
  const cache = FolderCache.open(folder, { limitBytes });
  t.after(() => cache.close());
  return cache;
}

const pathOf = (folder: string, n: number) => join(folder, 'objects/00', cacheId(n).slice(2));

/** Puts so much that everything goes that may go. */
function fillWithOthers(cache: FolderCache): void {
  for (let n = 100; n < 150; n++) put(cache, cacheId(n), Buffer.alloc(100));
}

test('FolderCache does not drop what another one has pinned, until it is unpinned', (t) => {
  const folder = scratchFolder(t);
  const [one, other] = [openCache(t, folder), openCache(t, folder)];
  put(one, cacheId(1), Buffer.alloc(100));
  one.pin([{ id: cacheId(1), sizeBytes: 100 }]);
  fillWithOthers(other);
  assert.equal(one.has(cacheId(1)), true);
  assert.equal(other.status().pinnedBytes, 100);
  assert.equal(other.evict([cacheId(1)]), 0);
  one.close();
  fillWithOthers(other);
  assert.equal(other.has(cacheId(1)), true, 'also when the one who pinned is gone');
  other.unpin([cacheId(1)]);
  fillWithOthers(other);
  assert.equal(other.has(cacheId(1)), false);
});

test('FolderCache holds what a mount needs until it is closed, or its process is gone', (t) => {
  const folder = scratchFolder(t);
  const [mount, other] = [openCache(t, folder), openCache(t, folder)];
  for (const n of [1, 2]) put(mount, cacheId(n), Buffer.alloc(100));
  for (const n of [1, 2]) mount.hold({ id: cacheId(n), sizeBytes: 100 });
  mount.hold({ id: cacheId(1), sizeBytes: 100 });
  fillWithOthers(other);
  assert.deepEqual([other.has(cacheId(1)), other.has(cacheId(2))], [true, true]);
  const [held] = readdirSync(join(folder, 'pins'));
  const lines = readFileSync(join(folder, 'pins', held!), 'latin1');
  mount.close();
  assert.deepEqual(readdirSync(join(folder, 'pins')), []);
  writeFileSync(join(folder, 'pins', '4194304.0.1'), lines);
  fillWithOthers(other);
  assert.deepEqual([other.has(cacheId(1)), other.has(cacheId(2))], [false, false]);
  openCache(t, folder);
  assert.deepEqual(readdirSync(join(folder, 'pins')), [], 'who opens the folder clears up');
});

test('FolderCache holds a quarter of its limit for one mount, and no more', (t) => {
  const cache = openCache(t, scratchFolder(t));
  for (const n of [1, 2, 3]) put(cache, cacheId(n), Buffer.alloc(100));
  for (const n of [1, 2, 3]) cache.hold({ id: cacheId(n), sizeBytes: 100 });
  assert.equal(cache.status().pinnedBytes, 200);
});

test('FolderCache.pin() throws LIMIT for more than three quarters of the cache', (t) => {
  const cache = openCache(t, scratchFolder(t));
  cache.pin([{ id: cacheId(1), sizeBytes: 700 }]);
  assert.throws(() => cache.pin([{ id: cacheId(2), sizeBytes: 100 }]), { code: 'LIMIT', hint: /unpin/ });
  cache.pin([{ id: cacheId(1), sizeBytes: 700 }]);
});

test('FolderCache drops volatile content first, also when it was used last', (t) => {
  const folder = scratchFolder(t);
  const steady = openCache(t, folder);
  const fleeting = openCache(t, folder);
  fleeting.isVolatile = true;
  for (let n = 0; n < 5; n++) put(steady, cacheId(n), Buffer.alloc(100));
  for (let n = 10; n < 15; n++) put(fleeting, cacheId(n), Buffer.alloc(100));
  readAll(fleeting, cacheId(10));
  put(steady, cacheId(20), Buffer.alloc(100));
  const here = (ns: readonly number[]) => ns.filter((n) => steady.has(cacheId(n)));
  assert.deepEqual(here([0, 1, 2, 3, 4, 20]), [0, 1, 2, 3, 4, 20]);
  assert.deepEqual(here([10, 11, 12, 13, 14]), [12, 13, 14]);
});

test('FolderCache keeps volatile content volatile when it is read again later', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder);
  cache.isVolatile = true;
  put(cache, cacheId(1), 'fleeting');
  const put1 = statSync(pathOf(folder, 1)).mtimeMs;
  utimesSync(pathOf(folder, 1), new Date(), new Date(put1 - 7_200_000));
  readAll(cache, cacheId(1));
  const used = statSync(pathOf(folder, 1)).mtimeMs;
  assert.ok(used >= put1 && used < Date.parse('2001-01-01'));
});

test('FolderCache touches an object only when it was not used for an hour', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder);
  put(cache, cacheId(1), 'hello');
  const minutesAgo = Date.now() - 59 * 60_000;
  utimesSync(pathOf(folder, 1), new Date(), new Date(minutesAgo));
  readAll(cache, cacheId(1));
  assert.equal(Math.round(statSync(pathOf(folder, 1)).mtimeMs), minutesAgo);
  utimesSync(pathOf(folder, 1), new Date(), new Date(minutesAgo - 120_000));
  readAll(cache, cacheId(1));
  assert.ok(statSync(pathOf(folder, 1)).mtimeMs > minutesAgo);
});

test('FolderCache knows how much there is without looking at objects', (t) => {
  const folder = scratchFolder(t);
  const first = openCache(t, folder, 1e6);
  for (let n = 0; n < 50; n++) put(first, cacheId(n), Buffer.alloc(100));
  first.evict([cacheId(1)]);
  first.close();
  rmSync(join(folder, 'objects'), { recursive: true });
  const second = openCache(t, folder, 1e6);
  assert.deepEqual([second.status().usedBytes, second.status().objects], [4_900, 49]);
});

test('FolderCache mends a wrong count when it counts', async (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder, 1e6);
  for (let n = 0; n < 5; n++) put(cache, cacheId(n), Buffer.alloc(100));
  rmSync(pathOf(folder, 0));
  writeFileSync(pathOf(folder, 9), Buffer.alloc(1_000));
  assert.equal(cache.usedBytes, 500);
  await cache.count();
  assert.equal(cache.usedBytes, 1_400);
  const other = openCache(t, folder, 1e6);
  assert.equal(other.usedBytes, 1_400, 'for all to see');
});

test('FolderCache counts the room that writers have reserved, also those of others', async (t) => {
  const folder = scratchFolder(t);
  const [one, other] = [openCache(t, folder, 1e6), openCache(t, folder, 1e6)];
  const writer = one.create(cacheId(1), 300_000);
  await other.count();
  assert.equal(other.usedBytes, 300_000);
  writer.write(Buffer.alloc(300_000));
  writer.commit();
  put(other, cacheId(2), 'x');
  assert.equal(other.usedBytes, 300_001);
  one.create(cacheId(3), 200_000).abort();
  put(other, cacheId(4), 'x');
  assert.equal(other.usedBytes, 300_002);
});

test('FolderCache does not put again what another process has put meanwhile', (t) => {
  const folder = scratchFolder(t);
  const [one, other] = [openCache(t, folder), openCache(t, folder)];
  const writer = one.create(cacheId(1), 5);
  writer.write(Buffer.from('hello'));
  put(other, cacheId(1), 'hello');
  writer.commit();
  put(other, cacheId(2), 'x');
  assert.equal(other.usedBytes, 6);
});

test('FolderCache that is closed takes nothing, gives nothing and touches nothing', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder, 1e6);
  put(cache, cacheId(1), 'hello');
  const [small, large] = [cache.create(cacheId(2), 5), cache.create(cacheId(3), 200_000)];
  small.write(Buffer.from('hello'));
  cache.close();
  cache.close();
  assert.throws(() => cache.create(cacheId(4), 1), { code: 'STORAGE' });
  assert.throws(() => small.commit(), { code: 'STORAGE' });
  assert.throws(() => large.write(Buffer.alloc(1)), { code: 'STORAGE' });
  large.abort();
  assert.equal(readAll(cache, cacheId(1)), undefined);
  assert.equal(existsSync(pathOf(folder, 2)), false);
});

test('FolderCache refuses content when all that is there is pinned, however much that is, and says so', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder, 30_000);
  const ids = Array.from({ length: 2_900 }, (_, n) => spreadId(n));
  for (const id of ids) put(cache, id, Buffer.alloc(10));
  // More than may be pinned: the limit was higher then.
  const lines = ids.map((id) => `${id} 10\n`).join('');
  writeFileSync(join(folder, 'pins/kept'), lines);
  assert.throws(() => put(cache, cacheId(1), Buffer.alloc(2_000)), { code: 'STORAGE' });
  assert.equal(cache.status().state, 'full');
  assert.match(cache.status().lastError!, /pinned/);
  assert.equal(cache.usedBytes, 29_000);
  assert.equal(cache.status().droppedObjects, 0);
});

test('FolderCache drops the older of many, a slice at a time, and stays within its limit', (t) => {
  const cache = openCache(t, memoryScratch(t), 60_000);
  for (let n = 0; n < 9_000; n++) {
    put(cache, spreadId(n), Buffer.alloc(10));
    assert.ok(cache.usedBytes <= 60_000);
  }
  const isHere = (n: number) => cache.has(spreadId(n));
  const kept = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => isHere(from + i)).filter(Boolean);
  assert.ok(kept(8_000, 9_000).length === 1_000, 'all of the youngest are there');
  assert.ok(kept(0, 2_000).length < 600, 'most of the oldest are gone');
});

/** Ids that are spread as hashes are. */
function spreadId(n: number): CacheId {
  return cacheIdOf(createHash('sha1').update(String(n)).digest('hex') as ContentHash, 'zlib');
}

test('FolderCache shrinks to what is pinned, and says that it could not do more', async (t) => {
  const cache = openCache(t, scratchFolder(t));
  for (let n = 0; n < 5; n++) put(cache, cacheId(n), Buffer.alloc(100));
  cache.pin([{ id: cacheId(1), sizeBytes: 100 }]);
  assert.equal(await cache.shrink(0), false);
  assert.deepEqual(await cache.ids('all'), [cacheId(1)]);
  assert.deepEqual(await cache.ids('pinned'), [cacheId(1)]);
  assert.equal(cache.cleanupsWithin(3600), 1);
  assert.equal(await cache.shrink(100), true);
});

test('FolderCache counts how often it made room', (t) => {
  const cache = openCache(t, scratchFolder(t));
  fillWithOthers(cache);
  const { droppedObjects } = cache.status();
  const cleanups = cache.cleanupsWithin(24 * 3600);
  assert.ok(cleanups > 0 && cleanups <= droppedObjects, `${cleanups} cleanups`);
  assert.equal(cache.cleanupsWithin(-60), 0);
});

test('FolderCache tells what has changed since it was put there', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder);
  assert.equal(cache.stateOf(cacheId(1)), 'absent');
  put(cache, cacheId(1), 'content');
  assert.equal(cache.stateOf(cacheId(1)), 'right');
  writeFileSync(pathOf(folder, 1), 'CONTENT');
  assert.equal(cache.stateOf(cacheId(1)), 'damaged');
});
