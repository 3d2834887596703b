import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openSnapshot, publishRepository } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { dir, file, symlink } from '../../test/support/trees.ts';
import { SnapshotReader } from '../client/snapshot-reader.ts';
import { lookupChild, rootOf } from '../client/walk.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { byteStringOf, bytesOf } from '../core/bytes/byte-string.ts';
import { type ContentState, type MountValue, MountXattrs } from './magic-xattrs.ts';

const repository = await publishRepository(fileScope());
await repository.publish(
  dir({
    nested: dir({ '.cvmfscatalog': file(''), inner: file('inner') }),
    plain: file('hello'),
    link: symlink('$(WHERE)/x'),
  }),
);
const mounted = await openSnapshot(repository);
const reader = new SnapshotReader(mounted);

function xattrs(mountValues: Record<string, MountValue> = {}, externalServer?: string) {
  return new MountXattrs({ vfs: () => mounted.vfs, listed: 'root', mountValues, externalServer });
}

async function textOf(path: string, name: string, magic = xattrs()): Promise<string | undefined> {
  const entry =
    path === 'link'
      ? await lookupChild(mounted, rootOf(mounted), 'link' as ByteString)
      : await reader.find(path);
  const value = magic.get(entry!.node, name as ByteString);
  return value === undefined || value === 'elsewhere' ? value : byteStringOf(value);
}

const HASH = /^[0-9a-f]{40}(-shake128)?$/;

test('a file tells its hash, chunks and compression', async () => {
  const hash = await textOf('plain', 'user.hash');
  assert.match(hash!, HASH);
  assert.equal(await textOf('plain', 'user.chunks'), '1');
  assert.equal(await textOf('plain', 'user.chunk_list'), `hash,offset,size\n${hash},0,5\n`);
  assert.equal(await textOf('plain', 'user.compression'), 'zlib');
  assert.equal(await textOf('plain', 'user.external_file'), '0');
  assert.equal(await textOf('plain', 'user.direct_io'), '0');
  assert.equal(await textOf('plain', 'user.external_url'), undefined);
  assert.equal(await textOf('plain', 'user.rawlink'), undefined);
});

test('a directory has none of what files have', async () => {
  for (const name of ['hash', 'chunks', 'chunk_list', 'compression', 'external_file', 'direct_io']) {
    assert.equal(await textOf('', `user.${name}`), undefined, name);
  }
});

test('a symlink tells its text as published, under a name that the kernel lets through', async () => {
  assert.equal(await textOf('link', 'xfsroot.rawlink'), '$(WHERE)/x');
  assert.equal(await textOf('link', 'user.rawlink'), '$(WHERE)/x');
});

test('each entry tells the catalog that it is in, a nested root that of what is below', async () => {
  const root = await textOf('plain', 'user.catalog_counters');
  assert.match(root!, /^catalog_hash: [0-9a-f]{40}\S*\ncatalog_mountpoint: \/\nchunked,0\n/);
  assert.match(root!, /\nregular,3\n/);
  for (const path of ['nested/inner', 'nested']) {
    const nested = await textOf(path, 'user.catalog_counters');
    assert.match(nested!, /\ncatalog_mountpoint: \/nested\n[\s\S]*\nregular,2\n/);
  }
});

test('values of the mount are the same everywhere, and asked for anew each time', async () => {
  let revision = 1;
  const magic = xattrs({ revision: () => revision++, tag: () => '', none: () => undefined, name: () => 'ü' });
  assert.equal(await textOf('', 'user.revision', magic), '1');
  assert.equal(await textOf('plain', 'user.revision', magic), '2');
  assert.equal(await textOf('plain', 'user.tag', magic), '');
  assert.equal(await textOf('plain', 'user.none', magic), undefined);
  assert.equal(await textOf('plain', 'user.name', magic), '\xc3\xbc');
});

test('other names are nobody’s', async () => {
  for (const name of [
    'user.other',
    'user.',
    'trusted.hash',
    '',
    'user.toString',
    'toString',
    'user.hash~x',
  ]) {
    assert.equal(await textOf('plain', name), undefined, name);
  }
});

test('long values come in pages that end with whole lines', async () => {
  const text = Array.from({ length: 3000 }, (_, i) => `line ${String(i).padStart(20)}\n`).join('');
  const magic = xattrs({ long: () => text });
  const page = (suffix: string) => textOf('', `user.long${suffix}`, magic);
  assert.equal(await page('~?'), 'num_pages, 2');
  const [first, second] = [await page('~0'), await page('~1')];
  assert.equal(`${first}${second}`, text);
  assert.ok(first!.length <= 40_000 && first!.endsWith('\n'));
  assert.equal(await page(''), first);
  assert.equal(await page('@1'), `# page 1 of 2, counted from 0\n${second}`);
  assert.equal(await page('~2'), undefined);
});

test('a long value without lines is cut where a page is full', async () => {
  const magic = xattrs({ long: () => 'x'.repeat(90_000) });
  assert.equal(await textOf('', 'user.long~?', magic), 'num_pages, 3');
  assert.equal((await textOf('', 'user.long~2', magic))!.length, 10_000);
});

test('a file tells whether the cache has it, and still as it was put there', async () => {
  let state: ContentState = 'absent';
  const magic = new MountXattrs({
    vfs: () => mounted.vfs,
    listed: 'root',
    mountValues: {},
    contentState: () => state,
  });
  assert.equal(await textOf('plain', 'user.lhash', magic), 'Not in cache');
  state = 'damaged';
  assert.match((await textOf('plain', 'user.lhash', magic))!, /^I\/O error \(/);
  state = 'right';
  assert.equal(await textOf('plain', 'user.lhash', magic), await textOf('plain', 'user.hash', magic));
  assert.equal(await textOf('nested', 'user.lhash', magic), undefined);
});

test('a value that has to be fetched is asked for again when it is here', async () => {
  let value: string | undefined;
  let bring = () => {};
  const fetching = new Promise<void>((resolve) => {
    bring = resolve;
  });
  const magic = xattrs({ repo_metainfo: () => value ?? fetching });
  assert.equal(await textOf('plain', 'user.repo_metainfo', magic), 'elsewhere');
  value = 'fetched';
  bring();
  await magic.prepare();
  assert.equal(await textOf('plain', 'user.repo_metainfo', magic), 'fetched');
});

test('list() names what has a value there', async () => {
  const magic = xattrs({ revision: () => 1, none: () => undefined });
  const entry = await reader.find('plain');
  const names = magic.list(entry!.node) as readonly string[];
  assert.ok(names.includes('user.hash') && names.includes('user.revision'));
  assert.ok(!names.includes('user.none') && !names.includes('user.rawlink'));
});

test('as long as nothing is mounted there are only values of the mount', () => {
  const magic = new MountXattrs({ vfs: () => undefined, listed: 'nowhere', mountValues: { pid: () => 7 } });
  const root = rootOf(mounted).node;
  assert.equal(magic.get(root, 'user.hash' as ByteString), undefined);
  assert.deepEqual(magic.get(root, 'user.pid' as ByteString), bytesOf('7' as ByteString));
});
