import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import { fixturePath } from '../../test/support/fixtures.ts';
import { nodeHashing } from '../node/hashing.ts';
import { decodeHex } from './bytes/hex.ts';
import {
  algorithmOf,
  type ContentHash,
  contentHashOf,
  DIGEST_BYTES,
  digestOf,
  formatFingerprint,
  HASH_ALGORITHMS,
  type HashAlgorithm,
  hashBytes,
  NULL_HASH,
  objectPath,
  parseContentHash,
  parseFingerprint,
} from './content-hash.ts';

const FORMAT = { name: 'ThimbleError', code: 'FORMAT' };

type Digests = Readonly<Record<HashAlgorithm, string>>;

const { objects } = JSON.parse(readFileSync(fixturePath('format-vectors/vectors.json'), 'utf8')) as {
  objects: { plain: string; zlib6: string; hash_of_zlib6: Digests; hash_of_plain: Digests }[];
};

const anyHash = fc
  .tuple(fc.constantFrom(...HASH_ALGORITHMS), fc.uint8Array({ minLength: 20, maxLength: 20 }))
  .map(([algorithm, digest]) => contentHashOf(algorithm, digest));

for (const algorithm of HASH_ALGORITHMS) {
  test(`hashBytes() names the objects of the format vectors by ${algorithm}`, () => {
    assert.ok(objects.length > 0);
    for (const { plain, zlib6, hash_of_plain, hash_of_zlib6 } of objects) {
      assert.equal(hashBytes(nodeHashing, algorithm, decodeHex(plain)), hash_of_plain[algorithm]);
      assert.equal(hashBytes(nodeHashing, algorithm, decodeHex(zlib6)), hash_of_zlib6[algorithm]);
    }
  });
}

test('algorithmOf(), digestOf() and parseContentHash() undo contentHashOf()', () => {
  const parts = fc.tuple(
    fc.constantFrom(...HASH_ALGORITHMS),
    fc.uint8Array({ minLength: 20, maxLength: 20 }),
  );
  fc.assert(
    fc.property(parts, ([algorithm, digest]) => {
      const hash = contentHashOf(algorithm, digest);
      assert.equal(parseContentHash(hash), hash);
      assert.equal(algorithmOf(hash), algorithm);
      assert.deepEqual(digestOf(hash), digest);
    }),
  );
  assert.deepEqual(digestOf(NULL_HASH), new Uint8Array(DIGEST_BYTES));
});

for (const length of [0, 16, 19, 21, 32]) {
  test(`contentHashOf() refuses a digest of ${length} bytes`, () => {
    assert.throws(() => contentHashOf('sha1', new Uint8Array(length)), FORMAT);
  });
}

const HEX = '5798f7f4ca7585d850eea64610a1f73d8f8de7a3';

for (const [why, text] of [
  ['nothing', ''],
  ['an MD5', HEX.slice(8)],
  ['capitals', HEX.toUpperCase()],
  ['an unknown algorithm', `${HEX}-sha256`],
  ['a type suffix', `${HEX}C`],
  ['a line feed behind it', `${HEX}\n`],
  ['a path', `../${HEX}`],
] as const) {
  test(`parseContentHash() refuses ${why}`, () => {
    assert.throws(() => parseContentHash(text, 'root hash'), { ...FORMAT, message: /root hash/ });
  });
}

for (const [hash, type, path] of [
  [
    '28d94b83b7229b331fc601362b8e272e02665122-shake128',
    '',
    'data/28/d94b83b7229b331fc601362b8e272e02665122-shake128',
  ],
  ['5f3263b9fe09866c4fe3d0fb5d160ee18d4b6392', 'C', 'data/5f/3263b9fe09866c4fe3d0fb5d160ee18d4b6392C'],
  ['fbc62ae78f16d707a0ab27eb90fbd41a94858774', 'P', 'data/fb/c62ae78f16d707a0ab27eb90fbd41a94858774P'],
  [
    'd027d585a6400e92a0a2a63234b94cc13ec4c12b-shake128',
    'C',
    'data/d0/27d585a6400e92a0a2a63234b94cc13ec4c12b-shake128C',
  ],
] as const) {
  test(`objectPath() of ${hash.slice(0, 8)} with type ${JSON.stringify(type)} is where the reference has it`, () => {
    assert.equal(objectPath(hash as ContentHash, type), path);
  });
}

test('formatFingerprint() writes pairs of capitals, and the algorithm behind them', () => {
  assert.equal(
    formatFingerprint('460cb1f6f1be1dddf0b155607a1a667ba802a850' as ContentHash),
    '46:0C:B1:F6:F1:BE:1D:DD:F0:B1:55:60:7A:1A:66:7B:A8:02:A8:50',
  );
  assert.match(formatFingerprint(`${HEX}-rmd160` as ContentHash), /:E7:A3-RMD160$/);
});

test('parseFingerprint() undoes formatFingerprint(), with or without colons, case and comment', () => {
  fc.assert(
    fc.property(anyHash, fc.constantFrom('', ' # a comment', '\t# x', '#x', ' :A3'), (hash, comment) => {
      const line = formatFingerprint(hash);
      assert.equal(parseFingerprint(line + comment), hash);
      assert.equal(parseFingerprint(line.replaceAll(':', '').toLowerCase() + comment), hash);
    }),
  );
});

for (const line of ['', '# a comment', '46:0C', ` ${HEX}`, `${HEX}-md5`]) {
  test(`parseFingerprint() refuses ${JSON.stringify(line)}`, () => {
    assert.throws(() => parseFingerprint(line), FORMAT);
  });
}
