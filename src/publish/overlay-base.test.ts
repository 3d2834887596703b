import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { openSnapshot, type PublishedRepository } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { SnapshotReader } from '../client/snapshot-reader.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { OverlayBase } from './overlay-base.ts';

const scope = fileScope();
let published: PublishedRepository;

before(async () => {
  published = await publishSmallTree(scope);
});

/** As the kernel names the index entry of a FUSE file on a little-endian machine. */
function handleOf(node: number, { magic = 'fb', flags = '00', type = '81' } = {}): ByteString {
  const words = Buffer.alloc(12);
  words.writeUInt32LE(Math.floor(node / 0x1_0000_0000), 0);
  words.writeUInt32LE(node % 0x1_0000_0000, 4);
  return `00${magic}21${flags}${type}${'00'.repeat(16)}${words.toString('hex')}` as ByteString;
}

test('namesOf() gives all names of a file, also in a nested catalog', async () => {
  const mounted = await openSnapshot(published);
  const base = await OverlayBase.open(mounted, ['/usr' as ByteString]);
  const reader = new SnapshotReader(mounted);
  for (const [path, names] of [
    ['/second-name', ['/first-name', '/second-name']],
    ['/a.txt', ['/a.txt']],
    ['/usr/bin/sh', ['/usr/bin/sh']],
  ] as const) {
    const { node } = (await reader.find(path))!;
    assert.deepEqual((await base.namesOf(handleOf(node))).sort(), names);
  }
});

for (const [what, handle] of [
  ['a file that is not there', handleOf(0xffff)],
  ['a file of a catalog that is not attached', handleOf(5 * 0x1_0000_0000 + 2)],
  ['another magic number', handleOf(2, { magic: 'fc' })],
  ['a file of an upper layer', handleOf(2, { flags: '04' })],
  ['a file of another kind of file system', handleOf(2, { type: '01' })],
  ['bytes that are missing', handleOf(2).slice(0, -2) as ByteString],
  ['what is not hexadecimal', '#17' as ByteString],
] as const) {
  test(`namesOf() refuses ${what}`, async () => {
    const base = await OverlayBase.open(await openSnapshot(published), []);
    await assert.rejects(base.namesOf(handle), { code: 'FORMAT' });
  });
}
