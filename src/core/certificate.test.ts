import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { ascii, bytesOf } from './bytes/byte-string.ts';
import { decodePemCertificate } from './certificate.ts';

const pem = (body: string, label = 'CERTIFICATE') =>
  `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
const decode = (text: string) => decodePemCertificate(bytesOf(ascii(text)));

test('decodePemCertificate() finds the DER of any armoured block', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1 }), (der) => {
      const body = Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n');
      assert.deepEqual(decode(`subject=CN\n${pem(body)}`), der);
    }),
  );
});

test('decodePemCertificate() takes the first certificate of several, and passes over other blocks', () => {
  const text = pem('AAAA', 'PUBLIC KEY') + pem('AQID') + pem('////');
  assert.deepEqual(decode(text), Uint8Array.of(1, 2, 3));
});

for (const [why, text] of [
  ['an empty file', ''],
  ['another kind of block', pem('AQID', 'PRIVATE KEY')],
  ['a block without an end', '-----BEGIN CERTIFICATE-----\nAQID\n'],
  ['a block with characters beside base64', pem('AQ*D')],
  ['a block that ends within a byte', pem('AQIDB')],
  ['an empty block', '-----BEGIN CERTIFICATE----------END CERTIFICATE-----'],
] as const) {
  test(`decodePemCertificate() refuses ${why}`, () => {
    assert.throws(() => decode(text), { name: 'ThimbleError', code: 'FORMAT' });
  });
}
