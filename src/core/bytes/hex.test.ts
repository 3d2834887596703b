import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { decodeBase64, decodeHex, encodeBase64, encodeHex } from './hex.ts';

const FORMAT = { name: 'ThimbleError', code: 'FORMAT' };

test('decodeHex() undoes encodeHex() for any bytes', () => {
  assert.equal(encodeHex(Uint8Array.of(0x00, 0x9f, 0xff)), '009fff');
  fc.assert(fc.property(fc.uint8Array(), (bytes) => assert.deepEqual(decodeHex(encodeHex(bytes)), bytes)));
});

for (const text of ['a', 'abc', 'AB', 'g0', '0x', ' 0', '0\n']) {
  test(`decodeHex() refuses ${JSON.stringify(text)}`, () => assert.throws(() => decodeHex(text), FORMAT));
}

test('decodeBase64() reads what other encoders write, padded or not, on one line or many', () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.boolean(), fc.integer({ min: 1, max: 80 }), (bytes, padded, width) => {
      const text = Buffer.from(bytes).toString(padded ? 'base64' : 'base64url');
      const standard = text.replaceAll('-', '+').replaceAll('_', '/');
      const lines = standard.replace(new RegExp(`.{${width}}`, 'g'), '$&\r\n');
      assert.deepEqual(decodeBase64(lines), bytes);
    }),
  );
});

for (const [why, text] of [
  ['a single character', 'A'],
  ['a character beside the alphabet', 'AA-A'],
  ['padding in the middle', 'AA==AA'],
] as const) {
  test(`decodeBase64() refuses ${why}`, () => assert.throws(() => decodeBase64(text), FORMAT));
}

test('decodeBase64() refuses many equals signs in linear time', () => {
  assert.throws(() => decodeBase64(`${'='.repeat(400_000)}A`), FORMAT);
});

test('encodeBase64() writes what Buffer writes', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      assert.equal(encodeBase64(bytes), Buffer.from(bytes).toString('base64'));
      assert.deepEqual(decodeBase64(encodeBase64(bytes)), bytes);
    }),
  );
});
