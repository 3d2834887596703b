import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { openSnapshot, type PublishedRepository } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { attachCatalogs } from './attach-catalogs.ts';
import { SnapshotReader } from './snapshot-reader.ts';

const scope = fileScope();
let published: PublishedRepository;

before(async () => {
  published = await publishSmallTree(scope);
});

const USR = '/usr' as ByteString;
const SHARE = '/usr/share' as ByteString;

test('attachCatalogs() makes node ids what they were', async () => {
  const mounted = await openSnapshot(published);
  await attachCatalogs(mounted, [USR, SHARE]);
  assert.equal(mounted.vfs.catalogs.count, 3);
  const { node } = (await new SnapshotReader(mounted).find('/usr/share/doc/readme'))!;

  const again = await openSnapshot(published);
  await attachCatalogs(again, [USR]);
  await attachCatalogs(again, [USR, SHARE]);
  assert.equal((await new SnapshotReader(again).find('/usr/share/doc/readme'))!.node, node);
});

for (const path of ['/etc', '/nothing', '/a.txt/below', '/empty']) {
  test(`attachCatalogs() refuses ${path}, which has no catalog`, async () => {
    const mounted = await openSnapshot(published);
    const message = new RegExp(`Cannot attach a catalog at ${path}`);
    await assert.rejects(attachCatalogs(mounted, [path as ByteString]), { code: 'FORMAT', message });
  });
}
