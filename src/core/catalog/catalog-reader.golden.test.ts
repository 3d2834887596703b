import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { unpackFixture } from '../../../test/support/fixtures.ts';
import { scratchFolder } from '../../../test/support/scratch.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { nodeInflating } from '../../node/inflating.ts';
import { ascii } from '../bytes/byte-string.ts';
import { encodeHex } from '../bytes/hex.ts';
import { type ContentHash, objectPath } from '../content-hash.ts';
import { pathKeyOf } from '../path-key.ts';
import { CatalogReader, type CatalogRow, MAX_CATALOG_BYTES } from './catalog-reader.ts';
import { entriesOf } from './counters.ts';

const keyOf = (path: string) => pathKeyOf(nodeHashing, ascii(path));

function vectorCatalog(t: TestContext, hash: string): CatalogReader {
  const storage = unpackFixture('format-vectors', scratchFolder(t), 'repo-sha1.tar.zst', 'repo-sha1');
  const object = readFileSync(join(storage, objectPath(hash as ContentHash, 'C')));
  return CatalogReader.open(nodeInflating.inflate(object, MAX_CATALOG_BYTES));
}

test('the root catalog of repo-sha1 has the rows that the format document lists', (t) => {
  const reader = vectorCatalog(t, '5f3263b9fe09866c4fe3d0fb5d160ee18d4b6392');
  const plain = '1071c08d2e1058fbef749e11439a4309f8f2747c';
  const rows: readonly [
    path: string,
    hardlinks: [number, number],
    size: number,
    mode: number,
    flags: number,
    more?: object,
  ][] = [
    ['', [0, 4], 4096, 16877, 1, { hash: undefined }],
    ['/hello.txt', [0, 1], 6, 33188, 4, { mtimeNs: 123456789, uid: 1000, gid: 100 }],
    ['/empty', [0, 1], 0, 33188, 4, { hash: 'e8ec3d88b62ebf526e4e5a4ff6162a3aa48a6b78' }],
    ['/link', [0, 1], 9, 41471, 12, { symlink: 'hello.txt' }],
    ['/varlink', [0, 1], 29, 41471, 12, { symlink: '$(CVMFS_VARIANT:-default)/lib' }],
    ['/hl1', [1, 2], 7, 33188, 4],
    ['/hl2', [1, 2], 7, 33188, 4],
    ['/dev', [0, 2], 4096, 16877, 1],
    ['/dev/null', [0, 1], 259, 8630, 20],
    ['/dev/fifo', [0, 1], 0, 4516, 20],
    ['/plain.txt', [0, 1], 13, 33188, 2052, { hash: plain, compression: 'none' }],
    ['/xattr.txt', [0, 1], 2, 33188, 4],
    ['/big.bin', [0, 1], 100000, 33188, 68, { hash: undefined }],
    ['/usr', [0, 3], 4096, 16877, 3],
  ];
  let count = 0;
  reader.entries(() => void count++);
  assert.equal(count, rows.length);
  for (const [path, links, sizeBytes, mode, flags, more = {}] of rows) {
    assert.ok(reader.find(keyOf(path)), path);
    const { row } = reader;
    assert.deepEqual(
      [[row.hardlinkGroup, row.linkCount], row.sizeBytes, row.mode, row.flags],
      [links, sizeBytes, mode, flags],
    );
    for (const [field, value] of Object.entries(more))
      assert.equal(row[field as keyof CatalogRow], value, path);
  }
  assert.ok(reader.find(keyOf('/xattr.txt')));
  const blob = '0102131473656375726974792e6361706162696c697479' + '0100000200200000000000000000000000000000';
  assert.equal(encodeHex(reader.row.xattrBlob!), `${blob}0803757365722e666f6f626172`);
  const chunks = reader.chunks(keyOf('/big.bin'), 100_000, 68);
  const shown = chunks.map(({ offset, sizeBytes, hash }) => [offset, sizeBytes, hash.slice(0, 8)]);
  assert.deepEqual(shown, [
    [0, 40000, 'fbc62ae7'],
    [40000, 40000, '641fc8d5'],
    [80000, 20000, 'bfdf96e6'],
  ]);
  const counters = reader.counters();
  assert.deepEqual(
    [counters.self.file_size, counters.subtree.file_size, counters.self.nested],
    [100035, 20, 1],
  );
  // The reference counts the transition point twice and shows 18.
  assert.equal(entriesOf(counters), 17);
});

test('the nested catalog of repo-sha1 starts at its transition point', (t) => {
  const reader = vectorCatalog(t, '91a1b89ed82578308d366af6ba1bbca0568bb76b');
  assert.equal(reader.rootPrefix, '/usr');
  assert.ok(reader.find(keyOf('/usr')));
  assert.equal(reader.row.flags, 33);
  assert.ok(reader.row.hasParent(keyOf('')));
  const names: string[] = [];
  reader.children(keyOf('/usr/bin'), 0, (row) => names.push(row.name) > 0);
  assert.deepEqual(names, ['tool']);
});
