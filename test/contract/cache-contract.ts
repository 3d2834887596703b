/** What every `ObjectCache` keeps to. */

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { type CacheId, cacheIdOf, type ObjectCache, type SteeredCache } from '../../src/client/cache.ts';
import type { ContentHash } from '../../src/core/content-hash.ts';

/** The n-th of many ids. */
export function cacheId(n: number): CacheId {
  return cacheIdOf(n.toString(16).padStart(40, '0') as ContentHash, 'zlib');
}

export function put(cache: ObjectCache, id: CacheId, content: Uint8Array | string): void {
  const bytes = Buffer.from(content);
  const writer = cache.create(id, bytes.length);
  writer.write(bytes);
  writer.commit();
}

/** The whole content by `read`, as text; `undefined` if it is not there. */
export function readAll(cache: Pick<ObjectCache, 'read'>, id: CacheId): string | undefined {
  const into = Buffer.alloc(64 * 1024);
  const count = cache.read(id, 0, into.length, into, 0);
  return count === undefined ? undefined : into.toString('latin1', 0, count);
}

export function testObjectCache(
  name: string,
  open: (t: Pick<TestContext, 'after'>, limitBytes: number) => ObjectCache,
): void {
  const LIMIT = 1024 * 1024;
  const ID = cacheId(1);

  test(`${name} answers undefined for what it does not have`, (t) => {
    const cache = open(t, LIMIT);
    assert.equal(cache.has(ID), false);
    assert.equal(cache.load(ID), undefined);
    assert.equal(cache.read(ID, 0, 10, new Uint8Array(10), 0), undefined);
  });

  test(`${name} shows content when it is committed, and not before`, (t) => {
    const cache = open(t, LIMIT);
    const writer = cache.create(ID, 10);
    for (const chunk of ['hello', 'world']) {
      assert.equal(cache.has(ID), false);
      assert.equal(readAll(cache, ID), undefined);
      writer.write(Buffer.from(chunk));
    }
    assert.equal(cache.load(ID), undefined);
    writer.commit();
    assert.equal(cache.has(ID), true);
    assert.equal(readAll(cache, ID), 'helloworld');
    assert.deepEqual(Buffer.from(cache.load(ID)!), Buffer.from('helloworld'));
  });

  test(`${name} drops what is aborted, and keeps what was committed before`, (t) => {
    const cache = open(t, LIMIT);
    const writer = cache.create(ID, 5);
    writer.write(Buffer.from('hello'));
    writer.abort();
    writer.abort();
    assert.equal(cache.has(ID), false);
    const second = cache.create(ID, 5);
    second.write(Buffer.from('hello'));
    second.commit();
    second.abort();
    assert.equal(readAll(cache, ID), 'hello');
  });

  test(`${name} keeps a copy: what happens to the buffer of a writer does not matter`, (t) => {
    const cache = open(t, LIMIT);
    const buffer = Buffer.from('hello');
    const writer = cache.create(ID, 5);
    writer.write(buffer);
    buffer.fill(0);
    writer.commit();
    assert.equal(readAll(cache, ID), 'hello');
  });

  test(`${name} keeps empty content`, (t) => {
    const cache = open(t, LIMIT);
    put(cache, ID, '');
    assert.equal(cache.has(ID), true);
    assert.equal(cache.read(ID, 0, 10, new Uint8Array(10), 0), 0);
    assert.equal(cache.load(ID)!.length, 0);
  });

  test(`${name} keeps inflated and plain content of one hash apart`, (t) => {
    const cache = open(t, LIMIT);
    const hash = `${'ab'.repeat(20)}-shake128` as ContentHash;
    put(cache, cacheIdOf(hash, 'zlib'), 'inflated');
    assert.equal(cache.has(cacheIdOf(hash, 'none')), false);
    put(cache, cacheIdOf(hash, 'none'), 'plain');
    assert.equal(readAll(cache, cacheIdOf(hash, 'zlib')), 'inflated');
    assert.equal(readAll(cache, cacheIdOf(hash, 'none')), 'plain');
  });

  test(`${name} lets two write the same content at a time`, (t) => {
    const cache = open(t, LIMIT);
    const writers = [cache.create(ID, 4), cache.create(ID, 4)];
    for (const half of ['sa', 'me']) for (const writer of writers) writer.write(Buffer.from(half));
    for (const writer of writers) {
      writer.commit();
      assert.equal(readAll(cache, ID), 'same');
    }
  });

  test(`${name} reads any part, into any place, and touches nothing else`, (t) => {
    const cache = open(t, LIMIT);
    let n = 0;
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(250),
        fc.nat(250),
        fc.nat(20),
        (content, position, length, at) => {
          const id = cacheId(++n);
          put(cache, id, content);
          const into = new Uint8Array(300).fill(0xee);
          const expected = new Uint8Array(300).fill(0xee);
          const part = content.subarray(position, position + length);
          expected.set(part, at);
          assert.equal(cache.read(id, position, length, into, at), part.length);
          assert.deepEqual(into, expected);
        },
      ),
      { numRuns: 60 },
    );
  });

  test(`${name} drops the oldest content first and stays within its limit`, (t) => {
    const cache = open(t, 1_000);
    for (let n = 0; n < 40; n++) {
      put(cache, cacheId(n), Buffer.alloc(90, n));
      const kept = Array.from({ length: n + 1 }, (_, i) => cache.has(cacheId(i)));
      assert.equal(kept.at(-1), true, 'what was just put is there');
      assert.ok(kept.filter(Boolean).length * 90 <= 1_000, 'the limit is kept');
      assert.deepEqual(
        kept,
        [...kept].sort((a, b) => Number(a) - Number(b)),
        'nothing younger went before something older',
      );
    }
  });
}

