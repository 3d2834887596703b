import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import { fixturePath } from '../../test/support/fixtures.ts';
import { nodeHashing } from '../node/hashing.ts';
import { ascii, byteStringOf } from './bytes/byte-string.ts';
import { decodeHex } from './bytes/hex.ts';
import { utf8 } from './bytes/utf8.ts';
import { baseName, NO_PARENT, parentPath, pathKeyColumns, pathKeyOf, pathKeyOfDigest } from './path-key.ts';

const { md5path } = JSON.parse(readFileSync(fixturePath('format-vectors/vectors.json'), 'utf8')) as {
  md5path: { path: string; md5: string; md5path_1: string; md5path_2: string }[];
};

for (const { path, md5, md5path_1, md5path_2 } of md5path) {
  test(`pathKeyOf() of ${JSON.stringify(path)} is the key of the format vectors`, () => {
    const key = pathKeyOf(nodeHashing, utf8(path));
    assert.deepEqual(pathKeyColumns(key), [BigInt(md5path_1), BigInt(md5path_2)]);
    assert.deepEqual(key, pathKeyOfDigest(decodeHex(md5)));
  });
}

test('pathKeyColumns() are the two little-endian halves of the MD5 of any path', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (path) => {
      const digest = createHash('md5').update(path).digest();
      assert.deepEqual(pathKeyColumns(pathKeyOf(nodeHashing, byteStringOf(path))), [
        digest.readBigInt64LE(0),
        digest.readBigInt64LE(8),
      ]);
    }),
  );
});

test('pathKeyOfDigest() reads a digest that is a view on a larger buffer', () => {
  const buffer = Uint8Array.from({ length: 24 }, (_, i) => i);
  assert.deepEqual(pathKeyOfDigest(buffer.subarray(5, 21)), pathKeyOfDigest(buffer.slice(5, 21)));
});

test('NO_PARENT is the key (0, 0), which is not that of the root', () => {
  assert.deepEqual(pathKeyColumns(NO_PARENT), [0n, 0n]);
  assert.notDeepEqual(pathKeyOf(nodeHashing, ascii('')), NO_PARENT);
});

for (const [path, parent, name] of [
  ['/usr/bin', '/usr', 'bin'],
  ['/usr', '', 'usr'],
  ['/a\xff/\xe9', '/a\xff', '\xe9'],
] as const) {
  test(`parentPath() and baseName() divide ${JSON.stringify(path)}`, () => {
    assert.equal(parentPath(ascii(path)), parent);
    assert.equal(baseName(ascii(path)), name);
  });
}
