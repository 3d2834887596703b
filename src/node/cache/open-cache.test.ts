import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cacheId, put, readAll, testSteeredCache } from '../../../test/contract/cache-contract.ts';
import { needs } from '../../../test/support/needs.ts';
import { scratchFolder } from '../../../test/support/scratch.ts';
import { type CacheSettings, DEFAULT_CACHE_SETTINGS } from '../../client/cache-settings.ts';
import { silentLog } from '../../core/ports.ts';
import { openCacheReader } from './cache-reader.ts';
import { FolderCache } from './folder-cache.ts';
import { openMemoryFolder } from './memory-folder.ts';
import { openCache } from './open-cache.ts';

const MIB = 1024 * 1024;

function open(t: Pick<TestContext, 'after'>, settings: Partial<CacheSettings>) {
  const opened = openCache({ ...DEFAULT_CACHE_SETTINGS, ...settings }, silentLog);
  t.after(() => opened.close());
  return opened;
}

testSteeredCache('openCache() without a folder', (t, limitBytes) => open(t, { limitBytes }).cache);
testSteeredCache(
  'openCache() with a lower folder',
  (t, limitBytes) => open(t, { folder: scratchFolder(t), limitBytes, lowerFolders: ['/none'] }).cache,
);

test('openCache() asks lower folders that were filled before, from both threads, and writes only its own', (t) => {
  const [own, lower] = [scratchFolder(t), scratchFolder(t)];
  const before = FolderCache.open(lower, { limitBytes: MIB });
  put(before, cacheId(1), 'of the lower one');
  before.close();
  const { cache, reader } = open(t, { folder: own, lowerFolders: [lower] });
  assert.equal(cache.has(cacheId(1)), true);
  assert.equal(readAll(cache, cacheId(1)), 'of the lower one');
  put(cache, cacheId(2), 'of its own');
  const other = openCacheReader(structuredClone(reader!));
  t.after(() => other.close());
  assert.deepEqual(
    [1, 2, 3].map((n) => readAll(other, cacheId(n))),
    ['of the lower one', 'of its own', undefined],
  );
  assert.equal(cache.evict([cacheId(1), cacheId(2)]), 1, 'what is below stays');
  assert.deepEqual(readdirSync(join(lower, 'running')), []);
  assert.equal(cache.status().lower[0]!.folder, lower);
});

function tmpfs(t: Pick<TestContext, 'after'>, size: string): string {
  const folder = scratchFolder(t);
  spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', folder]);
  return folder;
}

test(
  'openMemoryFolder() takes at most half of what is free, and leaves nothing behind',
  needs('root'),
  (t) => {
    const parent = tmpfs(t, '64m');
    mkdirSync(join(parent, 'thimble-cache-4194304-1', 'objects'), { recursive: true });
    mkdirSync(join(parent, 'of-others'));
    const cache = openMemoryFolder(40 * MIB, silentLog, ['/none', parent])!;
    assert.equal(cache.limitBytes, 32 * MIB);
    assert.deepEqual(readdirSync(parent).sort(), ['of-others', cache.status().folder!.split('/').at(-1)]);
    put(cache, cacheId(1), 'hello');
    assert.equal(readAll(openCacheReader(cache.readerSettings), cacheId(1)), 'hello');
    cache.close();
    assert.deepEqual(readdirSync(parent), ['of-others']);
  },
);

test('openMemoryFolder() passes over disks, and over memory with too little room', needs('root'), (t) => {
  const small = tmpfs(t, '8m');
  assert.equal(openMemoryFolder(100 * MIB, silentLog, [small, '/proc']), undefined);
  assert.equal(openMemoryFolder(MIB, silentLog, [import.meta.dirname]), undefined);
  assert.deepEqual(readdirSync(small), []);
});

test('openCache() gives memory of its own where there is no such file system', (t) => {
  // Nothing has room for a quarter of this.
  const { cache, reader } = open(t, { limitBytes: 2 ** 52 });
  assert.equal(cache.status().kind, 'memory');
  assert.equal(reader, undefined);
});
