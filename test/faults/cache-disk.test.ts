/** Disks that are full or read-only under the cache: reading goes on. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, statfsSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { cacheIdOf } from '../../src/client/cache.ts';
import { DEFAULT_CACHE_SETTINGS } from '../../src/client/cache-settings.ts';
import { Servers } from '../../src/client/network/servers.ts';
import { Objects } from '../../src/client/objects.ts';
import { hashBytes, objectPath } from '../../src/core/content-hash.ts';
import { silentLog } from '../../src/core/ports.ts';
import type { ObjectNeed } from '../../src/core/vfs.ts';
import { openCacheReader } from '../../src/node/cache/cache-reader.ts';
import { FolderCache } from '../../src/node/cache/folder-cache.ts';
import { FolderCacheReader } from '../../src/node/cache/folder-reader.ts';
import { openCache } from '../../src/node/cache/open-cache.ts';
import { nodeClock, nodeRandom } from '../../src/node/clock.ts';
import { FolderSource } from '../../src/node/folder-source.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { cacheId, put, readAll } from '../contract/cache-contract.ts';
import { fixturePath, unpackFixture } from '../support/fixtures.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { thimble } from '../support/thimble.ts';

const MIB = 1024 * 1024;

function mountTmpfs(folder: string, sizeBytes: number): string {
  const mountpoint = join(folder, 'disk');
  mkdirSync(mountpoint);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'none', mountpoint]);
  return mountpoint;
}

function remountReadOnly(disk: string): void {
  execFileSync('mount', ['-o', 'remount,ro', disk]);
}

/** Takes all that is left on the disk. */
function fill(disk: string): string {
  const path = join(disk, 'filler');
  const { bavail, bsize } = statfsSync(disk);
  writeFileSync(path, Buffer.alloc(Number(bavail) * Number(bsize)));
  return path;
}

function setUp(t: TestContext) {
  const folder = scratchFolder(t);
  const disk = mountTmpfs(folder, 8 * MIB);
  const storage = join(folder, 'storage');
  const cache = FolderCache.open(join(disk, 'cache'), { limitBytes: 100 * MIB });
  t.after(() => cache.close());
  const servers = new Servers([new FolderSource(storage)], { clock: nodeClock, random: nodeRandom });
  const objects = new Objects(servers, cache, { hashing: nodeHashing, inflating: nodeInflating });
  const addObject = (content: Buffer, label: string): ObjectNeed => {
    const stored = deflateSync(content, { level: 1 });
    const hash = hashBytes(nodeHashing, 'sha1', stored);
    const path = join(storage, objectPath(hash, ''));
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, stored);
    return { kind: 'object', hash, type: '', compression: 'zlib', sizeBytes: content.length, label };
  };
  return { disk, cache, servers, objects, addObject };
}

for (const [what, sizeBytes] of [
  ['small', 100_000],
  ['large', 5 * MIB],
] as const) {
  test(`a full disk does not keep ${what} objects from being read`, needs('root'), async (t) => {
    const { disk, cache, objects, addObject } = setUp(t);
    const content = Buffer.alloc(sizeBytes, 'what a program wants to read, ');
    const need = addObject(content, '/file');
    fill(disk);
    await objects.fetch(need);
    const into = Buffer.alloc(sizeBytes);
    assert.equal(objects.read(cacheIdOf(need.hash, 'zlib'), 0, sizeBytes, into, 0), sizeBytes);
    assert.ok(into.equals(content));
    assert.ok(objects.storageFailures > 0);
    assert.equal(cache.has(cacheIdOf(need.hash, 'zlib')), false, 'half of it on disk is not shown');
  });
}

test('metadata that a full disk cannot keep is not fetched twice', needs('root'), async (t) => {
  const { disk, servers, objects, addObject } = setUp(t);
  const need = addObject(Buffer.alloc(100_000, 'catalog '), 'catalog');
  fill(disk);
  for (let i = 0; i < 2; i++) {
    const bytes = await objects.load(need.hash, '', MIB, 'catalog');
    assert.equal(bytes.length, 100_000);
  }
  assert.equal(servers.counters.requests, 1);
});

