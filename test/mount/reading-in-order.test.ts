/** Files read in the order of their tree: fetched ahead, and handed to the kernel before they are asked for. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { CliRepository } from '../support/cli-repository.ts';
import { publishRepository } from '../support/client-repository.ts';
import { FaultMount, threadsIn } from '../support/fault-mount.ts';
import { FaultServer } from '../support/fault-server.ts';
import { noise } from '../support/memory-tree.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch } from '../support/scratch.ts';
import { until } from '../support/supervised-mount.ts';
import { thimble } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

const DIRECTORIES = 12;
const FILES = 40;
const CONTENT_BYTES = 3_000;

const numbered = <T>(count: number, prefix: string, make: (index: number) => T) =>
  Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`${prefix}${String(index).padStart(2, '0')}`, make(index)]),
  );

/** Names of files below a folder, in the order of `find`. */
const TREE = dir(
  numbered(DIRECTORIES, 'd', (d) =>
    dir(numbered(FILES, 'f', (f) => file(Buffer.from(noise(CONTENT_BYTES + 97 * f, 100 * d + f))))),
  ),
);

interface Operations {
  readonly kernel: { readonly operations: Readonly<Record<string, number>> };
  readonly parts: { readonly readAhead: { readonly handed: number; readonly files: number } };
}

async function setUp(t: TestContext) {
  const scratch = memoryScratch(t);
  const repository = await CliRepository.create(scratch);
  const source = join(scratch, 'source');
  const mountpoint = join(scratch, 'mount');
  makeTree(source, TREE);
  mkdirSync(mountpoint);
  await repository.publish(source);
  /** In another process, as `find -exec cat` does. */
  const read = () => {
    const paths = execFileSync('find', ['.', '-type', 'f'], { cwd: mountpoint, encoding: 'utf8' });
    const files = paths.trim().split('\n');
    assert.equal(files.length, DIRECTORIES * FILES);
    const content = execFileSync('cat', files, { cwd: mountpoint, maxBuffer: 1e9 });
    assert.ok(content.equals(Buffer.concat(files.map((path) => readFileSync(join(source, path))))));
  };
  const status = async (): Promise<Operations> => {
    return (await repository.json<{ status: Operations }>(['status', mountpoint])).status;
  };
  return { repository, source, mountpoint, read, status };
}

describe('files read in order', needs('fuse'), () => {
  test('most of them are no request to the mount, and are handed over from its cache too', async (t) => {
    const { repository, mountpoint, read, status } = await setUp(t);
    for (const isCached of [false, true]) {
      await repository.mount(mountpoint);
      read();
      const {
        kernel,
        parts: { readAhead },
      } = await status();
      const all = DIRECTORIES * FILES;
      // From the cache, a busy machine reads faster than it can look ahead.
      if (!isCached) assert.ok(kernel.operations['READ']! < all / 2, `${kernel.operations['READ']} reads`);
      assert.ok(readAhead.handed > all / 2, `${readAhead.handed} handed over, in the cache: ${isCached}`);
      assert.equal(readAhead.files > 0, !isCached);
      await repository.unmount(mountpoint);
    }
    assert.deepEqual(readdirSync(join(repository.cache, 'objects/running')), [], 'all have said goodbye');
    assert.deepEqual(readdirSync(join(repository.cache, 'objects/tmp')), []);
  });

  test('many readers at once, each in an order of its own, read the right bytes', async (t) => {
    const { repository, source, mountpoint } = await setUp(t);
    await repository.mount(mountpoint);
    const ended = Array.from({ length: 6 }, (_, seed) => {
      const sorting = ['sort', 'sort -r', 'sort -R'][seed % 3]!;
      const script = `find . -type f | ${sorting} | while read -r f; do cmp "$f" "${source}/$f" || exit 1; done`;
      const child = spawn('sh', ['-c', script], { cwd: mountpoint, stdio: ['ignore', 'ignore', 'inherit'] });
      return new Promise((resolve) => child.once('close', resolve));
    });
    assert.deepEqual(await Promise.all(ended), [0, 0, 0, 0, 0, 0]);
    await repository.unmount(mountpoint);
  });

  test('a recording misses none of them', async (t) => {
    const { repository, mountpoint } = await setUp(t);
    await repository.mount(mountpoint);
    const recording = join(mountpoint, '..', 'all.rec');
    const cat = ['find', mountpoint, '-type', 'f', '-exec', 'cat', '{}', '+'];
    const { status, stderr } = await thimble(['record', mountpoint, '--output', recording, '--', ...cat]);
    assert.equal(status, 0, stderr);
    const objects = readFileSync(recording, 'latin1').match(/^[0-9a-f]{40}\S*$/gm)!;
    assert.equal(objects.filter((name) => !name.endsWith('C')).length, DIRECTORIES * FILES);
    await repository.unmount(mountpoint);
  });

  test('a server killed while the kernel keeps it from handing over a file: its readers get their bytes from the next one', async (t) => {
    const contents = Array.from({ length: 12 }, (_, index) => Buffer.from(noise(CONTENT_BYTES, index)));
    const published = await publishRepository(t);
    await published.publish(dir(numbered(contents.length, 'f', (index) => file(contents[index]!))));
    const server = await FaultServer.start(t, published);
    const mount = await FaultMount.create(t, published, server.url, { deadlineSeconds: 120 });
    const path = (index: number) => `f${String(index).padStart(2, '0')}`;
    const attribute = 'import os, sys; print(os.getxattr(sys.argv[1], "user.hash").decode())';
    const { content } = await mount.run(['python3', '-c', attribute, join(mount.mountpoint, path(5))]);
    const hash = content.toString().trim();
    server.misbehave(() => {}, new RegExp(hash.slice(2)));
    // The kernel keeps the pages of this file locked, and so it will whoever wants to fill them.
    const waiting = mount.read(path(5));
    await until(() => server.paths.some((one) => one.includes(hash.slice(2))));
    // Somebody else puts it into the cache.
    const shard = join(mount.cache, 'objects', 'objects', hash.slice(0, 2));
    mkdirSync(shard, { recursive: true });
    writeFileSync(join(shard, hash.slice(2)), contents[5]!);
    // Whoever reads in order is expected to want it next.
    for (const index of [0, 1, 2]) assert.equal((await mount.read(path(index))).error, '');
    const [, serverPid] = mount.pids;
    await until(() => threadsIn('D', serverPid!).length > 0);
    await server.heal();
    process.kill(serverPid!, 'SIGKILL');
    assert.ok((await waiting).content.equals(contents[5]!));
    for (const [index, expected] of contents.entries()) {
      assert.ok((await mount.read(path(index))).content.equals(expected));
    }
    await until(() => !existsSync(`/proc/${serverPid}`));
  });
});
