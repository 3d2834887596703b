import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { ByteWriter } from './writer.ts';

test('ByteWriter writes each kind of value with its byte order', () => {
  const writer = new ByteWriter(1)
    .u8(0x01)
    .u16le(0x0102)
    .u16be(0x0102)
    .u32le(0x81020304)
    .u32be(0x81020304)
    .u64le(0x8102030405060708n)
    .bytes(Uint8Array.of(0xaa))
    .byteString('a\xff');
  assert.equal(writer.length, 24);
  assert.equal(
    Buffer.from(writer.finish()).toString('hex'),
    '01' + '0201' + '0102' + '04030281' + '81020304' + '0807060504030281' + 'aa' + '61ff',
  );
});

test('ByteWriter.align() fills up with zeros to the next multiple, and with none where it stands on one', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.constantFrom(1, 2, 4, 8, 512), (bytes, alignment) => {
      const padded = new ByteWriter(4).bytes(bytes).align(alignment).finish();
      assert.equal(padded.length, Math.ceil(bytes.length / alignment) * alignment);
      assert.deepEqual(padded.subarray(0, bytes.length), bytes);
      assert.ok(padded.subarray(bytes.length).every((byte) => byte === 0));
    }),
  );
});

test('ByteWriter keeps what was written when its buffer grows, from no capacity at all', () => {
  const writer = new ByteWriter(0);
  for (let i = 0; i < 1000; i++) writer.u16be(i);
  const view = Buffer.from(writer.finish());
  for (let i = 0; i < 1000; i++) assert.equal(view.readUInt16BE(2 * i), i);
  assert.deepEqual(new ByteWriter().zeros(3).finish(), new Uint8Array(3));
});
