import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entry, HASH, keyOf, openCatalog, withEntries } from '../../test/support/catalog-file.ts';
import { ascii } from '../core/bytes/byte-string.ts';
import { FLAG_CHUNKED, FLAG_EXTERNAL, FLAG_FILE } from '../core/catalog/flags.ts';
import { pathKeyColumns } from '../core/path-key.ts';
import { chunkAt, storedFileOf } from './stored-file.ts';

const hash = Buffer.from(HASH, 'hex');
const [first, second] = pathKeyColumns(keyOf('/a'));
const CHUNKS = `INSERT INTO chunks VALUES (${first}, ${second}, 4, 6, x'${HASH}'), (${first}, ${second}, 0, 4, x'${HASH}')`;

function fileWith(flags: number, columns = {}, path = '/a', sql = '') {
  const reader = openCatalog({ ...withEntries(entry('/a', { flags, size: 10, ...columns })), sql });
  assert.ok(reader.find(keyOf('/a')));
  return storedFileOf(reader, () => ascii(path));
}

test('storedFileOf() names the one object of a file', () => {
  const { sizeBytes, chunks } = fileWith(FLAG_FILE, { hash });
  assert.equal(sizeBytes, 10);
  const need = { kind: 'object', hash: HASH, type: '', compression: 'zlib', sizeBytes: 10, label: '/a' };
  assert.deepEqual(chunks, [{ offset: 0, sizeBytes: 10, hash: HASH, need }]);
});

test('storedFileOf() names the chunks of a file in order, even where it has a hash of the whole', () => {
  const { chunks } = fileWith(FLAG_FILE | FLAG_CHUNKED, { hash }, '/a', CHUNKS);
  assert.deepEqual(
    chunks.map(({ offset, sizeBytes, need }) => [
      offset,
      sizeBytes,
      need.type,
      need.sizeBytes,
      need.external,
    ]),
    [
      [0, 4, 'P', 4, undefined],
      [4, 6, 'P', 6, undefined],
    ],
  );
});

for (const [path, encoded] of [
  ['/sub/with space+%41', 'sub/with%20space%2B%2541'],
  ['/A-z_0.9~', 'A-z_0.9~'],
  ['/..a/?#:@&=;,', '..a/%3F%23%3A%40%26%3D%3B%2C'],
  ['/\xc3\xa9\xff\x01', '%C3%A9%FF%01'],
] as const) {
  test(`storedFileOf() finds the external file ${JSON.stringify(path)} below ${encoded}`, () => {
    const { chunks } = fileWith(FLAG_FILE | FLAG_EXTERNAL, { hash }, path);
    assert.deepEqual(chunks[0]!.need.external, { path: encoded, range: undefined });
  });
}

test('storedFileOf() asks for chunks of an external file as ranges', () => {
  const { chunks } = fileWith(FLAG_FILE | FLAG_CHUNKED | FLAG_EXTERNAL, {}, '/a', CHUNKS);
  assert.deepEqual(
    chunks.map(({ need }) => need.external),
    [
      { path: 'a', range: { offset: 0, length: 4 } },
      { path: 'a', range: { offset: 4, length: 6 } },
    ],
  );
});

for (const path of ['/a/../b', '/..', '/./a', '/a//b']) {
  test(`storedFileOf() refuses the path ${path} for an external file with FORMAT`, () => {
    assert.throws(() => fileWith(FLAG_FILE | FLAG_EXTERNAL, { hash }, path), { code: 'FORMAT' });
  });
}

test('storedFileOf() refuses a file with neither a hash nor chunks with FORMAT', () => {
  assert.throws(() => fileWith(FLAG_FILE), { code: 'FORMAT', message: /\/a.*neither/ });
  assert.throws(() => fileWith(FLAG_FILE | FLAG_CHUNKED, { hash }), { code: 'FORMAT' });
});

test('chunkAt() finds the chunk that holds an offset', () => {
  const { chunks } = fileWith(FLAG_FILE | FLAG_CHUNKED, {}, '/a', CHUNKS);
  assert.deepEqual(
    [0, 3, 4, 9, 10].map((offset) => chunkAt(chunks, offset)),
    [0, 0, 1, 1, 1],
  );
});
