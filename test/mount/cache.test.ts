/** The cache as a mount uses it: in memory, below others, damaged while it is read, filled in the background. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { CacheStatus } from '../../src/client/cache.ts';
import type { CompletionStatus } from '../../src/client/complete.ts';
import { CliRepository } from '../support/cli-repository.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch } from '../support/scratch.ts';
import { thimble } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

const NAMES = Array.from({ length: 40 }, (_, n) => `file-${n}`);
const contentOf = (name: string) => `content of ${name}, `.repeat(400);

async function setUp(t: TestContext) {
  const scratch = memoryScratch(t);
  const repository = await CliRepository.create(scratch);
  const tree = join(scratch, 'tree');
  const files = Object.fromEntries(NAMES.map((name) => [name, file(contentOf(name))]));
  makeTree(tree, dir({ one: dir(files), two: dir({ big: file('big '.repeat(100_000)) }) }));
  await repository.publish(tree);
  const mountpoint = join(scratch, 'mnt');
  mkdirSync(mountpoint);
  const cacheStatus = async () => {
    const mount = await repository.json<{ status: { cache: CacheStatus } }>(['status', mountpoint]);
    return mount.status.cache;
  };
  return { scratch, repository, mountpoint, cacheStatus };
}

async function verifyAll(mountpoint: string): Promise<void> {
  await Promise.all(
    NAMES.map(async (name) => {
      assert.equal(await readFile(join(mountpoint, 'one', name), 'latin1'), contentOf(name));
    }),
  );
  assert.equal((await readFile(join(mountpoint, 'two/big'))).length, 400_000);
}

/** The kernel forgets what it has of one file system, and of no other. */
async function remount(
  repository: CliRepository,
  mountpoint: string,
  options: readonly string[],
): Promise<void> {
  await repository.unmount(mountpoint);
  await repository.mount(mountpoint, options);
}

const objectsOf = async (cache: string) => {
  const objects = join(cache, 'objects/objects');
  const files = await readdir(objects, { recursive: true, withFileTypes: true });
  return files.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
};

test(
  'a mount without a cache folder keeps content in memory for both of its threads',
  needs('fuse'),
  async (t) => {
    const { repository, mountpoint, cacheStatus } = await setUp(t);
    await repository.mount(mountpoint, ['--cache', 'none', '--cache-size', '100M']);
    await verifyAll(mountpoint);
    const { kind, state, folder, limitBytes, usedBytes } = await cacheStatus();
    assert.deepEqual([kind, state], ['folder', 'good']);
    assert.match(folder!, /^\/(dev\/shm|run)\//);
    assert.ok(limitBytes <= 100 * 1024 ** 2 && usedBytes > 400_000);
    await repository.unmount(mountpoint);
    for (let look = 0; look < 1_000 && existsIn(folder!); look++)
      await new Promise((next) => setTimeout(next, 20));
    assert.equal(existsIn(folder!), false, 'nothing of it stays');
  },
);

function existsIn(folder: string): boolean {
  return readdirSync(join(folder, '..')).includes(folder.split('/').at(-1)!);
}

test('a mount reads on when its cached objects are damaged or gone', needs('fuse'), async (t) => {
  const { repository, mountpoint } = await setUp(t);
  await repository.mount(mountpoint);
  await verifyAll(mountpoint);
  await remount(repository, mountpoint, []);
  const objects = await objectsOf(repository.cache);
  assert.ok(objects.length > NAMES.length);
  objects.forEach((path, n) => {
    if (n % 3 === 0) truncateSync(path, 5);
    else if (n % 3 === 1) rmSync(path);
  });
  await verifyAll(mountpoint);
});

test(
  '"thimble complete" brings the rest, and the mount goes on without servers',
  needs('fuse'),
  async (t) => {
    const { scratch, repository, mountpoint } = await setUp(t);
    await repository.mount(mountpoint);
    const part = await repository.json<CompletionStatus>([
      'complete',
      mountpoint,
      join(mountpoint, 'two'),
      '--wait',
    ]);
    assert.deepEqual([part.state, part.files, part.fetchedBytes], ['complete', 1, 400_000]);
    const all = await repository.json<CompletionStatus>(['complete', mountpoint, '--wait']);
    assert.deepEqual([all.state, all.files, all.presentBytes], ['complete', NAMES.length + 1, 400_000]);
    execFileSync('mv', [join(repository.storage, 'data'), join(scratch, 'gone')]);
    await verifyAll(mountpoint);
  },
);

test('"thimble complete --cancel" stops it, and nothing is to be stopped twice', needs('fuse'), async (t) => {
  const { repository, mountpoint } = await setUp(t);
  await repository.mount(mountpoint);
  const none = await thimble(['complete', mountpoint, '--cancel']);
  assert.match(none.stderr, /Nothing is being completed.*\nhint: begin with: thimble complete/);
  const begun = await repository.json<CompletionStatus>(['complete', mountpoint, '--rate', '1k']);
  assert.equal(begun.files, NAMES.length + 1);
  const again = await thimble(['complete', mountpoint]);
  assert.match(again.stderr, /is being completed already/);
  await repository.json(['complete', mountpoint, '--cancel']);
  const waited = await thimble(['complete', mountpoint, join(mountpoint, 'none')]);
  assert.match(waited.stderr, /being completed already|Cannot find/);
});

test('"thimble complete" says before it begins that the cache is too small', needs('fuse'), async (t) => {
  const { repository, mountpoint } = await setUp(t);
  await repository.mount(mountpoint, ['--cache-size', '256k']);
  const { stderr, status } = await thimble(['complete', mountpoint]);
  assert.notEqual(status, 0);
  assert.match(stderr, /Cannot hold \d+ bytes: the cache may have 262144\nhint: .*--cache-size/);
});

test('"thimble preload" fills a folder that a mount reads without servers', needs('fuse'), async (t) => {
  const { scratch, repository, mountpoint } = await setUp(t);
  const filled = join(scratch, 'filled');
  const preload = (paths: readonly string[]) =>
    repository.json<CompletionStatus & { rootCatalog: string }>([
      ...['preload', repository.storage, ...paths, '--key', repository.key, '--cache', filled],
    ]);
  const part = await preload(['/two']);
  assert.deepEqual([part.state, part.fetchedBytes], ['complete', 400_000]);
  const { rootCatalog, presentBytes, fetchedObjects } = await preload([]);
  assert.deepEqual([presentBytes, fetchedObjects], [400_000, NAMES.length]);
  execFileSync('mv', [join(repository.storage, 'data'), join(scratch, 'gone')]);
  await repository.mount(mountpoint, ['--cache', filled, '--root-hash', rootCatalog]);
  await verifyAll(mountpoint);
});

test('"thimble preload" says what is wrong with a path or a limit, and ends with it', async (t) => {
  const { scratch, repository } = await setUp(t);
  const base = ['preload', repository.storage, '--key', repository.key, '--cache', join(scratch, 'filled')];
  const path = await thimble([...base, '/nowhere']);
  assert.match(path.stderr, /Cannot find \/nowhere in the snapshot/);
  const limit = await thimble([...base, '--cache-size', '100k']);
  assert.match(limit.stderr, /Cannot hold \d+ bytes/);
  const rate = await thimble([...base, '--rate', 'fast']);
  assert.match(rate.stderr, /Cannot use "fast" as a size/);
});
