/** Files that the kernel reads from the cache by itself. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from '../support/needs.ts';
import {
  contentOf,
  OpenedFile,
  PASSTHROUGH,
  PassthroughScene,
  PIECES_BYTES,
  SINGLE_BYTES,
} from '../support/passthrough-scene.ts';
import { thimbleJson } from '../support/thimble.ts';

const SINGLE = contentOf(SINGLE_BYTES);
const PIECES = contentOf(PIECES_BYTES);
const WITHOUT_KOFFI = fileURLToPath(new URL('../support/without-koffi.ts', import.meta.url));

/** Checks that a file can be read in all ways, and answers how many requests of reading that took. */
async function readsOf(scene: PassthroughScene, name: string, content: Buffer): Promise<number> {
  const before = await scene.requests('READ');
  assert.deepEqual(scene.read(name), content);
  return (await scene.requests('READ')) - before;
}

/** Removes what the cache has of all files. */
function emptyCache({ repository }: PassthroughScene): void {
  for (const shard of readdirSync(join(repository.cache, 'objects', 'objects')))
    rmSync(join(repository.cache, 'objects', 'objects', shard), { recursive: true });
}

describe('passthrough', needs('passthrough'), () => {
  test('a cached file is read without a request, from its second opening on', async (t) => {
    const scene = await PassthroughScene.mount(t);
    assert.ok((await readsOf(scene, 'single', SINGLE)) > 0);
    assert.equal(await readsOf(scene, 'single', SINGLE), 0);
    const { refusal, openFiles, backedOpens } = await scene.status();
    assert.deepEqual(
      { refusal, openFiles, backedOpens },
      { refusal: undefined, openFiles: 0, backedOpens: 1 },
    );
  });

  test('a file in pieces is put together when it was read again', async (t) => {
    const scene = await PassthroughScene.mount(t);
    await scene.readUntilBacked('pieces');
    assert.equal(await readsOf(scene, 'pieces', PIECES), 0);
    assert.equal((await scene.status()).wholeFiles, 1);
  });

  test('programs run, which maps them', async (t) => {
    const scene = await PassthroughScene.mount(t);
    const run = () => execFileSync(scene.path('bash'), ['-c', 'echo runs'], { encoding: 'utf8' });
    assert.equal(run(), 'runs\n');
    await scene.readUntilBacked('bash');
    assert.equal(run(), 'runs\n');
  });

  test('small files are read as without', async (t) => {
    const scene = await PassthroughScene.mount(t);
    for (let i = 0; i < 3; i++) assert.equal(String(scene.read('small')), 'small');
    assert.equal((await scene.status()).backedOpens, 0);
  });

  test('a file that was open before it was cached can be opened beside that', async (t) => {
    const scene = await PassthroughScene.mount(t);
    const first = new OpenedFile(t, scene.path('single'));
    for (let i = 0; i < 2; i++) assert.deepEqual(scene.read('single'), SINGLE);
    assert.deepEqual(first.read(0, SINGLE_BYTES), SINGLE);
    const { openFiles, backedFiles } = await scene.status();
    assert.deepEqual({ openFiles, backedFiles }, { openFiles: 1, backedFiles: 0 });
    first.close();
    await scene.readUntilBacked('single');
  });

  test('what is dropped from the cache while it is open can be read, and opened again', async (t) => {
    const scene = await PassthroughScene.mount(t);
    await scene.readUntilBacked('pieces');
    const opened = new OpenedFile(t, scene.path('pieces'));
    assert.deepEqual(opened.read(0, 1000), PIECES.subarray(0, 1000));
    emptyCache(scene);
    assert.deepEqual(opened.read(0, PIECES_BYTES), PIECES);
    assert.equal(await readsOf(scene, 'pieces', PIECES), 0);
    opened.close();
    assert.deepEqual(scene.read('pieces'), PIECES);
  });

  test('evicting a file drops it from the cache as a whole', async (t) => {
    const scene = await PassthroughScene.mount(t);
    await scene.readUntilBacked('pieces');
    await thimbleJson(['cache', 'evict', scene.path('pieces')]);
    assert.ok((await readsOf(scene, 'pieces', PIECES)) > 0);
  });

  test('the server is killed while files are open: they go on, are opened again, and closed', async (t) => {
    const scene = await PassthroughScene.mount(t);
    await scene.readUntilBacked('single');
    const backed = new OpenedFile(t, scene.path('single'));
    const paged = new OpenedFile(t, scene.path('pieces'));
    assert.deepEqual(paged.read(0, PIECES_BYTES), PIECES);
    await scene.replaceServer();
    assert.deepEqual(backed.read(100, 5000), SINGLE.subarray(100, 5100));
    assert.deepEqual(paged.read(100, 5000), PIECES.subarray(100, 5100));
    for (const name of ['single', 'pieces'])
      assert.deepEqual(scene.read(name), name === 'single' ? SINGLE : PIECES);
    const { openFiles, backedFiles, backedOpens } = await scene.status();
    assert.deepEqual(
      { openFiles, backedFiles, backedOpens },
      { openFiles: 2, backedFiles: 1, backedOpens: 1 },
    );
    backed.close();
    paged.close();
    while ((await scene.status()).openFiles > 0);
    for (const name of ['single', 'pieces']) await scene.readUntilBacked(name);
  });

  test('a file that is open keeps its content over an update', async (t) => {
    const scene = await PassthroughScene.mount(t);
    await scene.readUntilBacked('single');
    const opened = new OpenedFile(t, scene.path('single'));
    const next = contentOf(SINGLE_BYTES + 500, 2);
    scene.write('single', next);
    await scene.publishAgain();
    assert.deepEqual(scene.read('single'), next);
    await scene.readUntilBacked('single');
    assert.deepEqual(scene.read('single'), next);
    assert.deepEqual(opened.read(0, 2 * SINGLE_BYTES), SINGLE);
  });

  test('an overlay fits on top', async (t) => {
    const scene = await PassthroughScene.mount(t);
    await scene.readUntilBacked('single');
    const upper = join(scene.scratch, 'upper');
    for (const folder of ['data', 'work', 'merged']) mkdirSync(join(upper, folder), { recursive: true });
    const layers = `lowerdir=${scene.mountpoint},upperdir=${upper}/data,workdir=${upper}/work`;
    const merged = join(upper, 'merged');
    execFileSync('mount', ['-t', 'overlay', '-o', layers, 'thimble-test', merged]);
    const sh = (script: string) => execFileSync('sh', ['-euc', script], { cwd: merged, encoding: 'utf8' });
    assert.equal(sh('cmp single ../../source/single; ./bash -c "echo runs"'), 'runs\n');
    assert.equal(
      sh('echo more >> single; tail -c 5 single; head -c 60000 single | cmp - ../../source/single'),
      'more\n',
    );
    execFileSync('umount', [merged]);
  });
});

