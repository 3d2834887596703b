import assert from 'node:assert/strict';
import { test } from 'node:test';
import { draftOf } from '../../test/support/draft.ts';
import { entry } from '../../test/support/memory-tree.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { S_IFIFO } from '../core/vfs.ts';
import type { DraftTree } from './draft-tree.ts';
import { sortedChildren, type TreeNode } from './tree-node.ts';

function nodeAt(draft: DraftTree, path: string): TreeNode | undefined {
  let node: TreeNode | undefined = draft.root;
  for (const name of path.split('/').slice(1)) node = node?.children?.get(name as ByteString);
  return node;
}

/** All paths, folders in the order of their children's names. */
function pathsOf(node: TreeNode): string[] {
  return [node.path, ...(node.children === undefined ? [] : sortedChildren(node).flatMap(pathsOf))];
}

test('a tree has its entries, in byte order of names', async () => {
  const draft = await draftOf(
    entry(''),
    entry('/b', { content: 'x' }),
    entry('/a'),
    entry('/a/\xff', { content: 'x' }),
    entry('/a/Z', { content: 'x' }),
    entry('/a.b', { content: 'x' }),
  );
  assert.deepEqual(pathsOf(draft.root), ['', '/a', '/a/Z', '/a/\xff', '/a.b', '/b']);
});

test('an empty stream of entries is an empty folder', async () => {
  assert.deepEqual(pathsOf((await draftOf()).root), ['']);
});

test('the root keeps the attributes that are given for it', async () => {
  const draft = await draftOf(entry('', { mode: 0o040711, uid: 5 }));
  assert.equal(draft.root.metadata.mode, 0o040711);
  assert.equal(draft.root.metadata.uid, 5);
});

test('folders that an archive leaves out are made up, and take their attributes when these come later', async () => {
  const draft = await draftOf(
    entry('/a/b/c', { content: 'x', mtimeSeconds: 7, uid: 9 }),
    entry('/a', { uid: 3 }),
  );
  assert.deepEqual(pathsOf(draft.root), ['', '/a', '/a/b', '/a/b/c']);
  assert.equal(nodeAt(draft, '/a')!.metadata.uid, 3);
  const made = nodeAt(draft, '/a/b')!.metadata;
  assert.deepEqual([made.mode, made.uid, made.mtimeSeconds], [0o040755, 0, 7]);
});

test('a later entry of the same path takes the place of the earlier', async () => {
  const draft = await draftOf(
    entry('/f', { content: 'x' }),
    entry('/d'),
    entry('/d/inside', { content: 'x' }),
    entry('/f', { mode: S_IFIFO | 0o600 }),
    entry('/d', { content: 'now a file' }),
  );
  assert.deepEqual(pathsOf(draft.root), ['', '/d', '/f']);
  assert.equal(nodeAt(draft, '/f')!.metadata.mode, S_IFIFO | 0o600);
  assert.equal(nodeAt(draft, '/d')!.children, undefined);
});

test('a folder that comes again keeps what is in it', async () => {
  const draft = await draftOf(entry('/d'), entry('/d/inside', { content: 'x' }), entry('/d', { uid: 1 }));
  assert.deepEqual(pathsOf(draft.root), ['', '/d', '/d/inside']);
  assert.equal(nodeAt(draft, '/d')!.metadata.uid, 1);
});

test('a folder that became a file and then a folder again is empty', async () => {
  const draft = await draftOf(
    entry('/d'),
    entry('/d/inside', { content: 'x' }),
    entry('/d', { content: 'x' }),
    entry('/d'),
  );
  assert.deepEqual(pathsOf(draft.root), ['', '/d']);
});

test('names of one file in one folder are counted together, those in other folders are not', async () => {
  const linkKey = 'one';
  const draft = await draftOf(
    entry('/d'),
    entry('/d/a', { content: 'x', linkKey }),
    entry('/d/b', { mode: 0o100644, linkKey }),
    entry('/c', { mode: 0o100644, linkKey }),
    entry('/alone', { content: 'x', linkKey: 'two' }),
  );
  const counts = ['/d/a', '/d/b', '/c', '/alone'].map((path) => nodeAt(draft, path)!.linkCount);
  assert.deepEqual(counts, [2, 2, 1, 1]);
});

test('all names of a file have the attributes of the first', async () => {
  const draft = await draftOf(
    entry('/a', { content: 'x', linkKey: 'k', uid: 1, xattrs: { 'user.a': 'b' } }),
    entry('/b', { mode: 0o100600, linkKey: 'k', uid: 2 }),
  );
  assert.deepEqual(nodeAt(draft, '/b')!.metadata, nodeAt(draft, '/a')!.metadata);
});

test('a file that comes again with other content is no longer linked with the names it had', async () => {
  const draft = await draftOf(
    entry('/a', { content: 'old', linkKey: '/a', uid: 1 }),
    entry('/b', { mode: 0o100644, linkKey: '/a', uid: 1 }),
    entry('/a', { content: 'new', linkKey: '/a', uid: 2 }),
    entry('/c', { mode: 0o100644, linkKey: '/a' }),
  );
  const counts = ['/a', '/b', '/c'].map((path) => nodeAt(draft, path)!.linkCount);
  assert.deepEqual(counts, [2, 1, 2]);
  assert.equal(nodeAt(draft, '/b')!.metadata.uid, 1);
  assert.equal(nodeAt(draft, '/c')!.metadata.uid, 2);
});

for (const [path, code] of [
  ['relative', 'FORMAT'],
  ['/a/../b', 'FORMAT'],
  ['/./b', 'FORMAT'],
  ['/a//b', 'FORMAT'],
  ['/a/', 'FORMAT'],
  ['/a\0b', 'FORMAT'],
  [`/${'n'.repeat(256)}`, 'LIMIT'],
  ['/ab'.repeat(1366), 'LIMIT'],
] as const) {
  test(`add() refuses ${JSON.stringify(path.slice(0, 20))} of ${path.length} bytes with ${code}`, async () => {
    await assert.rejects(draftOf(entry(path, { content: 'x' })), { code, message: /^Cannot publish / });
  });
}

test('names of 255 bytes and paths of 4095 bytes are taken', async () => {
  const name = 'n'.repeat(255);
  const deep = [...Array.from({ length: 15 }, () => name), 'm'.repeat(254)].map((one) => `/${one}`).join('');
  const draft = await draftOf(entry(deep, { content: 'x' }));
  assert.equal(deep.length, 4095);
  assert.ok(nodeAt(draft, deep));
});

for (const below of [entry('/link', { symlink: 'usr' }), entry('/link', { content: 'x' })]) {
  test(`add() refuses an entry below a ${below.symlink === '' ? 'file' : 'symlink'}: what to do with it would be a guess`, async () => {
    await assert.rejects(draftOf(below, entry('/link/f', { content: 'x' })), {
      code: 'FORMAT',
      message: 'Cannot publish what is below /link: the tree has it as something else than a folder',
    });
  });
}
