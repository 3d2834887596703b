import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openClient, publishRepository } from '../../test/support/client-repository.ts';
import { ManualClock } from '../../test/support/fake-clock.ts';
import { FaultyCache } from '../../test/support/faulty-cache.ts';
import { dir, file } from '../../test/support/trees.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import { nodeClock } from '../node/clock.ts';
import { FolderSource } from '../node/folder-source.ts';
import { nodeHashing } from '../node/hashing.ts';
import { MemoryCache, type SteeredCache } from './cache.ts';
import { Completion, type CompletionOptions } from './complete.ts';
import type { Source } from './network/source.ts';

const TREE = dir({
  bin: dir({ one: file('1'.repeat(1_000)), same: file('1'.repeat(1_000)), two: file('2'.repeat(2_000)) }),
  lib: dir({ three: file('3'.repeat(3_000)), empty: file('') }),
});

async function setUp(
  t: TestContext,
  given: Partial<CompletionOptions> & {
    readonly cache?: SteeredCache;
    readonly source?: (inner: Source) => Source;
  } = {},
) {
  const published = await publishRepository(t);
  await published.publish(TREE);
  const cache = given.cache ?? new MemoryCache(1e6);
  const inner = new FolderSource(published.storage);
  const retries = { rounds: 1 };
  const client = openClient(published, { cache, retries, sources: [given.source?.(inner) ?? inner] });
  const snapshot = await client.repository.resolve({});
  const begin = (options: Partial<CompletionOptions> = {}, clock = nodeClock) =>
    new Completion(
      snapshot,
      { objects: client.objects, cache, hashing: nodeHashing, clock },
      { paths: [], ...given, ...options },
    );
  return { ...client, cache, begin };
}

const path = (text: string) => text as ByteString;

test('a completion brings every object once, and says how much it is before', async (t) => {
  const { begin, servers } = await setUp(t);
  const completion = begin();
  await completion.count();
  const counted = completion.status();
  assert.deepEqual(
    [counted.state, counted.files, counted.objects, counted.bytes, counted.fetchedObjects],
    ['counting', 5, 4, 6_000, 0],
  );
  const before = servers.counters.requests;
  await completion.run();
  const done = completion.status();
  assert.deepEqual(
    [done.state, done.fetchedObjects, done.fetchedBytes, done.missingObjects],
    ['complete', 4, 6_000, 0],
  );
  assert.equal(servers.counters.requests - before, 4);
});

test('a completion passes over what is there, so that it can be begun again', async (t) => {
  const { begin, servers } = await setUp(t);
  const first = begin({ paths: [path('/bin')] });
  await first.count();
  await first.run();
  assert.deepEqual([first.status().objects, first.status().bytes], [2, 3_000]);
  const before = servers.counters.requests;
  const second = begin();
  await second.count();
  await second.run();
  const { presentObjects, presentBytes, fetchedObjects } = second.status();
  assert.deepEqual([presentObjects, presentBytes, fetchedObjects], [2, 3_000, 2]);
  assert.equal(servers.counters.requests - before, 2);
});

test('a completion takes single files and several folders', async (t) => {
  const { begin } = await setUp(t);
  const completion = begin({ paths: [path('/bin/two'), path('lib'), path('/lib/three')] });
  await completion.count();
  assert.deepEqual([completion.status().objects, completion.status().bytes], [3, 5_000]);
});

test('a completion refuses a path that is not there', async (t) => {
  const { begin } = await setUp(t);
  const completion = begin({ paths: [path('/none')] });
  await assert.rejects(completion.count(), { code: 'NOT_FOUND', message: /\/none/ });
  assert.equal(completion.status().state, 'failed');
});

test('a completion says before it begins that the cache cannot hold it', async (t) => {
  const { begin, servers } = await setUp(t, { cache: new MemoryCache(5_999) });
  const before = servers.counters.requests;
  const completion = begin();
  await assert.rejects(completion.count(), { code: 'LIMIT', hint: /--cache-size/ });
  assert.equal(servers.counters.requests - before, 1, 'nothing but the catalog is fetched');
});

