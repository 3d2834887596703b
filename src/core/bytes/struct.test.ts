import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { s32, struct, u8, u16, u32, u64 } from './struct.ts';

const Sample = struct('sample', { long: u64, word: u32, signed: s32, half: u16, small: u8, smaller: u8 });

test('struct() lays fields out in order, little-endian', () => {
  assert.equal(Sample.size, 20);
  assert.deepEqual(Sample.offsets, { long: 0, word: 8, signed: 12, half: 16, small: 18, smaller: 19 });
  const bytes = Sample.encode({
    long: 0x0102030405060708n,
    word: 0x81020304,
    signed: -2,
    half: 0x0102,
    small: 3,
    smaller: 4,
  });
  assert.equal(
    Buffer.from(bytes).toString('hex'),
    '0807060504030201' + '04030281' + 'feffffff' + '0201' + '03' + '04',
  );
});

test('struct() leaves out fields as zero', () => {
  const bytes = Sample.encode({ half: 0xffff });
  assert.deepEqual(Sample.decode(bytes), {
    long: 0n,
    word: 0,
    signed: 0,
    half: 0xffff,
    small: 0,
    smaller: 0,
  });
});

test('struct() decodes what it encoded, at any offset of any view', () => {
  const value = fc.record({
    long: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    word: fc.integer({ min: 0, max: 0xffffffff }),
    signed: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    half: fc.integer({ min: 0, max: 0xffff }),
    small: fc.integer({ min: 0, max: 0xff }),
    smaller: fc.integer({ min: 0, max: 0xff }),
  });
  fc.assert(
    fc.property(value, fc.nat(9), fc.nat(9), (fields, offset, inner) => {
      const buffer = new Uint8Array(64).fill(0xee);
      buffer.set(Sample.encode(fields), offset + inner);
      assert.deepEqual(Sample.decode(buffer.subarray(offset), inner), { ...fields });
    }),
  );
});

test('struct() refuses short input, counted from the offset', () => {
  const FORMAT = { name: 'ThimbleError', code: 'FORMAT', message: /sample: 20 bytes expected, 19 given/ };
  assert.throws(() => Sample.decode(new Uint8Array(19)), FORMAT);
  assert.throws(() => Sample.decode(new Uint8Array(24), 5), FORMAT);
});

test('struct() refuses a table with a field that is not aligned', () => {
  assert.throws(() => struct('crooked', { small: u8, word: u32 }), {
    name: 'ThimbleError',
    code: 'INTERNAL',
    message: /crooked\.word is at 1/,
  });
});
