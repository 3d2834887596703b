import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { noise } from '../../test/support/memory-tree.ts';
import { type ChunkSizes, findCut } from './chunker.ts';

interface Vectors {
  readonly xor32: {
    readonly sha1: string;
    readonly cuts_1024_4096_16384: readonly number[];
    readonly cuts_4096_8192_16384: readonly number[];
    readonly zeros_1024_4096_16384: readonly number[];
  };
  readonly xor32_marks_avg8MiB: Readonly<Record<string, boolean>>;
}

const VECTORS = JSON.parse(
  readFileSync(new URL('../../test/fixtures/format-vectors/vectors.json', import.meta.url), 'utf8'),
) as Vectors;

const SIZES: ChunkSizes = { minBytes: 1024, averageBytes: 4096, maxBytes: 16384 };

/** Positions of all cuts within the input; its end is not one. */
function cutsOf(bytes: Uint8Array, sizes: ChunkSizes): number[] {
  const cuts: number[] = [];
  for (let at = 0; ; ) {
    const rest = bytes.subarray(at);
    at += findCut(rest, rest.length, sizes);
    if (at >= bytes.length) return cuts;
    cuts.push(at);
  }
}

const REFERENCE_INPUT = noise(200_000);

test('the reference input of the chunker is the one that the vectors were made from', () => {
  assert.equal(createHash('sha1').update(REFERENCE_INPUT).digest('hex'), VECTORS.xor32.sha1);
});

for (const { name, input, sizes, cuts } of [
  { name: '1024/4096/16384', input: REFERENCE_INPUT, sizes: SIZES, cuts: VECTORS.xor32.cuts_1024_4096_16384 },
  {
    name: '4096/8192/16384',
    input: REFERENCE_INPUT,
    sizes: { minBytes: 4096, averageBytes: 8192, maxBytes: 16384 },
    cuts: VECTORS.xor32.cuts_4096_8192_16384,
  },
  {
    name: '1024/4096/16384 and only zeros',
    input: new Uint8Array(200_000),
    sizes: SIZES,
    cuts: VECTORS.xor32.zeros_1024_4096_16384,
  },
]) {
  test(`findCut() cuts as the reference publisher does, with ${name}`, () => {
    assert.deepEqual(cutsOf(input, sizes), cuts);
  });
}

for (const [value, isMark] of Object.entries(VECTORS.xor32_marks_avg8MiB)) {
  test(`findCut() takes the value ${value} ${isMark ? 'for a mark' : 'for no mark'} at an average of 8 MiB`, () => {
    // The value after a byte is that of the 32 bytes before, each bit from one of them: bit 31 from the first.
    const wanted = Number.parseInt(value, 16);
    const bytes = Uint8Array.from({ length: 33 + 32 }, (_, i) =>
      i >= 1 && i <= 32 ? (wanted >>> (32 - i)) & 1 : 0,
    );
    const sizes = { minBytes: 32, averageBytes: 8 * 1024 * 1024, maxBytes: 16 * 1024 * 1024 };
    // Without the bytes behind it the input would end at the mark, where none counts.
    assert.equal(findCut(bytes.subarray(0, 34), 34, sizes) === 32, isMark);
  });
}

const sizesArbitrary = fc
  .tuple(
    fc.integer({ min: 32, max: 200 }),
    fc.integer({ min: 1, max: 300 }),
    fc.integer({ min: 1, max: 2000 }),
  )
  .map(([min, more, most]) => ({ minBytes: min, averageBytes: min + more, maxBytes: min + more + most }));
const bytesArbitrary = fc.oneof(
  fc.uint8Array({ maxLength: 5000 }),
  fc
    .tuple(fc.integer({ min: 0, max: 20_000 }), fc.integer({ min: 1, max: 1000 }))
    .map(([n, seed]) => noise(n, seed)),
);

test('findCut() makes chunks that are the input when put together, none larger than the maximum, none but the last smaller than the minimum', () => {
  fc.assert(
    fc.property(bytesArbitrary, sizesArbitrary, (bytes, sizes) => {
      const ends = [...cutsOf(bytes, sizes), bytes.length];
      const lengths = ends.map((end, i) => end - (ends[i - 1] ?? 0));
      assert.equal(
        lengths.reduce((sum, length) => sum + length, 0),
        bytes.length,
      );
      assert.ok(lengths.every((length) => length <= sizes.maxBytes));
      assert.ok(lengths.slice(0, -1).every((length) => length >= sizes.minBytes));
    }),
  );
});

test('findCut() looks at nothing behind the cut, nor at what the buffer holds behind its content', () => {
  fc.assert(
    fc.property(bytesArbitrary, bytesArbitrary, sizesArbitrary, (bytes, garbage, sizes) => {
      const cut = findCut(bytes, bytes.length, sizes);
      const buffer = Uint8Array.from([...bytes, ...garbage]);
      assert.equal(findCut(buffer, bytes.length, sizes), cut);
      if (cut < bytes.length) assert.equal(findCut(buffer, buffer.length, sizes), cut);
    }),
  );
});

test('findCut() finds the same cuts behind a changed beginning: chunks deduplicate', () => {
  const changed = REFERENCE_INPUT.slice();
  changed[100]! ^= 0xff;
  const cuts = cutsOf(REFERENCE_INPUT, SIZES);
  const afterChange = cutsOf(changed, SIZES);
  assert.deepEqual(afterChange.slice(-50), cuts.slice(-50));
});

test('findCut() answers the length of an input that is not larger than the minimum', () => {
  for (const length of [0, 1, 1023, 1024])
    assert.equal(findCut(new Uint8Array(length), length, SIZES), length);
});