test('a completion says before it begins that the disk cannot hold it', async (t) => {
  const cache = new MemoryCache(1e6);
  const { status } = cache;
  cache.status = () => ({ ...status.call(cache), usedBytes: 1_000, freeBytes: 5_000, keepFreeBytes: 1_000 });
  const { begin } = await setUp(t, { cache });
  await assert.rejects(begin().count(), { code: 'LIMIT', hint: /room on the disk/ });
  cache.status = () => ({ ...status.call(cache), usedBytes: 1_000, freeBytes: 6_000, keepFreeBytes: 1_000 });
  await begin().count();
});

test('a completion ends when it is cancelled, and keeps what has come', async (t) => {
  const { begin, cache } = await setUp(t);
  const completion = begin({ rateBytesPerSecond: 1 });
  await completion.count();
  const running = completion.run();
  while (completion.status().fetchedObjects === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  completion.cancel();
  await assert.rejects(running, { code: 'CANCELLED' });
  const { state, fetchedObjects } = completion.status();
  assert.equal(state, 'cancelled');
  assert.ok(fetchedObjects >= 1 && fetchedObjects < 4);
  assert.ok(cache.status().objects >= 1);
});

test('a completion keeps to its rate', async (t) => {
  const { begin } = await setUp(t);
  const clock = new ManualClock();
  const completion = begin({ rateBytesPerSecond: 1_000 }, clock);
  let isDone = false;
  const running = (async () => {
    await completion.count();
    await completion.run();
    isDone = true;
  })();
  let passedMs = 0;
  while (!isDone) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    clock.advance(100);
    passedMs += 100;
    const { fetchedBytes } = completion.status();
    // The first one is free, and so is the largest.
    assert.ok(fetchedBytes <= passedMs + 3_000, `${fetchedBytes} bytes after ${passedMs} ms`);
  }
  await running;
  assert.ok(passedMs >= 3_000);
});

/** A source whose objects of content fail as `failure` says. */
function failing(failure: () => ThimbleError | undefined): (inner: Source) => Source {
  return (inner) => ({
    name: inner.name,
    open: async (wanted, options) => {
      const error = /^data\/..\/[0-9a-f-]+(shake128)?$/.test(wanted) ? failure() : undefined;
      if (error !== undefined) throw error;
      return inner.open(wanted, options);
    },
  });
}

test('a completion goes on with the rest when no server has an object', async (t) => {
  let failures = 1;
  const { begin } = await setUp(t, {
    source: failing(() => (failures-- > 0 ? new ThimbleError('NOT_FOUND', 'gone') : undefined)),
  });
  const completion = begin();
  await completion.count();
  await completion.run();
  const { state, missingObjects, fetchedObjects, lastError } = completion.status();
  assert.deepEqual([state, missingObjects, fetchedObjects], ['complete', 1, 3]);
  assert.match(lastError!, /gone/);
});

test('a completion that is not patient ends when the network fails', async (t) => {
  const { begin } = await setUp(t, { source: failing(() => new ThimbleError('NETWORK', 'down')) });
  const completion = begin();
  await completion.count();
  await assert.rejects(completion.run(), { code: 'NETWORK' });
  assert.equal(completion.status().state, 'failed');
});

test('a patient completion waits for the network, and goes on', async (t) => {
  let isDown = true;
  const { begin } = await setUp(t, {
    source: failing(() => (isDown ? new ThimbleError('NETWORK', 'down') : undefined)),
  });
  const clock = new ManualClock();
  const completion = begin({ isPatient: true }, clock);
  let isDone = false;
  const running = (async () => {
    await completion.count();
    await completion.run();
    isDone = true;
  })();
  const states = new Set<string>();
  while (!isDone) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    states.add(completion.status().state);
    if (states.has('waiting')) isDown = false;
    clock.advance(200);
  }
  await running;
  assert.ok(states.has('waiting'));
  assert.deepEqual([completion.status().state, completion.status().fetchedObjects], ['complete', 4]);
});

test('a completion ends when the cache cannot be written', async (t) => {
  const cache = new FaultyCache(new MemoryCache(1e6));
  const { begin } = await setUp(t, { cache });
  const completion = begin();
  await completion.count();
  cache.faults.creating = true;
  await assert.rejects(completion.run(), { code: 'STORAGE', hint: /begin again/ });
  cache.faults.creating = false;
  const again = begin();
  await again.count();
  await again.run();
  assert.equal(again.status().state, 'complete');
});
