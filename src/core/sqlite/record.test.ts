import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { MAX_COLUMNS, readVarint, SqliteRecord, varint } from './record.ts';

const FORMAT = { name: 'ThimbleError', code: 'FORMAT' };
const LIMIT = { name: 'ThimbleError', code: 'LIMIT' };

/** SQLite's varint: seven bits a byte, most significant first, the top bit set on all but the last. */
function encodeVarint(value: bigint): number[] {
  const bytes = [Number(value & 0x7fn)];
  for (let rest = value >> 7n; rest > 0n; rest >>= 7n) bytes.unshift(Number(rest & 0x7fn) | 0x80);
  return bytes;
}

function load(...bytes: number[]): SqliteRecord {
  const record = new SqliteRecord();
  record.load(Uint8Array.from(bytes), 0, bytes.length);
  return record;
}

test('readVarint() reads what SQLite writes up to 2^53 - 1, and throws LIMIT above', () => {
  const value = fc
    .oneof(fc.nat(300), fc.bigInt({ min: 0n, max: 2n ** 56n - 1n }), fc.constant(2n ** 53n))
    .map(BigInt);
  fc.assert(
    fc.property(value, fc.nat(5), (expected, before) => {
      const bytes = Uint8Array.from([
        ...new Array<number>(before).fill(0xff),
        ...encodeVarint(expected),
        0xff,
      ]);
      if (expected > BigInt(Number.MAX_SAFE_INTEGER)) {
        assert.throws(() => readVarint(bytes, before, bytes.length), LIMIT);
        return;
      }
      assert.equal(readVarint(bytes, before, bytes.length), bytes.length - 1);
      assert.equal(varint, Number(expected));
      assert.throws(() => readVarint(bytes, before, bytes.length - 2), FORMAT);
    }),
  );
});

test('readVarint() throws LIMIT for the nine bytes of a negative row id', () => {
  assert.throws(() => readVarint(new Uint8Array(9).fill(0xff), 0, 9), LIMIT);
});

test('SqliteRecord decodes one column of each serial type', () => {
  const record = load(
    ...[14, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 13], // header: 14 bytes, then one type each
    ...[0xff], // 1: -1
    ...[0x80, 0x00], // 2: -32768
    ...[0x80, 0x00, 0x01], // 3: -8388607
    ...[0x7f, 0xff, 0xff, 0xff], // 4: 2^31 - 1
    ...[0xff, 0xff, 0x00, 0x00, 0x00, 0x00], // 5: -2^32
    ...[0x00, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // 6: 2^53 - 1
    ...[0x3f, 0xf0, 0, 0, 0, 0, 0, 0], // 7: the float 1.0
    ...[0xaa, 0xbb], // 16: blob of 2 bytes
    ...[0x61, 0xff], // 17: text of 2 bytes; 13: empty text
  );
  assert.equal(record.count, 13);
  assert.ok(record.isNull(0));
  const integers = [1, 2, 3, 4, 5, 6, 8, 9].map((column) => record.number(column));
  assert.deepEqual(integers, [-1, -32768, -8388607, 2 ** 31 - 1, -(2 ** 32), 2 ** 53 - 1, 0, 1]);
  assert.equal(record.high(5), -1);
  assert.equal(record.low(5), 0);
  assert.ok(record.isNumber(7));
  assert.deepEqual(record.blob(10), Uint8Array.of(0xaa, 0xbb));
  assert.equal(record.text(11), 'a\xff');
  assert.equal(record.text(12), '');
  assert.ok(!record.isNull(12) && !record.isNumber(12));
});

test('SqliteRecord takes a column behind the last one for NULL', () => {
  const record = load(2, 9);
  assert.ok(record.isNull(1) && !record.isNumber(1));
  assert.deepEqual([record.number(1), record.text(1), record.length(1)], [0, '', 0]);
  assert.deepEqual(record.blob(1), new Uint8Array(0));
});

test('SqliteRecord forgets the columns of the row before', () => {
  const record = new SqliteRecord();
  record.load(Uint8Array.of(3, 1, 1, 5, 6), 0, 5);
  record.load(Uint8Array.of(2, 0), 0, 2);
  assert.equal(record.count, 1);
  assert.equal(record.number(0), 0);
});

for (const [why, error, read] of [
  ['text as an integer', FORMAT, (record: SqliteRecord) => record.number(0)],
  ['a float as an integer', FORMAT, (record: SqliteRecord) => record.low(1)],
  ['a number as text', FORMAT, (record: SqliteRecord) => record.text(2)],
  ['a reserved type as an integer', FORMAT, (record: SqliteRecord) => record.high(3)],
  ['a reserved type as a blob', FORMAT, (record: SqliteRecord) => record.blob(3)],
  ['an integer beyond 2^53', LIMIT, (record: SqliteRecord) => record.number(4)],
] as const) {
  test(`SqliteRecord throws ${error.code} on reading ${why}`, () => {
    const record = load(
      6,
      15,
      7,
      9,
      10,
      6,
      ...[0x61],
      ...[0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
      ...[0, 0x20, 0, 0, 0, 0, 0, 0],
    );
    assert.throws(() => read(record), error);
  });
}

for (const [why, bytes] of [
  ['is empty', []],
  ['has a header that is longer than it', [5, 1, 2]],
  ['ends within its header', [3, 0x81]],
  ['lacks bytes of an integer', [2, 4, 0, 0, 0]],
  ['lacks bytes of a text', [2, 17, 0x61]],
  ['lacks bytes of a column in the middle', [3, 17, 1, 0x61]],
  ['claims a text of a gigabyte', [6, 0x88, 0x80, 0x80, 0x80, 0x0d]],
  ['has too many columns', [MAX_COLUMNS + 2, ...new Array<number>(MAX_COLUMNS + 1).fill(0)]],
] as const) {
  test(`SqliteRecord refuses a record that ${why}`, () => assert.throws(() => load(...bytes), FORMAT));
}

test('SqliteRecord refuses a record that runs over its page', () => {
  assert.throws(() => new SqliteRecord().load(Uint8Array.of(2, 9), 0, 3), FORMAT);
});
