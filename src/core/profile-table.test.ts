import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ContentHash, contentHashOf, HASH_ALGORITHMS } from './content-hash.ts';
import { type ErrorCode, ThimbleError } from './errors.ts';
import { MAX_PACK_BYTES } from './profile-index.ts';
import {
  decodeProfileTable,
  encodeProfileTable,
  MAX_PACKED_OBJECT_BYTES,
  type PackedObject,
  placeObjects,
} from './profile-table.ts';

const ANY_OBJECT: fc.Arbitrary<PackedObject> = fc.record(
  {
    hash: fc
      .tuple(fc.constantFrom(...HASH_ALGORITHMS), fc.uint8Array({ minLength: 20, maxLength: 20 }))
      .map(([algorithm, digest]) => contentHashOf(algorithm, digest)),
    type: fc.constantFrom('', 'C', 'P'),
    compression: fc.constantFrom('zlib', 'none'),
    storedBytes: fc.integer({ min: 1, max: MAX_PACK_BYTES }),
    sizeBytes: fc.integer({ min: 0, max: MAX_PACKED_OBJECT_BYTES }),
  },
  { noNullPrototype: true },
);

function refuses(code: ErrorCode, action: () => unknown): void {
  assert.throws(action, (error) => error instanceof ThimbleError && error.code === code);
}

test('tables read back as they were written', () => {
  fc.assert(
    fc.property(fc.array(ANY_OBJECT, { maxLength: 20 }), (objects) => {
      assert.deepEqual(decodeProfileTable(encodeProfileTable(objects)), objects);
    }),
  );
});

test('any bytes are a table, or are refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        decodeProfileTable(bytes);
      } catch (error) {
        assert.ok(error instanceof ThimbleError && ['FORMAT', 'LIMIT', 'UNSUPPORTED'].includes(error.code));
      }
    }),
  );
});

const HASH = 'a'.repeat(40) as ContentHash;
const object = (storedBytes: number): PackedObject => ({
  hash: HASH,
  type: '',
  compression: 'zlib',
  storedBytes,
  sizeBytes: 100,
});
/** Offsets in a table of one object. */
const [VERSION, COUNT, ALGORITHM, TYPE, COMPRESSION, ZERO, STORED, SIZE] = [4, 8, 32, 33, 34, 35, 36, 40];

function withValue(at: number, value: number): Uint8Array {
  const bytes = Buffer.from(encodeProfileTable([object(10)]));
  if (at >= ALGORITHM && at < STORED) bytes.writeUInt8(value, at);
  else bytes.writeUInt32LE(value, at);
  return bytes;
}

test('a table that is not exactly one is refused', () => {
  refuses('FORMAT', () => decodeProfileTable(withValue(0, 0)));
  refuses('UNSUPPORTED', () => decodeProfileTable(withValue(VERSION, 2)));
  refuses('FORMAT', () => decodeProfileTable(withValue(COUNT, 2)));
  refuses('FORMAT', () => decodeProfileTable(withValue(COUNT, 0xffff_ffff)));
  refuses('FORMAT', () => decodeProfileTable(withValue(ALGORITHM, 3)));
  refuses('FORMAT', () => decodeProfileTable(withValue(TYPE, 3)));
  refuses('FORMAT', () => decodeProfileTable(withValue(COMPRESSION, 2)));
  refuses('FORMAT', () => decodeProfileTable(withValue(ZERO, 1)));
  refuses('FORMAT', () => decodeProfileTable(withValue(STORED, 0)));
  refuses('LIMIT', () => decodeProfileTable(withValue(STORED, MAX_PACK_BYTES + 1)));
  refuses('LIMIT', () => decodeProfileTable(withValue(SIZE, MAX_PACKED_OBJECT_BYTES + 1)));
});

test('objects fill one pack after the other', () => {
  const packs = [
    { hash: HASH, sizeBytes: 30 },
    { hash: HASH, sizeBytes: 5 },
  ];
  assert.deepEqual(
    placeObjects([object(10), object(20), object(5)], packs).map(({ pack, offset }) => [pack, offset]),
    [
      [0, 0],
      [0, 10],
      [1, 0],
    ],
  );
  assert.deepEqual(placeObjects([], []), []);
});

test('objects that do not fill their packs to the byte are refused', () => {
  const pack = { hash: HASH, sizeBytes: 30 };
  refuses('FORMAT', () => placeObjects([object(10)], [pack]));
  refuses('FORMAT', () => placeObjects([object(31)], [pack]));
  refuses('FORMAT', () => placeObjects([object(20), object(20)], [pack]));
  refuses('FORMAT', () => placeObjects([object(30), object(1)], [pack]));
  refuses('FORMAT', () => placeObjects([object(30)], [pack, pack]));
  refuses('FORMAT', () => placeObjects([object(1)], []));
  refuses('FORMAT', () => placeObjects([], [pack]));
});
