import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DigestAlgorithm } from '../core/ports.ts';
import { nodeHashing } from './hashing.ts';

/** Published values: RFC 1321, FIPS 180, the RIPEMD-160 page, FIPS 202 (the first 160 bits of the output). */
const VECTORS: readonly (readonly [DigestAlgorithm, string, string])[] = [
  ['md5', '', 'd41d8cd98f00b204e9800998ecf8427e'],
  ['md5', 'abc', '900150983cd24fb0d6963f7d28e17f72'],
  ['sha1', '', 'da39a3ee5e6b4b0d3255bfef95601890afd80709'],
  ['sha1', 'abc', 'a9993e364706816aba3e25717850c26c9cd0d89d'],
  ['rmd160', '', '9c1185a5c5e9fc54612808977ee8f548b2258d31'],
  ['rmd160', 'abc', '8eb208f7e05d987a9b044a8e98c6b087f15a0bfc'],
  ['shake128', '', '7f9c2ba4e88f827d616045507605853ed73b8093'],
  ['shake128', 'abc', '5881092dd818bf5cf8a3ddb793fbcba74097d5c5'],
];

for (const [algorithm, text, hex] of VECTORS) {
  test(`nodeHashing gives the published ${algorithm} of ${JSON.stringify(text)}`, () => {
    assert.equal(Buffer.from(nodeHashing.digest(algorithm, Buffer.from(text))).toString('hex'), hex);
  });
}

for (const algorithm of ['md5', 'sha1', 'rmd160', 'shake128'] as const) {
  test(`nodeHashing gives the same ${algorithm} at once and in pieces`, () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }), (pieces) => {
        const hasher = nodeHashing.createHasher(algorithm);
        for (const piece of pieces) hasher.update(piece);
        const digest = hasher.digest();
        assert.equal(digest.length, algorithm === 'md5' ? 16 : 20);
        assert.deepEqual(digest, nodeHashing.digest(algorithm, Buffer.concat(pieces)));
      }),
    );
  });
}

test('nodeHashing keeps two hashers apart', () => {
  const [a, b] = [nodeHashing.createHasher('sha1'), nodeHashing.createHasher('sha1')];
  a.update(Buffer.from('abc'));
  b.update(Buffer.from(''));
  assert.equal(Buffer.from(a.digest()).toString('hex'), 'a9993e364706816aba3e25717850c26c9cd0d89d');
  assert.equal(Buffer.from(b.digest()).toString('hex'), 'da39a3ee5e6b4b0d3255bfef95601890afd80709');
});