test('a cache drops objects to make room on a disk that is smaller than its limit', needs('root'), (t) => {
  const { disk, cache } = setUp(t);
  fill(disk);
  unlinkSync(join(disk, 'filler'));
  for (let n = 0; n < 100; n++) put(cache, cacheId(n), Buffer.alloc(n % 2 === 0 ? 100_000 : 500_000, n));
  const { state, droppedObjects, writeFailures } = cache.status();
  assert.deepEqual([state, writeFailures], ['good', 0]);
  assert.ok(droppedObjects > 50);
  assert.equal(cache.has(cacheId(99)), true);
});

test('a disk that has room again is used again', needs('root'), (t) => {
  const { disk, cache } = setUp(t);
  const filler = fill(disk);
  assert.throws(() => put(cache, cacheId(1), Buffer.alloc(100_000)), { code: 'STORAGE' });
  unlinkSync(filler);
  put(cache, cacheId(1), 'hello');
  assert.equal(readAll(cache, cacheId(1)), 'hello');
});

test('a cache keeps room free on its disk, whatever its limit', needs('root'), (t) => {
  const folder = scratchFolder(t);
  const disk = mountTmpfs(folder, 8 * MIB);
  const cache = FolderCache.open(join(disk, 'cache'), { limitBytes: 100 * MIB, keepFreeBytes: MIB });
  t.after(() => cache.close());
  for (let n = 0; n < 200; n++) {
    put(cache, cacheId(n), Buffer.alloc(100_000, n));
    const { bavail, bsize } = statfsSync(disk);
    // A tenth of this disk; it is looked at after half as much was put.
    assert.ok(bavail * bsize >= 0.3 * MIB, `${bavail * bsize} bytes are free after object ${n}`);
  }
  assert.deepEqual([cache.status().state, cache.status().writeFailures], ['good', 0]);
  writeFileSync(join(disk, 'of-others'), Buffer.alloc(300_000));
  for (let n = 200; n < 220; n++) put(cache, cacheId(n), Buffer.alloc(100_000, n));
  const { bavail, bsize } = statfsSync(disk);
  assert.ok(bavail * bsize >= 0.3 * MIB, 'others take room too');
});

test(
  'a cache says that its disk is full, since when and why, and that it is good again',
  needs('root'),
  (t) => {
    const { disk, cache } = setUp(t);
    const filler = fill(disk);
    assert.throws(() => put(cache, cacheId(1), Buffer.alloc(100_000)), { code: 'STORAGE' });
    const full = cache.status();
    assert.equal(full.state, 'full');
    assert.match(full.lastError!, /ENOSPC/);
    assert.ok(Math.abs(full.sinceSeconds - Date.now() / 1000) < 60);
    assert.equal(full.writeFailures, 1);
    unlinkSync(filler);
    put(cache, cacheId(1), 'hello');
    assert.equal(cache.status().state, 'good');
  },
);

test('a large object that finds its disk full makes room in the middle', needs('root'), (t) => {
  const { cache } = setUp(t);
  for (let n = 0; n < 40; n++) put(cache, cacheId(n), Buffer.alloc(100_000));
  const writer = cache.create(cacheId(99), 6 * MIB);
  for (let i = 0; i < 6; i++) writer.write(Buffer.alloc(MIB, i));
  writer.commit();
  assert.equal(cache.load(cacheId(99))!.length, 6 * MIB);
});

