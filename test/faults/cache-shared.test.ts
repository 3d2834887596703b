/** Several processes in one cache folder. */

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FolderCache } from '../../src/node/cache/folder-cache.ts';
import { cacheId, put, readAll } from '../contract/cache-contract.ts';
import { startCacheProcess } from '../support/cache-process.ts';
import { scratchFolder } from '../support/scratch.ts';

const LIMIT = 1024 * 1024;

const residentsOf = (folder: string) =>
  readdirSync(join(folder, 'running'))
    .map((name) => Number.parseInt(name, 10))
    .sort();

test('two processes share what either of them puts', async (t) => {
  const folder = scratchFolder(t);
  const other = await startCacheProcess(t, folder, LIMIT);
  await other.ask('open');
  const cache = FolderCache.open(folder, { limitBytes: LIMIT });
  await other.ask('put', cacheId(1), 'of the other');
  put(cache, cacheId(2), 'of this one');
  assert.equal(readAll(cache, cacheId(1)), 'of the other');
  assert.equal(await other.ask('load', cacheId(2)), 'of this one');
  assert.equal(readdirSync(join(folder, 'running')).length, 2);
  cache.close();
  assert.deepEqual(residentsOf(folder), [other.pid]);
  assert.equal(await other.ask('load', cacheId(2)), 'of this one');
  await other.ask('close');
});

test('a process goes on when another one is killed and a third one opens the folder', async (t) => {
  const folder = scratchFolder(t);
  const [steady, doomed] = await Promise.all([1, 2].map(() => startCacheProcess(t, folder, LIMIT)));
  await steady!.ask('open');
  await doomed!.ask('open');
  await steady!.ask('put', cacheId(1), 'steady');
  await steady!.ask('begin', cacheId(9), 'on its way');
  assert.equal(await steady!.ask('load', cacheId(1)), 'steady');
  await doomed!.kill();
  const third = FolderCache.open(folder, { limitBytes: LIMIT });
  t.after(() => third.close());
  assert.deepEqual(residentsOf(folder), [process.pid, steady!.pid].sort());
  assert.equal(readdirSync(join(folder, 'tmp')).length, 1, 'what the living one writes stays');
  assert.equal(await steady!.ask('load', cacheId(1)), 'steady');
  assert.equal(await steady!.ask('put', cacheId(2), 'more'), 'put');
  assert.equal(readAll(third, cacheId(1)), 'steady');
  assert.equal(readAll(third, cacheId(2)), 'more');
});

test('two processes together keep the limit, at every moment', async (t) => {
  const folder = scratchFolder(t);
  const limit = 10_000;
  const processes = await Promise.all([1, 2].map(() => startCacheProcess(t, folder, limit)));
  for (const one of processes) await one.ask('open');
  for (let n = 0; n < 60; n++) {
    const outcome = await processes[n % 2]!.ask('put', cacheId(n), 'x'.repeat(500));
    assert.equal(outcome, 'put');
    const used = readdirSync(join(folder, 'objects', '00')).length * 500;
    assert.ok(used <= limit, `${used} bytes are used after object ${n}`);
  }
});

test('many processes that open a folder after an unclean end all get it', async (t) => {
  const folder = scratchFolder(t);
  const processes = await Promise.all([1, 2, 3, 4].map(() => startCacheProcess(t, folder, LIMIT)));
  const [doomed, ...others] = processes;
  await doomed!.ask('open');
  for (let n = 0; n < 20; n++) await doomed!.ask('put', cacheId(n), `content ${n}`);
  await doomed!.kill();
  assert.deepEqual(await Promise.all(others.map((one) => one.ask('open'))), ['open', 'open', 'open']);
  assert.deepEqual(residentsOf(folder), others.map(({ pid }) => pid).sort());
  for (const one of others) {
    const content = await one.ask('load', cacheId(3));
    assert.ok(content === null || content === 'content 3');
    assert.equal(await one.ask('put', cacheId(50), 'new'), 'put');
    assert.equal(await one.ask('load', cacheId(50)), 'new');
  }
});
