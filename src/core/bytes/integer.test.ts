import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseUnsigned, safeNumberOfHalves, toSafeNumber } from './integer.ts';

const LIMIT = { name: 'ThimbleError', code: 'LIMIT' };
const FORMAT = { name: 'ThimbleError', code: 'FORMAT' };
const MAX = BigInt(Number.MAX_SAFE_INTEGER);

const isSafe = (value: bigint) => value <= MAX && value >= -MAX;

/** Integers of 64 bits, often near the border of exactness. */
const signed64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.tuple(fc.constantFrom(MAX, -MAX, 0n), fc.bigInt({ min: -5n, max: 5n })).map(([near, off]) => near + off),
);

test('toSafeNumber() narrows exactly or throws LIMIT', () => {
  fc.assert(
    fc.property(signed64, (value) => {
      if (isSafe(value)) assert.equal(toSafeNumber(value, 'size'), Number(value));
      else assert.throws(() => toSafeNumber(value, 'size'), LIMIT);
    }),
  );
});

test('safeNumberOfHalves() joins two halves exactly or throws LIMIT', () => {
  fc.assert(
    fc.property(signed64, (value) => {
      const high = Number(BigInt.asIntN(32, value >> 32n));
      const low = Number(BigInt.asIntN(32, value));
      if (isSafe(value)) assert.equal(safeNumberOfHalves(high, low, 'size'), Number(value));
      else assert.throws(() => safeNumberOfHalves(high, low, 'size'), LIMIT);
    }),
  );
});

test('parseUnsigned() reads decimals up to 2^53 - 1', () => {
  assert.equal(parseUnsigned('0', 'revision'), 0);
  assert.equal(parseUnsigned('0042', 'revision'), 42);
  assert.equal(parseUnsigned('9007199254740991', 'revision'), Number.MAX_SAFE_INTEGER);
});

for (const text of [
  '',
  '-1',
  '+1',
  '1.0',
  '1e3',
  '0x10',
  ' 1',
  '1\n',
  '9007199254740992',
  '00000000000000001',
]) {
  test(`parseUnsigned() refuses ${JSON.stringify(text)}`, () => {
    assert.throws(() => parseUnsigned(text, 'revision'), { ...FORMAT, message: /revision/ });
  });
}
