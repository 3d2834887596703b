import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { openSnapshot } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { SnapshotReader } from './snapshot-reader.ts';

const scope = fileScope();
let reader: SnapshotReader;

before(async () => {
  reader = new SnapshotReader(await openSnapshot(await publishSmallTree(scope)));
});

for (const [path, expected] of [
  ['/', ''],
  ['', ''],
  ['/a.txt', '/a.txt'],
  ['a.txt', '/a.txt'],
  ['//etc/./passwd', '/etc/passwd'],
  ['/etc/../a.txt', '/a.txt'],
  ['/../../a.txt', '/a.txt'],
  ['/link', '/a.txt'],
  ['/usr/bin/up', '/etc/passwd'],
  ['/etc/default-link/doc/readme', '/usr/share/doc/readme'],
  ['/etc/default-link/../bin/sh', '/usr/bin/sh'],
] as const) {
  test(`find() follows ${JSON.stringify(path)} to ${JSON.stringify(expected)}`, async () => {
    assert.equal((await reader.find(path))?.path, expected);
  });
}

for (const path of ['/nothing', '/a.txt/below', '/variable-link', '/usr/bin/nothing']) {
  test(`find() answers undefined for ${path}`, async () => {
    assert.equal(await reader.find(path), undefined);
  });
}

test('find() refuses a loop of symlinks', async () => {
  await assert.rejects(reader.find('/loop'), { code: 'FORMAT' });
  await assert.rejects(reader.readFile('/loop'), { code: 'FORMAT' });
});

test('readText() and readFile() give the content of files, and NOT_FOUND for anything else', async () => {
  assert.equal(await reader.readText('/link'), 'hello');
  assert.equal(await reader.readText('/etc/default-link/doc/readme'), 'read me');
  assert.equal((await reader.readFile('/empty')).length, 0);
  for (const path of ['/nothing', '/etc', '/']) {
    await assert.rejects(reader.readText(path), { code: 'NOT_FOUND' });
  }
});

test('list() gives sorted names, and none for what is no directory', async () => {
  assert.deepEqual(await reader.list('/etc'), ['default-link', 'passwd']);
  assert.deepEqual(await reader.list('/etc/default-link'), ['.cvmfscatalog', 'doc']);
  for (const path of ['/nothing', '/a.txt']) assert.deepEqual(await reader.list(path), []);
});
