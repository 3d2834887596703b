/** Files read in the order of their tree: fetched ahead, and handed to the kernel before they are asked for. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { CliRepository } from '../support/cli-repository.ts';
import { noise } from '../support/memory-tree.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch } from '../support/scratch.ts';
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
});
