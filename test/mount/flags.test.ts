/** What flags of rows do to a mount: direct I/O, hidden entries, bind mount points, files that nobody can read. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import type { MountReport } from '../../src/mount/status-mounts.ts';
import { entry, memoryTree } from '../support/memory-tree.ts';
import { needs } from '../support/needs.ts';
import { publisherRepository } from '../support/publisher-repository.ts';
import { rewriteCatalog } from '../support/rewritten-catalog.ts';
import { memoryScratch, scratchFolder } from '../support/scratch.ts';
import { readManifest } from '../support/storage-place.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';

const DIRECT_IO = 1 << 16;

/** Mounts the newest snapshot after a change of its root catalog; answers the folder, what it was asked for, and what ends it. */
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
  mkdirSync(folder);
  const cache = ['--cache', join(scratch, 'cache')];
  await thimbleJson(['mount', storage, folder, '--root-hash', root, ...cache, ...options]);
  /** Requests of the kernel so far, by operation: each is counted before it is answered. */
  const operations = async () => {
    const { status } = await thimbleJson<MountReport>(['status', folder]);
    return { OPEN: 0, READ: 0, ...status!.kernel.operations };
  };
  const unmount = async () => assert.equal((await thimble(['umount', folder])).status, 0);
  return { folder, operations, unmount };
}

const FLAG = `UPDATE catalog SET flags = flags | ${DIRECT_IO} WHERE name = 'flagged'`;
const read = (folder: string, name: string) => readFileSync(join(folder, name), 'latin1');

describe('the direct-I/O flag', needs('fuse'), () => {
  test('is honoured with --direct-io: each read is a request; other files stay in the page cache', async (t) => {
    const { folder, operations, unmount } = await mountChanged(t, FLAG, ['--direct-io']);
    for (let i = 0; i < 20; i++) assert.match(read(folder, 'flagged'), /^a{10000}$/);
    const flagged = await operations();
    assert.deepEqual([flagged.OPEN, flagged.READ], [20, 20]);
    for (let i = 0; i < 20; i++) assert.match(read(folder, 'plain'), /^b{10000}$/);
    const both = await operations();
    assert.deepEqual([both.OPEN, both.READ], [40, 21]);
    await unmount();
  });

  test('changes nothing by default: the kernel opens by itself, and keeps the pages', async (t) => {
    const { folder, operations, unmount } = await mountChanged(t, FLAG);
    for (let i = 0; i < 20; i++) assert.match(read(folder, 'flagged'), /^a{10000}$/);
    const { OPEN, READ } = await operations();
    // The first of them is told that there is no need to ask.
    assert.deepEqual([OPEN, READ], [1, 1]);
    await unmount();
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
