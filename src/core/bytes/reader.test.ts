import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { ByteReader } from './reader.ts';
import { ByteWriter } from './writer.ts';

const FORMAT = { name: 'ThimbleError', code: 'FORMAT' };

const READS: readonly [string, number, (reader: ByteReader) => unknown][] = [
  ['u8', 1, (reader) => reader.u8()],
  ['u16le', 2, (reader) => reader.u16le()],
  ['u16be', 2, (reader) => reader.u16be()],
  ['u32le', 4, (reader) => reader.u32le()],
  ['u32be', 4, (reader) => reader.u32be()],
  ['u64le', 8, (reader) => reader.u64le()],
  ['bytes', 3, (reader) => reader.bytes(3)],
  ['byteString', 3, (reader) => reader.byteString(3)],
  ['skip', 3, (reader) => reader.skip(3)],
];

test('ByteReader reads each kind of value with its byte order', () => {
  const reader = new ByteReader(
    Uint8Array.of(
      ...[0x01], // u8
      ...[0x02, 0x01], // u16le
      ...[0x01, 0x02], // u16be
      ...[0x04, 0x03, 0x02, 0x81], // u32le
      ...[0x81, 0x02, 0x03, 0x04], // u32be
      ...[0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x81], // u64le
      ...[0xaa, 0x61, 0xff, 0xee], // bytes, byteString, skip
    ),
    'a sample',
  );
  assert.equal(reader.u8(), 0x01);
  assert.equal(reader.u16le(), 0x0102);
  assert.equal(reader.u16be(), 0x0102);
  assert.equal(reader.u32le(), 0x81020304);
  assert.equal(reader.u32be(), 0x81020304);
  assert.equal(reader.u64le(), 0x8102030405060708n);
  assert.deepEqual(reader.bytes(1), Uint8Array.of(0xaa));
  assert.equal(reader.byteString(2), 'a\xff');
  assert.equal(reader.position, 24);
  assert.equal(reader.remaining, 1);
  reader.skip(1);
  reader.end();
});

for (const [name, size, read] of READS) {
  test(`ByteReader.${name}() throws FORMAT where a byte is missing, and takes nothing`, () => {
    const reader = new ByteReader(new Uint8Array(size - 1), 'a sample');
    assert.throws(() => read(reader), { ...FORMAT, message: /a sample/ });
    assert.equal(reader.position, 0);
    assert.doesNotThrow(() => read(new ByteReader(new Uint8Array(size), 'a sample')));
  });
}

test('ByteReader.end() refuses leftovers', () => {
  const reader = new ByteReader(Uint8Array.of(1, 2), 'a sample');
  reader.u8();
  assert.throws(() => reader.end(), FORMAT);
});

test('ByteReader stays within a view on a larger buffer', () => {
  const reader = new ByteReader(Uint8Array.of(9, 1, 2, 9).subarray(1, 3), 'a sample');
  assert.equal(reader.u16be(), 0x0102);
  assert.throws(() => reader.u8(), FORMAT);
});

type Step = readonly [
  kind: 'u8' | 'u16le' | 'u16be' | 'u32le' | 'u32be' | 'u64le' | 'bytes',
  value: number | bigint | Uint8Array,
];

test('ByteReader reads back whatever ByteWriter has written', () => {
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.tuple(fc.constant('u8' as const), fc.integer({ min: 0, max: 0xff })),
    fc.tuple(fc.constantFrom('u16le' as const, 'u16be' as const), fc.integer({ min: 0, max: 0xffff })),
    fc.tuple(fc.constantFrom('u32le' as const, 'u32be' as const), fc.integer({ min: 0, max: 0xffffffff })),
    fc.tuple(fc.constant('u64le' as const), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    fc.tuple(fc.constant('bytes' as const), fc.uint8Array({ maxLength: 40 })),
  );
  fc.assert(
    fc.property(fc.array(step), fc.integer({ min: 0, max: 8 }), (steps, capacity) => {
      const writer = new ByteWriter(capacity);
      for (const [kind, value] of steps) writer[kind](value as never);
      const reader = new ByteReader(writer.finish(), 'what was written');
      for (const [kind, value] of steps) {
        const count = typeof value === 'object' ? value.length : 0;
        assert.deepEqual(reader[kind](count), value);
      }
      reader.end();
    }),
  );
});
