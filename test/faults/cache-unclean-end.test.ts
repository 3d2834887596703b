/** The cache folder after processes that were killed: nothing unchecked is served, and no trace of them stays. */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { FolderCache } from '../../src/node/cache/folder-cache.ts';
import { cacheId, put, readAll } from '../contract/cache-contract.ts';
import { startCacheProcess } from '../support/cache-process.ts';
import { scratchFolder } from '../support/scratch.ts';

const LIMIT = 1024 * 1024;
const CONTENT = 'content of an object that somebody needs';

const pathOf = (folder: string, n: number, part = 'objects') =>
  join(folder, part, cacheId(n).slice(0, 2), cacheId(n).slice(2));

function openCache(t: TestContext, folder: string): FolderCache {
  const cache = FolderCache.open(folder, { limitBytes: LIMIT });
  t.after(() => cache.close());
  return cache;
}

/** A folder that a killed process leaves behind, with objects 0 to `count - 1` in it. */
async function folderAfterKill(t: TestContext, count: number): Promise<string> {
  const folder = scratchFolder(t);
  const holder = await startCacheProcess(t, folder, LIMIT);
  await holder.ask('open');
  for (let n = 0; n < count; n++) await holder.ask('put', cacheId(n), `${CONTENT} ${n}`);
  await holder.ask('begin', cacheId(count), 'half of it');
  await holder.kill();
  assert.equal(readdirSync(join(folder, 'running')).length, 1, 'it could not say goodbye');
  assert.equal(readdirSync(join(folder, 'tmp')).length, 1, 'it was in the middle of something');
  return folder;
}

test('a cache folder serves what a killed process had put, and nothing half-written', async (t) => {
  const folder = await folderAfterKill(t, 3);
  const cache = openCache(t, folder);
  for (let n = 0; n < 3; n++) assert.equal(readAll(cache, cacheId(n)), `${CONTENT} ${n}`);
  assert.equal(cache.has(cacheId(3)), false);
  assert.equal(cache.load(cacheId(3)), undefined);
  while (readdirSync(join(folder, 'tmp')).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(readdirSync(join(folder, 'running')).length, 1);
});

const DAMAGES: readonly (readonly [string, (path: string) => void])[] = [
  [
    'with a changed byte',
    (path) => {
      const bytes = readFileSync(path);
      bytes[7]! ^= 1;
      writeFileSync(path, bytes);
    },
  ],
  ['that lost its end', (path) => truncateSync(path, 10)],
  ['that lost all of its content', (path) => truncateSync(path, 0)],
  ['of zeros', (path) => writeFileSync(path, Buffer.alloc(readFileSync(path).length))],
  ['with a byte too many', (path) => writeFileSync(path, `${readFileSync(path, 'latin1')}x`)],
];

for (const [what, damage] of DAMAGES) {
  test(`after a kill, a cached object ${what} is not there, however it is asked for`, async (t) => {
    const folder = await folderAfterKill(t, 4);
    for (let n = 0; n < 3; n++) damage(pathOf(folder, n));
    const cache = openCache(t, folder);
    assert.equal(cache.has(cacheId(0)), false);
    assert.equal(cache.load(cacheId(1)), undefined);
    assert.equal(readAll(cache, cacheId(2)), undefined);
    assert.equal(readAll(cache, cacheId(3)), `${CONTENT} 3`, 'whole ones stay');
    put(cache, cacheId(0), 'fetched again');
    assert.equal(readAll(cache, cacheId(0)), 'fetched again');
  });
}

test('after a kill, objects whose sum is lost are not served', async (t) => {
  const folder = await folderAfterKill(t, 2);
  const sums = readFileSync(join(folder, 'sums'), 'latin1');
  // The line of the last object is cut, as a power cut leaves it.
  writeFileSync(join(folder, 'sums'), sums.slice(0, sums.lastIndexOf(cacheId(1)) + 45));
  const cache = openCache(t, folder);
  assert.equal(readAll(cache, cacheId(0)), `${CONTENT} 0`);
  assert.equal(cache.has(cacheId(1)), false);
});

test('objects that were not asked for stay suspect through a clean end', async (t) => {
  const folder = await folderAfterKill(t, 2);
  const first = FolderCache.open(folder, { limitBytes: LIMIT });
  assert.equal(first.has(cacheId(0)), true);
  first.close();
  const bytes = readFileSync(pathOf(folder, 1, 'suspect/1'));
  bytes[0]! ^= 1;
  writeFileSync(pathOf(folder, 1, 'suspect/1'), bytes);
  const second = openCache(t, folder);
  assert.equal(second.has(cacheId(0)), true);
  assert.equal(second.has(cacheId(1)), false);
});

test('a process that is killed again and again leaves one set of objects behind', async (t) => {
  const folder = scratchFolder(t);
  for (let round = 0; round < 3; round++) {
    const holder = await startCacheProcess(t, folder, LIMIT);
    await holder.ask('open');
    for (let n = 0; n < round; n++) assert.equal(await holder.ask('load', cacheId(n)), `content ${n}`);
    await holder.ask('put', cacheId(round), `content ${round}`);
    await holder.kill();
  }
  const cache = openCache(t, folder);
  assert.equal(cache.usedBytes, 3 * 'content 0'.length);
});
