/** Objects in the cache that cannot be read: they are dropped and fetched again, and no reader hears of it. */

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SnapshotReader } from '../../src/client/snapshot-reader.ts';
import { readFileContent } from '../../src/client/walk.ts';
import { FolderCache } from '../../src/node/cache/folder-cache.ts';
import { FolderCacheReader } from '../../src/node/cache/folder-reader.ts';
import { LowerFolder } from '../../src/node/cache/lower-folder.ts';
import { cacheId, put, readAll } from '../contract/cache-contract.ts';
import { openSnapshot, publishRepository } from '../support/client-repository.ts';
import { scratchFolder } from '../support/scratch.ts';
import { dir, file } from '../support/trees.ts';

const CONTENT = 'content of a file that somebody reads again and again';

function openCache(t: TestContext): { cache: FolderCache; folder: string } {
  const folder = scratchFolder(t);
  const cache = FolderCache.open(folder, { limitBytes: 1e6 });
  t.after(() => cache.close());
  return { cache, folder };
}

const pathOf = (folder: string, n: number) => join(folder, 'objects/00', cacheId(n).slice(2));

/** Opening it works, and reading it does not. */
function makeUnreadable(path: string): void {
  rmSync(path);
  mkdirSync(path);
}

test('a reader gets the right bytes when the cached object has lost its end', async (t) => {
  const published = await publishRepository(t);
  await published.publish(dir({ file: file(CONTENT) }));
  const { cache, folder } = openCache(t);
  const mounted = await openSnapshot(published, { cache });
  const entry = await new SnapshotReader(mounted).find('/file');
  const read = async () =>
    Buffer.from(await readFileContent(mounted, entry!.node, 0, CONTENT.length)).toString();
  assert.equal(await read(), CONTENT);
  const [chunk] = mounted.vfs.chunksOf(entry!.node);
  const path = join(folder, 'objects', chunk!.hash.slice(0, 2), chunk!.hash.slice(2));
  for (const damage of [() => truncateSync(path, 10), () => truncateSync(path, 0)]) {
    damage();
    assert.equal(await read(), CONTENT);
    assert.equal(readFileSync(path, 'utf8'), CONTENT, 'and the cache has it whole again');
  }
});

test('a reader gets the right bytes when the cached object cannot be read', async (t) => {
  const published = await publishRepository(t);
  await published.publish(dir({ file: file(CONTENT) }));
  const { cache, folder } = openCache(t);
  const mounted = await openSnapshot(published, { cache });
  const entry = await new SnapshotReader(mounted).find('/file');
  const read = async (offset: number) =>
    Buffer.from(await readFileContent(mounted, entry!.node, offset, 20)).toString();
  await read(0);
  const [chunk] = mounted.vfs.chunksOf(entry!.node);
  makeUnreadable(join(folder, 'objects', chunk!.hash.slice(0, 2), chunk!.hash.slice(2)));
  for (const offset of [0, 10, 0]) assert.equal(await read(offset), CONTENT.slice(offset, offset + 20));
  const { readFailures, lastError } = cache.status();
  assert.ok(readFailures > 0);
  assert.match(lastError!, /EISDIR/);
});

test('FolderCache answers that a broken object is not there, and takes it again', (t) => {
  const { cache, folder } = openCache(t);
  for (const n of [1, 2]) put(cache, cacheId(n), 'hello');
  makeUnreadable(pathOf(folder, 1));
  assert.equal(readAll(cache, cacheId(1)), undefined);
  assert.equal(cache.load(cacheId(1)), undefined);
  assert.equal(cache.has(cacheId(1)), false);
  rmSync(pathOf(folder, 1), { recursive: true });
  put(cache, cacheId(1), 'hello');
  assert.equal(readAll(cache, cacheId(1)), 'hello');
  assert.equal(readAll(cache, cacheId(2)), 'hello');
});

test('what the worker thread drops is gone for both', (t) => {
  const { cache, folder } = openCache(t);
  const reader = new FolderCacheReader(folder);
  t.after(() => reader.close());
  put(cache, cacheId(1), 'hello');
  put(cache, cacheId(2), 'world!');
  assert.equal(readAll(reader, cacheId(1)), 'hello');
  // The main thread has it open.
  assert.equal(cache.read(cacheId(1), 1, 2, Buffer.alloc(2), 0), 2);
  reader.discard(cacheId(1));
  reader.discard(cacheId(1));
  assert.equal(cache.has(cacheId(1)), false);
  put(cache, cacheId(3), 'x');
  assert.equal(cache.usedBytes, 7, 'and does not count any more');
});

// ---- read-only lower tiers ----

function lowerOf(t: TestContext, contents: Readonly<Record<number, string>>) {
  const { cache, folder } = openCache(t);
  for (const [n, content] of Object.entries(contents)) put(cache, cacheId(Number(n)), content);
  cache.close();
  const lower = new LowerFolder(folder);
  t.after(() => lower.close());
  return { lower, folder };
}

test('LowerFolder serves what its sums vouch for, and nothing else', (t) => {
  const { lower, folder } = lowerOf(t, { 1: 'hello', 2: 'world', 3: 'again', 4: '' });
  writeFileSync(pathOf(folder, 2), 'w0rld');
  writeFileSync(pathOf(folder, 7), 'of nobody');
  truncateSync(pathOf(folder, 3), 2);
  assert.equal(readAll(lower, cacheId(1)), 'hello');
  assert.equal(Buffer.from(lower.load(cacheId(1))!).toString(), 'hello');
  assert.equal(readAll(lower, cacheId(4)), '');
  for (const n of [2, 3, 7, 8]) {
    assert.equal(lower.has(cacheId(n)), false);
    assert.equal(readAll(lower, cacheId(n)), undefined);
    assert.equal(lower.load(cacheId(n)), undefined);
  }
  assert.equal(lower.status().damaged, 3, 'what has no sum is worth nothing either');
});

test('LowerFolder writes nothing', (t) => {
  const { lower, folder } = lowerOf(t, { 1: 'hello', 2: 'world' });
  const sums = readFileSync(join(folder, 'sums'));
  writeFileSync(pathOf(folder, 2), 'w0rld');
  readAll(lower, cacheId(2));
  lower.discard(cacheId(1));
  assert.equal(readAll(lower, cacheId(1)), undefined);
  assert.ok(existsSync(pathOf(folder, 1)) && existsSync(pathOf(folder, 2)));
  assert.deepEqual(readFileSync(join(folder, 'sums')), sums);
});

test('LowerFolder without sums, or without a folder, has nothing', (t) => {
  const { lower, folder } = lowerOf(t, { 1: 'hello' });
  rmSync(join(folder, 'sums'));
  assert.equal(readAll(lower, cacheId(1)), undefined);
  const none = new LowerFolder(join(folder, 'none'));
  assert.equal(none.has(cacheId(1)), false);
  assert.equal(readAll(none, cacheId(1)), undefined);
});