/** What every cache keeps to that a mount uses. */
export function testSteeredCache(
  name: string,
  open: (t: Pick<TestContext, 'after'>, limitBytes: number) => SteeredCache,
): void {
  testObjectCache(name, open);

  test(`${name} evicts what it is told to, and counts only what was there`, (t) => {
    const cache = open(t, 1024 * 1024);
    for (let n = 0; n < 3; n++) put(cache, cacheId(n), `content ${n}`);
    assert.equal(readAll(cache, cacheId(1)), 'content 1');
    assert.equal(cache.evict([cacheId(0), cacheId(1), cacheId(7)]), 2);
    assert.deepEqual(
      [0, 1, 2].map((n) => cache.has(cacheId(n))),
      [false, false, true],
    );
    assert.equal(readAll(cache, cacheId(1)), undefined);
    put(cache, cacheId(1), 'content 1');
    assert.equal(readAll(cache, cacheId(1)), 'content 1');
  });

  test(`${name} drops the oldest until so much is left, and names what is`, async (t) => {
    const cache = open(t, 1024 * 1024);
    for (let n = 0; n < 4; n++) put(cache, cacheId(n), Buffer.alloc(100, n));
    assert.deepEqual((await cache.ids('all')).toSorted(), [0, 1, 2, 3].map(cacheId).toSorted());
    assert.deepEqual(await cache.ids('pinned'), []);
    assert.equal(await cache.shrink(400), true);
    assert.equal((await cache.ids('all')).length, 4);
    assert.equal(await cache.shrink(250), true);
    assert.equal((await cache.ids('all')).length, 2);
    assert.ok(cache.status().usedBytes <= 250);
    assert.ok(cache.cleanupsWithin(60) <= 1);
  });

  test(`${name} forgets what is discarded, and takes other content under the id`, (t) => {
    const cache = open(t, 1024 * 1024);
    put(cache, ID_OF_DISCARDED, 'wrong');
    assert.equal(readAll(cache, ID_OF_DISCARDED), 'wrong');
    cache.discard?.(ID_OF_DISCARDED);
    cache.discard?.(ID_OF_DISCARDED);
    assert.equal(cache.has(ID_OF_DISCARDED), false);
    assert.equal(readAll(cache, ID_OF_DISCARDED), undefined);
    put(cache, ID_OF_DISCARDED, 'right');
    assert.equal(readAll(cache, ID_OF_DISCARDED), 'right');
  });

  test(`${name} tells how it is`, (t) => {
    const cache = open(t, 1_000);
    for (let n = 0; n < 20; n++) put(cache, cacheId(n), Buffer.alloc(100, n));
    readAll(cache, cacheId(19));
    readAll(cache, cacheId(0));
    const status = cache.status();
    assert.equal(status.state, 'good');
    assert.equal(status.limitBytes, 1_000);
    assert.equal(status.usedBytes, status.objects * 100);
    assert.ok(status.usedBytes <= 1_000);
    assert.equal(status.droppedObjects + status.objects, 20);
    assert.deepEqual([status.hits, status.misses], [1, 1]);
  });
}

const ID_OF_DISCARDED = cacheId(77);