test('a cache whose disk becomes read-only serves what it has, and says so', needs('root'), (t) => {
  const folder = scratchFolder(t);
  const disk = mountTmpfs(folder, MIB);
  const cache = FolderCache.open(join(disk, 'cache'), { limitBytes: MIB });
  t.after(() => cache.close());
  put(cache, cacheId(1), 'hello');
  // Laid over it: a disk that is written to cannot be made read-only by hand, as a failing one makes itself.
  execFileSync('mount', ['--bind', disk, disk]);
  execFileSync('mount', ['-o', 'remount,bind,ro', disk]);
  assert.throws(() => put(cache, cacheId(2), 'world'), { code: 'STORAGE' });
  assert.equal(cache.status().state, 'read-only');
  assert.equal(readAll(cache, cacheId(1)), 'hello');
  assert.equal(cache.has(cacheId(2)), false);
  execFileSync('umount', [disk]);
  put(cache, cacheId(2), 'world');
  assert.equal(cache.status().state, 'good');
});

test(
  'a cache folder that does not exist cannot be made on a read-only disk, which is said as STORAGE',
  needs('root'),
  (t) => {
    const folder = scratchFolder(t);
    const disk = mountTmpfs(folder, MIB);
    remountReadOnly(disk);
    const settings = { ...DEFAULT_CACHE_SETTINGS, folder: join(disk, 'cache') };
    assert.throws(() => openCache(settings, silentLog), { code: 'STORAGE', hint: /--cache/ });
  },
);

test('a cache folder on a read-only disk is read, checked, and filled up in memory', needs('root'), (t) => {
  const folder = scratchFolder(t);
  const disk = mountTmpfs(folder, MIB);
  const cacheFolder = join(disk, 'cache');
  const before = FolderCache.open(cacheFolder, { limitBytes: MIB });
  for (const n of [1, 2]) put(before, cacheId(n), `content ${n}`);
  before.close();
  writeFileSync(join(cacheFolder, 'objects/00', cacheId(2).slice(2)), 'c0ntent 2');
  remountReadOnly(disk);
  const opened = openCache({ ...DEFAULT_CACHE_SETTINGS, folder: cacheFolder }, silentLog);
  t.after(() => opened.close());
  const { cache } = opened;
  assert.equal(cache.status().state, 'read-only');
  assert.match(cache.status().lastError!, /EROFS/);
  assert.equal(readAll(cache, cacheId(1)), 'content 1');
  assert.equal(cache.has(cacheId(2)), false, 'it is damaged');
  put(cache, cacheId(2), 'content 2');
  assert.equal(readAll(cache, cacheId(2)), 'content 2');
  const reader = openCacheReader(opened.reader!);
  t.after(() => reader.close());
  assert.equal(readAll(reader, cacheId(1)), 'content 1');
  assert.equal(readAll(reader, cacheId(2)), 'content 2', 'what is in memory too');
});

for (const where of [[], ['--foreground']]) {
  const command = ['mount', ...where].join(' ');
  test(`"thimble ${command}" fails at once with STORAGE where no cache folder can be made`, async (t) => {
    const scratch = scratchFolder(t);
    const repository = unpackFixture('history', scratch);
    const key = fixturePath('history/history.peer.test.pub');
    const args = ['mount', repository, scratch, '--key', key, '--cache', '/proc/none', ...where];
    const { status, stderr } = await thimble(args, { timeoutMs: 20_000 });
    assert.equal(status, EXIT_CODES.STORAGE, stderr);
    assert.match(stderr, /^error: .*\/proc\/none.*\nhint: give another/m);
  });
}

test('objects can be read on a disk that has become read-only', needs('root'), (t) => {
  const folder = scratchFolder(t);
  const disk = mountTmpfs(folder, MIB);
  const cache = FolderCache.open(join(disk, 'cache'), { limitBytes: MIB });
  put(cache, cacheId(1), 'hello');
  cache.close();
  execFileSync('mount', ['-o', 'remount,ro', disk]);
  const reader = new FolderCacheReader(join(disk, 'cache'));
  t.after(() => reader.close());
  assert.equal(readAll(reader, cacheId(1)), 'hello');
});
