import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { type Described, describeTree } from '../../test/support/described-tree.ts';
import { noise } from '../../test/support/memory-tree.ts';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, hardlink, makeTree, symlink } from '../../test/support/trees.ts';
import { FolderTree } from './folder-tree.ts';
import { TarTree } from './tar-tree.ts';

const TREE = dir({
  empty: dir({}),
  'a-folder': dir({ large: file(noise(70_000)), none: file(''), suid: file('x', { mode: 0o6755 }) }),
  one: file('linked'),
  two: hardlink('one'),
  ['n'.repeat(255)]: file('long name'),
  [Array.from({ length: 3 }, () => 'ü'.repeat(40)).join('-')]: dir({ inside: file('x') }),
  link: symlink('../somewhere/else'),
  'long-link': symlink(`${'t'.repeat(200)}/target`),
});

/** An archive of a folder, as GNU tar makes it. */
function tarOf(folder: string, ...options: readonly string[]): TarTree {
  const archive = execFileSync('tar', ['-C', folder, '--format=posix', ...options, '-c', '.'], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return new TarTree(Readable.from([archive]), 'archive');
}

async function assertSameTree(folder: string, archive: TarTree): Promise<void> {
  const expected = await describeTree(new FolderTree(folder));
  const actual = await describeTree(archive);
  const paths = (described: ReadonlyMap<string, Described>) => [...described.keys()];
  assert.deepEqual(paths(actual), paths(expected));
  assert.deepEqual(actual, expected);
}

for (const { what, options } of [
  { what: 'in PAX format', options: [] },
  { what: 'sorted by name', options: ['--sort=name'] },
  { what: 'with xattrs', options: ['--xattrs', '--xattrs-include=*'] },
]) {
  test(`an archive ${what} is the tree that its folder is`, async (t) => {
    const folder = scratchFolder(t);
    makeTree(folder, TREE);
    await assertSameTree(folder, tarOf(folder, ...options));
  });
}

test('an archive in GNU format is the tree that its folder is, to the second', async (t) => {
  const folder = scratchFolder(t);
  makeTree(folder, TREE);
  await assertSameTree(folder, tarOf(folder, '--format=gnu'));
});

test(
  'devices, FIFOs, owners and attributes are the same in a folder and in its archive',
  needs('root', 'attr'),
  async (t) => {
    const folder = scratchFolder(t);
    makeTree(folder, dir({ f: file('x', { uid: 3_000_000_000, gid: 12 }), d: dir({}, { mode: 0o1777 }) }));
    for (const args of [
      ['char', 'c', '1', '3'],
      ['block', 'b', '259', '300'],
      ['fifo', 'p'],
    ]) {
      assert.equal(spawnSync('mknod', [join(folder, args[0]!), ...args.slice(1)]).status, 0);
    }
    for (const [path, name, value] of [
      ['f', 'user.a', '0x00ff0a3d'],
      ['d', 'user.b', '"text"'],
      ['f', 'security.capability', '0x0100000200200000000000000000000000000000'],
    ] as const) {
      assert.equal(spawnSync('setfattr', ['-n', name, '-v', value, join(folder, path)]).status, 0);
    }
    await assertSameTree(folder, tarOf(folder, '--xattrs', '--xattrs-include=*'));
  },
);

test(
  'hard links of symlinks and of FIFOs are names of their own, in a folder and in its archive',
  needs('root'),
  async (t) => {
    const folder = scratchFolder(t);
    makeTree(folder, dir({ link: symlink('target') }));
    assert.equal(spawnSync('mknod', [join(folder, 'pipe'), 'p']).status, 0);
    for (const name of ['link', 'pipe']) {
      assert.equal(spawnSync('ln', ['-P', join(folder, name), join(folder, `${name}-2`)]).status, 0);
    }
    await assertSameTree(folder, tarOf(folder, '--sort=name'));
  },
);

test('of a path that comes twice, a hard link that follows is of the second', async (t) => {
  const folder = scratchFolder(t);
  makeTree(join(folder, 'one'), dir({ a: symlink('x') }));
  makeTree(join(folder, 'two'), dir({ a: file('content'), b: hardlink('a') }));
  const archive = join(folder, 'archive.tar');
  execFileSync('tar', ['-C', join(folder, 'one'), '-cf', archive, 'a']);
  execFileSync('tar', ['-C', join(folder, 'two'), '-rf', archive, 'a', 'b']);
  const entries = [];
  for await (const { path, mode, linkKey } of new TarTree(createReadStream(archive), 'archive').entries()) {
    entries.push([path, mode >> 12, linkKey]);
  }
  assert.deepEqual(entries, [
    ['/a', 0o12, undefined],
    ['/a', 0o10, '/a'],
    ['/b', 0o10, '/a'],
  ]);
});

for (const path of ['../escape', 'a/../../b', '/abs/../x']) {
  test(`an archive with the path ${path} is refused`, async () => {
    const archive = execFileSync('tar', [
      '-P',
      '-C',
      '/',
      '--transform',
      `s,.*,${path},`,
      '-c',
      'etc/hostname',
    ]);
    await assert.rejects(describeTree(new TarTree(Readable.from([archive]), 'archive')), {
      code: 'FORMAT',
      message: `Cannot publish tar entry ${path}: its path leaves the tree`,
    });
  });
}
