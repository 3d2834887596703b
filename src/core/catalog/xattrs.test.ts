import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import { fixturePath } from '../../../test/support/fixtures.ts';
import { ascii, type ByteString, byteStringOf } from '../bytes/byte-string.ts';
import { decodeHex, encodeHex } from '../bytes/hex.ts';
import { decodeXattrs, encodeXattrs, MAX_XATTR_BYTES, MAX_XATTRS } from './xattrs.ts';

const { xattr: vectors } = JSON.parse(readFileSync(fixturePath('format-vectors/vectors.json'), 'utf8')) as {
  xattr: { attributes: Readonly<Record<string, string>>; blob: string }[];
};

const xattrsOf = (pairs: readonly (readonly [string, string])[]) =>
  new Map(pairs.map(([name, hex]) => [ascii(name), decodeHex(hex)]));

for (const { attributes, blob } of vectors) {
  test(`extended attributes ${Object.keys(attributes).join(', ')} are those of the format vectors, both ways`, () => {
    const xattrs = xattrsOf(Object.entries(attributes));
    assert.equal(encodeHex(encodeXattrs(xattrs)!), blob);
    assert.deepEqual(decodeXattrs(decodeHex(blob)), xattrs);
  });
}

const names = fc
  .uint8Array({ minLength: 1, maxLength: 255 })
  .map((bytes) => byteStringOf(bytes.map((byte) => byte || 1)));
const anyXattrs = fc.uniqueArray(fc.tuple(names, fc.uint8Array({ maxLength: 255 })), {
  selector: ([name]) => name,
  minLength: 1,
});

test('decodeXattrs() undoes encodeXattrs(), which sorts by name', () => {
  fc.assert(
    fc.property(anyXattrs, (pairs) => {
      const decoded = decodeXattrs(encodeXattrs(new Map(pairs))!);
      assert.deepEqual(decoded, new Map(pairs));
      assert.deepEqual([...decoded.keys()], pairs.map(([name]) => name).sort());
    }),
  );
});

test('encodeXattrs() makes nothing of no attributes', () => assert.equal(encodeXattrs(new Map()), undefined));

test('decodeXattrs() reads names in any order, and a list without entries', () => {
  assert.deepEqual(
    [...decodeXattrs(decodeHex('0102' + '010162' + '32' + '010161' + '31')).keys()],
    ['b', 'a'],
  );
  assert.deepEqual(decodeXattrs(decodeHex('0100')), new Map());
});

test('decodeXattrs() copies values out of the blob', () => {
  const blob = decodeHex('0101010161' + '31');
  const value = decodeXattrs(blob).get(ascii('a'))!;
  blob.fill(0);
  assert.deepEqual(value, Uint8Array.of(0x31));
});

for (const [why, hex] of [
  ['nothing', ''],
  ['no count', '01'],
  ['another version', '0201' + '0101' + '6131'],
  ['fewer entries than counted', '0102' + '0101' + '6131'],
  ['an entry without its value length', '010101'],
  ['an entry that is cut off', '0101' + '0102' + '6131'],
  ['bytes after its end', '0101' + '0101' + '6131' + '00'],
  ['an empty name', '0101' + '0001' + '31'],
  ['a name and value that are both empty', '0101' + '0000'],
  ['a NUL in a name', '0101' + '0201' + '610031'],
] as const) {
  test(`decodeXattrs() refuses a blob with ${why}`, () => {
    assert.throws(() => decodeXattrs(decodeHex(hex)), { name: 'ThimbleError', code: 'FORMAT' });
  });
}

const many = (count: number) =>
  new Map(
    Array.from({ length: count }, (_, i): [ByteString, Uint8Array] => [
      ascii(`user.${i}`),
      new Uint8Array(1),
    ]),
  );
const one = (name: string, size: number) => new Map([[ascii(name), new Uint8Array(size)]]);

for (const [why, code, xattrs] of [
  ['too many attributes', 'LIMIT', many(MAX_XATTRS + 1)],
  ['a name that is too long', 'LIMIT', one('n'.repeat(MAX_XATTR_BYTES + 1), 1)],
  ['a value that is too long', 'LIMIT', one('user.a', MAX_XATTR_BYTES + 1)],
  ['an empty name', 'FORMAT', one('', 1)],
  ['a NUL in a name', 'FORMAT', one('user.\0', 1)],
] as const) {
  test(`encodeXattrs() refuses ${why} with ${code}`, () => {
    assert.throws(() => encodeXattrs(xattrs), { name: 'ThimbleError', code });
  });
}

test('encodeXattrs() takes as many, as long names and values as fit', () => {
  assert.equal(decodeXattrs(encodeXattrs(many(MAX_XATTRS))!).size, MAX_XATTRS);
  const longest = one('n'.repeat(MAX_XATTR_BYTES), MAX_XATTR_BYTES);
  assert.deepEqual(decodeXattrs(encodeXattrs(longest)!), longest);
});
