import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { describeTree } from '../../test/support/described-tree.ts';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, hardlink, makeTree, symlink } from '../../test/support/trees.ts';
import type { TreeEntry } from '../core/tree.ts';
import { FolderTree } from './folder-tree.ts';

async function entriesOf(folder: string): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  for await (const entry of new FolderTree(folder).entries()) entries.push(entry);
  return entries;
}

test('a folder is listed depth first, names in byte order, parents before children', async (t) => {
  const folder = scratchFolder(t);
  makeTree(folder, dir({ b: dir({ z: file(''), a: file('') }), 'b.c': file(''), B: file(''), a: dir({}) }));
  mkdirSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff])]));
  assert.deepEqual(
    (await entriesOf(folder)).map(({ path }) => path),
    ['', '/B', '/a', '/b', '/b/a', '/b/z', '/b.c', '/\xff'],
  );
});

test('entries have mode, times to the nanosecond, and targets', async (t) => {
  const folder = scratchFolder(t);
  makeTree(folder, dir({ suid: file('x', { mode: 0o4755 }), link: symlink('to/nowhere') }));
  spawnSync('touch', ['-h', '-d', '@-1.5', join(folder, 'link')]);
  spawnSync('touch', ['-d', '2001-02-03T04:05:06.123456789Z', join(folder, 'suid')]);
  const [, link, suid] = await entriesOf(folder);
  assert.equal(suid!.mode, 0o104755);
  assert.deepEqual([suid!.mtimeSeconds, suid!.mtimeNs], [981_173_106, 123_456_789]);
  assert.deepEqual([link!.mode, link!.symlink], [0o120777, 'to/nowhere']);
  assert.deepEqual([link!.mtimeSeconds, link!.mtimeNs], [-2, 500_000_000]);
});

test('names of one file have one link key, files with one name have none', async (t) => {
  const folder = scratchFolder(t);
  makeTree(folder, dir({ a: file('x'), b: hardlink('a'), d: dir({ c: hardlink('a') }), e: file('x') }));
  const keys = Object.fromEntries((await entriesOf(folder)).map(({ path, linkKey }) => [path, linkKey]));
  assert.notEqual(keys['/a'], undefined);
  assert.equal(keys['/b'], keys['/a']);
  assert.equal(keys['/d/c'], keys['/a']);
  assert.equal(keys['/e'], undefined);
});

test('devices, FIFOs and owners are entries as they are', needs('root'), async (t) => {
  const folder = scratchFolder(t);
  for (const args of [
    ['char', 'c', '1', '3'],
    ['block', 'b', '259', '300'],
    ['fifo', 'p'],
  ]) {
    assert.equal(spawnSync('mknod', [join(folder, args[0]!), ...args.slice(1)]).status, 0);
  }
  spawnSync('chown', ['12345:54321', join(folder, 'fifo')]);
  const described = await describeTree(new FolderTree(folder));
  assert.equal(described.get('/char')!.rdev, 259);
  // docs/format.md: makedev(259, 300).
  assert.equal(described.get('/block')!.rdev, 1_114_924);
  assert.deepEqual([described.get('/fifo')!.rdev, described.get('/fifo')!.owner], [0, '12345:54321']);
});

test(
  'extended attributes are read, of folders too; those of an overlay are left out',
  needs('root', 'attr'),
  async (t) => {
    const folder = scratchFolder(t);
    mkdirSync(join(folder, 'd'));
    for (const [name, value] of [
      ['user.a', '1'],
      ['trusted.overlay.opaque', 'y'],
      ['security.x', '2'],
    ] as const) {
      assert.equal(spawnSync('setfattr', ['-n', name, '-v', value, join(folder, 'd')]).status, 0);
    }
    spawnSync('setfattr', ['-n', 'user.root', '-v', '1', folder]);
    const described = await describeTree(new FolderTree(folder));
    assert.deepEqual(described.get('/d')!.xattrs, { 'security.x': '32', 'user.a': '31' });
    assert.deepEqual(described.get('')!.xattrs, { 'user.root': '31' });
  },
);

test('a folder that is named by a symlink, or with slashes behind it, is the same tree', async (t) => {
  const scratch = scratchFolder(t);
  makeTree(join(scratch, 'real'), dir({ a: file('x') }));
  symlinkSync('real', join(scratch, 'link'));
  const expected = await describeTree(new FolderTree(join(scratch, 'real')));
  assert.deepEqual(await describeTree(new FolderTree(join(scratch, 'link'))), expected);
  assert.deepEqual(await describeTree(new FolderTree(`${join(scratch, 'real')}//`)), expected);
});

test('a file in the place of the folder is refused', async (t) => {
  const path = join(scratchFolder(t), 'file');
  writeFileSync(path, '');
  await assert.rejects(entriesOf(path), {
    code: 'USAGE',
    message: `Cannot publish ${path}: it is not a folder`,
  });
});

test('a folder that is not there is refused, without advice on trees that change', async (t) => {
  const path = join(scratchFolder(t), 'gone');
  await assert.rejects(entriesOf(path), {
    code: 'NOT_FOUND',
    message: `Cannot read ${path}`,
    hint: undefined,
  });
});

test('an entry that vanishes after it was listed fails with its path and what to do', async (t) => {
  const folder = scratchFolder(t);
  makeTree(folder, dir({ a: file(''), b: file('') }));
  const listing = new FolderTree(folder).entries();
  assert.deepEqual([(await listing.next()).value.path, (await listing.next()).value.path], ['', '/a']);
  rmSync(join(folder, 'b'));
  await assert.rejects(listing.next(), {
    code: 'NOT_FOUND',
    message: `Cannot read ${join(folder, 'b')}`,
    hint: /vanished/,
  });
});

test('a folder that becomes a file after it was listed fails, and is not followed', async (t) => {
  const folder = scratchFolder(t);
  makeTree(folder, dir({ a: dir({ inside: file('') }), other: dir({ inside: file('') }) }));
  const listing = new FolderTree(folder).entries();
  await listing.next();
  await listing.next();
  renameSync(join(folder, 'a'), join(folder, 'b'));
  writeFileSync(join(folder, 'a'), '');
  await assert.rejects(listing.next(), { code: 'NOT_FOUND', message: `Cannot read ${join(folder, 'a')}` });
});

test('a tree deeper than any call stack is listed', async (t) => {
  const folder = scratchFolder(t);
  const deep = join(folder, ...Array.from({ length: 1500 }, () => 'd'));
  mkdirSync(deep, { recursive: true });
  utimesSync(deep, 1, 1);
  chmodSync(deep, 0o700);
  assert.equal((await entriesOf(folder)).length, 1501);
});
