import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { openSnapshot } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { CHUNKED, publishSmallTree } from '../../test/support/small-tree.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { MountedSnapshot } from './mounted-snapshot.ts';
import { listDirectory, lookupChild, readFileContent, rootOf, walkSnapshot } from './walk.ts';

const scope = fileScope();
let mounted: MountedSnapshot;

before(async () => {
  mounted = await openSnapshot(await publishSmallTree(scope));
});

const PATHS = [
  '',
  '/a.txt',
  '/chunked',
  '/empty',
  '/etc',
  '/etc/default-link',
  '/etc/passwd',
  '/first-name',
  '/link',
  '/loop',
  '/second-name',
  '/usr',
  '/usr/.cvmfscatalog',
  '/usr/bin',
  '/usr/bin/sh',
  '/usr/bin/up',
  '/usr/share',
  '/usr/share/.cvmfscatalog',
  '/usr/share/doc',
  '/usr/share/doc/readme',
  '/variable-link',
];

test('walkSnapshot() visits everything once, parents first, in byte order', async () => {
  const paths: string[] = [];
  for await (const { path } of walkSnapshot(mounted)) paths.push(path);
  assert.deepEqual(paths, PATHS);
});

test('walkSnapshot() walks a part of the tree, across catalogs', async () => {
  const usr = (await lookupChild(mounted, rootOf(mounted), 'usr' as ByteString))!;
  const paths: string[] = [];
  for await (const { path } of walkSnapshot(mounted, usr)) paths.push(path);
  assert.deepEqual(
    paths,
    PATHS.filter((path) => path.startsWith('/usr')),
  );
});

test('walkSnapshot() gives each entry attributes of its own', async () => {
  const entries = [];
  for await (const entry of walkSnapshot(mounted)) entries.push(entry);
  assert.equal(entries.find(({ path }) => path === '/a.txt')?.attributes.sizeBytes, 5);
  assert.equal(entries.find(({ path }) => path === '/chunked')?.attributes.sizeBytes, CHUNKED.length);
  for (const entry of entries) assert.equal(entry.node, entry.attributes.node);
});

test('lookupChild() answers undefined for a name that is not there', async () => {
  assert.equal(await lookupChild(mounted, rootOf(mounted), 'nothing' as ByteString), undefined);
});

test('listDirectory() lists nothing where there is no directory', async () => {
  const file = (await lookupChild(mounted, rootOf(mounted), 'a.txt' as ByteString))!;
  assert.deepEqual(await listDirectory(mounted, file), []);
});

test('readFileContent() fetches all chunks it needs', async () => {
  const { node } = (await lookupChild(mounted, rootOf(mounted), 'chunked' as ByteString))!;
  assert.ok(CHUNKED.equals(await readFileContent(mounted, node, 0, CHUNKED.length + 10)));
  assert.ok(CHUNKED.subarray(70_000, 170_000).equals(await readFileContent(mounted, node, 70_000, 100_000)));
});
