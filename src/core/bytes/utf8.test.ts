import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { byteStringOf } from './byte-string.ts';
import { decodeUtf8, displayBytes, encodeUtf8, utf8 } from './utf8.ts';

const textOf = (codePoint: fc.Arbitrary<number>) =>
  fc.array(codePoint, { maxLength: 40 }).map((codes) => String.fromCodePoint(...codes));
const scalar = fc.oneof(
  fc.integer({ min: 0, max: 0xff }),
  fc.integer({ min: 0x100, max: 0xd7ff }),
  fc.integer({ min: 0xe000, max: 0x10ffff }),
);
const surrogate = fc.integer({ min: 0xd800, max: 0xdfff });

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function platformDecode(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

test('utf8() writes one to four bytes a character', () => {
  assert.equal(utf8('a'), 'a');
  assert.equal(utf8('\u00e9'), '\xc3\xa9');
  assert.equal(utf8('\u20ac'), '\xe2\x82\xac');
  assert.equal(utf8('\u{1f600}'), '\xf0\x9f\x98\x80');
  assert.equal(utf8('\ud800'), '\xef\xbf\xbd', 'a lone surrogate becomes U+FFFD');
});

test('encodeUtf8() writes what TextEncoder writes', () => {
  fc.assert(
    fc.property(textOf(fc.oneof(scalar, surrogate)), (text) => {
      assert.deepEqual(encodeUtf8(text), new TextEncoder().encode(text));
    }),
  );
});

test('decodeUtf8() undoes utf8() for any text without lone surrogates', () => {
  fc.assert(fc.property(textOf(scalar), (text) => assert.equal(decodeUtf8(utf8(text)), text)));
});

for (const [why, bytes] of [
  ['a continuation without a start', '\x80'],
  ['a start without its continuation', 'a\xc3'],
  ['a start with a wrong continuation', '\xc3a'],
  ['an overlong slash', '\xc0\xaf'],
  ['an overlong slash of three bytes', '\xe0\x80\xaf'],
  ['an overlong slash of four bytes', '\xf0\x80\x80\xaf'],
  ['a surrogate', '\xed\xa0\x80'],
  ['a code point beyond U+10FFFF', '\xf4\x90\x80\x80'],
  ['a byte that UTF-8 never has', '\xff'],
] as const) {
  test(`decodeUtf8() refuses ${why}`, () => assert.equal(decodeUtf8(bytes), undefined));
}

test('decodeUtf8() accepts and refuses the same bytes as TextDecoder', () => {
  // Bytes near the borders of the encoding, so that well-formed sequences are common.
  const byte = fc.constantFrom(
    ...[0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf],
    ...[0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff],
  );
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 6 }), (values) => {
      const bytes = Uint8Array.from(values);
      assert.equal(decodeUtf8(byteStringOf(bytes)), platformDecode(bytes));
    }),
    { numRuns: 5000 },
  );
});

for (const [bytes, shown] of [
  ['/caf\xc3\xa9', '/caf\u00e9'],
  ['a\nb\x7f', 'a\\x0ab\\x7f'],
  ['\x1b[2J', '\\x1b[2J'],
  ['caf\xe9', 'caf\\xe9'],
  // U+009B in UTF-8 starts a control sequence in many terminals.
  ['\xc2\x9b2J', '\\xc2\\x9b2J'],
] as const) {
  test(`displayBytes() shows ${JSON.stringify(bytes)} as ${JSON.stringify(shown)}`, () => {
    assert.equal(displayBytes(bytes), shown);
  });
}

test('displayBytes() never lets a control character through', () => {
  const bytes = fc.oneof(
    fc.uint8Array().map((given) => byteStringOf(given)),
    textOf(scalar).map(utf8),
  );
  fc.assert(fc.property(bytes, (given) => assert.doesNotMatch(displayBytes(given), /[\x00-\x1f\x7f-\x9f]/)));
});
