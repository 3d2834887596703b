/** What flags of rows do to a mount: direct I/O, hidden entries, bind mount points, files that nobody can read. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { entry, memoryTree } from '../support/memory-tree.ts';
import { needs } from '../support/needs.ts';
import { publisherRepository } from '../support/publisher-repository.ts';
import { rewriteCatalog } from '../support/rewritten-catalog.ts';
import { memoryScratch, scratchFolder } from '../support/scratch.ts';
import { readManifest } from '../support/storage-place.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';

const DIRECT_IO = 1 << 16;

/** Mounts the newest snapshot after a change of its root catalog; answers the folder, and what ends it. */
async function mountChanged(t: TestContext, sql: string, options: readonly string[] = []) {
  const scratch = scratchFolder(t);
  const { storage, publish } = await publisherRepository(memoryScratch(t));
  await publish(
    memoryTree([
      entry(''),
      entry('/flagged', { content: 'a'.repeat(10_000) }),
      entry('/plain', { content: 'b'.repeat(10_000) }),
    ]),
  );
  const change = (database: DatabaseSync) => database.exec(sql);
  const root = rewriteCatalog(storage, readManifest(storage).rootCatalog, '', change);
  const folder = join(scratch, 'mount');
  const log = join(scratch, 'log');
  mkdirSync(folder);
  const cache = ['--cache', join(scratch, 'cache'), '--log', log];
  await thimbleJson(['mount', storage, folder, '--root-hash', root, ...cache, ...options]);
  const unmount = async () => {
    assert.equal((await thimble(['umount', folder])).status, 0);
    for (;;) {
      const requests = /unmounted.*requests=(\d+)/.exec(readFileSync(log, 'utf8'))?.[1];
      if (requests !== undefined) return Number(requests);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return { folder, unmount };
}

const FLAG = `UPDATE catalog SET flags = flags | ${DIRECT_IO} WHERE name = 'flagged'`;
const read = (folder: string, name: string) => readFileSync(join(folder, name), 'latin1');

describe('the direct-I/O flag', needs('fuse'), () => {
  test('is honoured with --direct-io: each read is a request; other files stay in the page cache', async (t) => {
    const requests: Record<string, number> = {};
    for (const name of ['flagged', 'plain']) {
      const { folder, unmount } = await mountChanged(t, FLAG, ['--direct-io']);
      for (let i = 0; i < 20; i++)
        assert.match(read(folder, name), name === 'plain' ? /^b{10000}$/ : /^a{10000}$/);
      requests[name] = await unmount();
    }
    // Opening is a request for both, and closing.
    assert.ok(requests['flagged']! >= requests['plain']! + 19, JSON.stringify(requests));
    assert.ok(requests['plain']! >= 40, JSON.stringify(requests));
  });

  test('changes nothing by default: the kernel opens by itself, and keeps the pages', async (t) => {
    const { folder, unmount } = await mountChanged(t, FLAG);
    for (let i = 0; i < 20; i++) assert.match(read(folder, 'flagged'), /^a{10000}$/);
    assert.ok((await unmount()) < 20);
  });

  test('does not keep programs from running', async (t) => {
    const scratch = scratchFolder(t);
    const { storage, publish } = await publisherRepository(memoryScratch(t));
    await publish(
      memoryTree([entry(''), entry('/flagged', { mode: 0o100755, content: readFileSync('/bin/true') })]),
    );
    const change = (database: DatabaseSync) => database.exec(FLAG);
    const root = rewriteCatalog(storage, readManifest(storage).rootCatalog, '', change);
    mkdirSync(join(scratch, 'mount'));
    const folder = join(scratch, 'mount');
    await thimbleJson([
      'mount',
      storage,
      folder,
      '--root-hash',
      root,
      '--cache',
      join(scratch, 'cache'),
      '--direct-io',
    ]);
    assert.equal(spawnSync(join(folder, 'flagged')).status, 0);
    assert.equal((await thimble(['umount', folder])).status, 0);
  });
});

test('a file whose compression nobody knows is EIO, and the mount is well', needs('fuse'), async (t) => {
  const { folder, unmount } = await mountChanged(
    t,
    "UPDATE catalog SET flags = flags | (6 << 11) WHERE name = 'flagged'",
  );
  assert.deepEqual(readdirSync(folder), ['flagged', 'plain']);
  assert.equal(statSync(join(folder, 'flagged')).size, 10_000);
  assert.throws(() => read(folder, 'flagged'), { code: 'EIO' });
  assert.match(read(folder, 'plain'), /^b{10000}$/);
  await unmount();
});

test('tagged snapshots are in /.cvmfs/snapshots, which is not listed', needs('fuse'), async (t) => {
  const scratch = scratchFolder(t);
  const { storage, publicKey, publish } = await publisherRepository(memoryScratch(t), {
    virtualDirectory: true,
  });
  const tag = (name: string) => ({ tag: { name, description: '' } });
  await publish(memoryTree([entry(''), entry('/f', { content: 'first' })]), tag('v1'));
  await publish(memoryTree([entry(''), entry('/f', { content: 'second' })]), tag('v2'));
  const folder = join(scratch, 'mount');
  mkdirSync(folder);
  await thimbleJson(['mount', storage, folder, '--key', publicKey, '--cache', join(scratch, 'cache')]);
  assert.deepEqual(readdirSync(folder), ['f']);
  assert.deepEqual(readdirSync(join(folder, '.cvmfs/snapshots')).sort(), ['v1', 'v2']);
  assert.equal(read(folder, '.cvmfs/snapshots/v1/f'), 'first');
  assert.equal(read(folder, '.cvmfs/snapshots/v2/f'), 'second');
  assert.equal(read(folder, 'f'), 'second');
  assert.equal((await thimble(['umount', folder])).status, 0);
});