describe('passthrough that is not to be had', needs('passthrough'), () => {
  /** The mount works, the kernel opens by itself, and the status says why. */
  async function worksWithout(scene: PassthroughScene, refusal: RegExp): Promise<void> {
    // Whoever closes a file is not waited for: it may still be open the old way when it is opened again.
    let why: string | undefined;
    for (; why === undefined; why = (await scene.status()).refusal) {
      assert.deepEqual(scene.read('single'), SINGLE);
    }
    assert.match(why, refusal);
    const before = await scene.requests('OPEN');
    for (let i = 0; i < 3; i++) assert.deepEqual(scene.read('single'), SINGLE);
    assert.equal(await scene.requests('OPEN'), before);
  }

  test('without koffi', async (t) => {
    const scene = await PassthroughScene.publish(t);
    const { storage, key, cache } = scene.repository;
    const env = { NODE_OPTIONS: `--import=${WITHOUT_KOFFI}` };
    const where = ['--key', key, '--cache', cache];
    await thimbleJson(['mount', storage, scene.mountpoint, ...where, ...PASSTHROUGH], { env });
    await worksWithout(scene, /koffi cannot be loaded/);
  });

  test('with a cache on an overlay', async (t: TestContext) => {
    const scene = await PassthroughScene.publish(t);
    for (const folder of ['lower', 'upper', 'work', 'cache'])
      mkdirSync(join(scene.scratch, folder), { recursive: true });
    const layers = ['lowerdir=lower', 'upperdir=upper', 'workdir=work'].join(',');
    execFileSync('mount', ['-t', 'overlay', '-o', layers, 'thimble-test', 'cache'], { cwd: scene.scratch });
    await scene.repository.mount(scene.mountpoint, PASSTHROUGH);
    await worksWithout(scene, /on a stacked file system/);
    await scene.repository.unmount(scene.mountpoint);
  });

  test('with a cache in memory of the process alone', async (t) => {
    const scene = await PassthroughScene.publish(t);
    await scene.repository.mount(scene.mountpoint, ['--cache', 'none', ...PASSTHROUGH]);
    // What Linux has as a folder in memory is as good as a disk.
    await scene.readUntilBacked('single');
  });
});
