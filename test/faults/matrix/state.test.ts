/** What goes wrong on the machine of the reader: disks, descriptors, processes. Reading goes on, with the right bytes. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { BrokenDisk } from '../../support/broken-disk.ts';
import { type PublishedRepository, publishRepository } from '../../support/client-repository.ts';
import { assertCacheComesToRest } from '../../support/fault-client.ts';
import { FaultMount } from '../../support/fault-mount.ts';
import { FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { noise } from '../../support/memory-tree.ts';
import { needs } from '../../support/needs.ts';
import { randomNumbers } from '../../support/random-numbers.ts';
import { memoryScratch } from '../../support/scratch.ts';
import { dir, file } from '../../support/trees.ts';

const SEED = 20_261_123;
const FILES = Array.from({ length: 10 }, (_, i) => ({
  name: `file-${i}`,
  // Two of them stream into the cache.
  content: Buffer.from(noise(i < 2 ? 1_500_000 + i : 20_000 + i, i + 1)),
}));
const SERVED_FROM_MEMORY = /cache cannot be written, serving from memory/;
const LIMIT_BYTES = 2 ** 32;

const scope = fileScope();
let published: PublishedRepository;

before(async () => {
  published = await publishRepository(scope);
  // Twins share an object: they come from the cache and not from pages that the kernel has kept.
  const both = FILES.flatMap(({ name, content }) => [
    [name, file(content)],
    [`twin-of-${name}`, file(content)],
  ]);
  await published.publish(dir(Object.fromEntries(both)));
});

async function mountOn(t: TestContext, cache: string, args: readonly string[] = []) {
  const server = await FaultServer.start(t, published);
  const mount = await FaultMount.create(t, published, server.url, { deadlineSeconds: 10, cache, args });
  return { server, mount };
}

async function assertAllRead(mount: FaultMount, files = FILES, prefix = ''): Promise<void> {
  for (const { name, content } of files) {
    const { content: read, error } = await mount.read(prefix + name);
    assert.equal(error, '');
    assert.ok(read.equals(content), name);
  }
}

/** From the last to the first: nothing is read ahead. */
const half = FILES.slice(0, FILES.length / 2).reverse();

describe('state fault', { concurrency: 3, ...needs('fuse') }, () => {
  test('ENOSPC: the disk of the cache is full', async (t) => {
    const disk = new BrokenDisk(t);
    const { mount } = await mountOn(t, join(disk.folder, 'cache'));
    await assertAllRead(mount, half);
    disk.fill();
    await assertAllRead(mount, half, 'twin-of-');
    await assertAllRead(mount);
    assert.match(mount.log, SERVED_FROM_MEMORY);
    disk.empty();
    await assertAllRead(mount);
    await mount.assertNobodyIsStuck();
  });

  test('EIO: the disk of the cache breaks', async (t) => {
    const disk = new BrokenDisk(t);
    const { mount } = await mountOn(t, join(disk.folder, 'cache'));
    await assertAllRead(mount, half);
    disk.fail();
    await assertAllRead(mount, half, 'twin-of-');
    await assertAllRead(mount);
    assert.match(mount.log, SERVED_FROM_MEMORY);
    assert.match(mount.log, /cached object cannot be read, fetching it again/);
    await mount.assertNobodyIsStuck();
  });

  test('EROFS: the disk of the cache becomes read-only', async (t) => {
    const disk = new BrokenDisk(t);
    const { mount } = await mountOn(t, join(disk.folder, 'cache'));
    await assertAllRead(mount, half);
    disk.becomeReadOnly();
    assert.throws(() => writeFileSync(join(disk.folder, 'new'), ''), { code: 'EROFS' });
    await assertAllRead(mount, half, 'twin-of-');
    await assertAllRead(mount);
    assert.match(mount.log, SERVED_FROM_MEMORY);
    await mount.assertNobodyIsStuck();
  });

  test('EMFILE: no descriptor is left', async (t) => {
    const { mount } = await mountOn(t, join(memoryScratch(t), 'cache'));
    await assertAllRead(mount, half);
    const pid = mount.pids.at(-1)!;
    const used = readdirSync(`/proc/${pid}/fd`).length;
    execFileSync('prlimit', ['--pid', String(pid), `--nofile=${used}:4096`]);
    for (const { name, content } of FILES) {
      const { content: read, error } = await mount.read(name);
      assert.ok(read.equals(content.subarray(0, read.length)), 'no wrong byte');
      if (error !== '') assert.match(error, /Input\/output error|Network is unreachable/);
    }
    execFileSync('prlimit', ['--pid', String(pid), '--nofile=4096:4096']);
    await assertAllRead(mount);
    await mount.assertNobodyIsStuck();
  });

  test(`kill -9 at random points, and bits that flip in the cache meanwhile (seed ${SEED})`, async (t) => {
    const random = randomNumbers(SEED);
    const cache = join(memoryScratch(t), 'cache');
    const { server, mount } = await mountOn(t, cache, ['--no-supervisor']);
    for (let round = 0; round < 4; round++) {
      const reads = Promise.all(FILES.map(({ name }) => mount.read(name)));
      await new Promise((resolve) => setTimeout(resolve, random(120)));
      process.kill(mount.pids.at(-1)!, 'SIGKILL');
      for (const [i, { content }] of (await reads).entries()) {
        assert.ok(content.equals(FILES[i]!.content.subarray(0, content.length)), 'no wrong byte');
      }
      flipBits(cache, random);
      await mount.mount(server.url, { deadlineSeconds: 10, args: ['--no-supervisor'] });
      await assertAllRead(mount);
    }
    await mount.assertNobodyIsStuck();
    await mount.unmount();
    await assertCacheComesToRest(cache, LIMIT_BYTES);
  });

  test('two mounts on one cache folder, one of them killed', async (t) => {
    const cache = join(memoryScratch(t), 'cache');
    const { mount: one } = await mountOn(t, cache, ['--no-supervisor']);
    const { mount: two } = await mountOn(t, cache);
    await Promise.all([assertAllRead(one), assertAllRead(two, FILES.toReversed())]);
    process.kill(one.pids.at(-1)!, 'SIGKILL');
    await assertAllRead(two);
    const { mount: three } = await mountOn(t, cache);
    await Promise.all([assertAllRead(two), assertAllRead(three)]);
    await two.assertNobodyIsStuck();
  });
});

/** One bit of each second object, as a disk or a power cut does it. */
function flipBits(cache: string, random: (below: number) => number): void {
  const objects = readdirSync(cache, { recursive: true, withFileTypes: true }).filter(
    (one) => one.isFile() && /^[0-9a-f]{30,}/.test(one.name),
  );
  assert.ok(objects.length > 0, 'there is something in the cache');
  for (const [i, { parentPath, name }] of objects.entries()) {
    const path = join(parentPath, name);
    const bytes = readFileSync(path);
    if (i % 2 === 1 || bytes.length === 0) continue;
    bytes[random(bytes.length)]! ^= 1 << random(8);
    writeFileSync(path, bytes);
  }
}
