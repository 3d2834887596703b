import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { ascii, byteStringOf, bytesOf, compareByteStrings, concatBytes, equalBytes } from './byte-string.ts';

const anyBytes = fc.uint8Array({ maxLength: 300 });

test('byteStringOf() and bytesOf() undo each other for any bytes', () => {
  fc.assert(fc.property(anyBytes, (bytes) => assert.deepEqual(bytesOf(byteStringOf(bytes)), bytes)));
});

test('byteStringOf() keeps inputs that are longer than one chunk of arguments', () => {
  for (const length of [4095, 4096, 4097, 8192, 100_001]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 7) & 0xff);
    assert.deepEqual(bytesOf(byteStringOf(bytes)), bytes);
    assert.equal(byteStringOf(bytes, 1, length - 1).length, length - 2);
  }
});

test('byteStringOf() takes the range it is given', () => {
  const bytes = Uint8Array.of(0x61, 0x62, 0xff, 0x64);
  assert.equal(byteStringOf(bytes, 1, 3), 'b\xff');
  assert.equal(byteStringOf(bytes, 2), '\xffd');
  assert.equal(byteStringOf(bytes, 4), '');
});

test('ascii() accepts code units up to 255 and refuses larger ones as a bug', () => {
  assert.equal(ascii('a\xff'), 'a\xff');
  assert.throws(() => ascii('\u0100'), { name: 'ThimbleError', code: 'INTERNAL' });
});

test('equalBytes() compares length and content', () => {
  assert.ok(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  assert.ok(!equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3)));
  assert.ok(!equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 3)));
  assert.ok(equalBytes(new Uint8Array(0), new Uint8Array(0)));
});

test('concatBytes() joins its parts in order', () => {
  fc.assert(
    fc.property(fc.array(anyBytes), (parts) => {
      assert.deepEqual(
        [...concatBytes(parts)],
        parts.flatMap((part) => [...part]),
      );
    }),
  );
});

test('compareByteStrings() has the order of memcmp', () => {
  fc.assert(
    fc.property(anyBytes, anyBytes, (a, b) => {
      assert.equal(compareByteStrings(byteStringOf(a), byteStringOf(b)), Buffer.compare(a, b));
    }),
  );
});
