import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { concatBytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import { nodeInflating } from './inflating.ts';
import { reusedInflater } from './reused-inflater.ts';

const MIB = 1024 * 1024;
const TEXT = Buffer.from('a text that is there more than once, a text that is there more than once');
/** `TEXT` as RFC 1950 has it, and what is not quite that. */
const STREAM = deflateSync(TEXT);
const ADLER_BYTES = 4;

async function inflateInPieces(pieces: readonly Uint8Array[]): Promise<Uint8Array> {
  const inflater = nodeInflating.createInflater();
  try {
    const output: Uint8Array[] = [];
    for (const piece of pieces) output.push(await inflater.push(piece));
    output.push(await inflater.end());
    return concatBytes(output);
  } finally {
    inflater.close();
  }
}

test('inflate() gives back what was deflated, at once and in pieces of any size', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 2_000 }),
      fc.integer({ min: 0, max: 9 }),
      fc.array(fc.nat(2_000), { maxLength: 6 }),
      async (content, level, cuts) => {
        const stream = deflateSync(content, { level });
        assert.ok(Buffer.from(content).equals(nodeInflating.inflate(stream, content.length)));
        const marks = [0, ...cuts.filter((cut) => cut < stream.length).sort((a, b) => a - b), stream.length];
        const pieces = marks.slice(1).map((end, i) => stream.subarray(marks[i], end));
        assert.ok(Buffer.from(content).equals(await inflateInPieces(pieces)));
      },
    ),
  );
});

test('inflate() gives back large content', async () => {
  const content = Buffer.alloc(5 * MIB + 17, 'a large file ');
  const stream = deflateSync(content, { level: 1 });
  assert.ok(content.equals(nodeInflating.inflate(stream, content.length)));
  assert.ok(content.equals(await inflateInPieces([stream.subarray(0, 1_000), stream.subarray(1_000)])));
});

test('inflate() takes a limit that is just enough, 0 for nothing included', () => {
  assert.equal(nodeInflating.inflate(STREAM, TEXT.length).length, TEXT.length);
  assert.equal(nodeInflating.inflate(deflateSync(''), 0).length, 0);
});

for (const [what, content, limit] of [
  ['one byte too many', TEXT, TEXT.length - 1],
  ['a bomb', Buffer.alloc(64 * MIB), 1_000],
  ['a bomb behind a large limit', Buffer.alloc(64 * MIB), 2 * MIB],
] as const) {
  test(`inflate() refuses ${what} with LIMIT`, () => {
    const stream = deflateSync(content);
    assert.throws(() => nodeInflating.inflate(stream, limit), {
      code: 'LIMIT',
      message: new RegExp(`${limit}`),
    });
  });
}

const NO_STREAMS: readonly (readonly [string, Buffer])[] = [
  ['text', TEXT],
  ['gzip', gzipSync(TEXT)],
  ['raw deflate', deflateRawSync(TEXT)],
  ['HTML', Buffer.from('<!DOCTYPE html><title>Sign in to this network</title>')],
  ['a stream with a changed header', Buffer.concat([Buffer.from([STREAM[0]! ^ 0x10]), STREAM.subarray(1)])],
  [
    'a stream with a wrong checksum',
    Buffer.concat([STREAM.subarray(0, -1), Buffer.from([STREAM.at(-1)! ^ 1])]),
  ],
  ['a stream that needs a dictionary', deflateSync(TEXT, { dictionary: Buffer.from('a text') })],
];

for (const [what, bytes] of NO_STREAMS) {
  test(`inflate() refuses ${what} with FORMAT, at once and in pieces`, async () => {
    assert.throws(() => nodeInflating.inflate(bytes, MIB), { code: 'FORMAT' });
    await assert.rejects(inflateInPieces([bytes]), { code: 'FORMAT' });
    await assert.rejects(inflateInPieces([...bytes].map((byte) => Buffer.of(byte))), { code: 'FORMAT' });
  });
}

test('inflate() takes a stream without its checksum, as the reference does', async () => {
  const bytes = STREAM.subarray(0, -ADLER_BYTES);
  assert.ok(TEXT.equals(nodeInflating.inflate(bytes, MIB)));
  assert.ok(TEXT.equals(await inflateInPieces([bytes])));
});

test('inflate() gives no more than the start of a stream that is cut off', async () => {
  for (let length = 2; length < STREAM.length - ADLER_BYTES - 1; length++) {
    const bytes = STREAM.subarray(0, length);
    for (const output of [nodeInflating.inflate(bytes, MIB), await inflateInPieces([bytes])]) {
      assert.ok(output.length < TEXT.length);
      assert.ok(TEXT.subarray(0, output.length).equals(output));
    }
  }
});

test('inflate() answers any bytes with bytes, FORMAT or LIMIT, and agrees with itself in pieces', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), fc.boolean(), async (tail, isAfterHeader) => {
      const bytes = isAfterHeader ? Buffer.concat([STREAM.subarray(0, 20), tail]) : Buffer.from(tail);
      const outcome = async (action: () => Uint8Array | Promise<Uint8Array>) => {
        try {
          return Buffer.from(await action()).toString('hex');
        } catch (error) {
          assert.ok(error instanceof ThimbleError);
          return error.code;
        }
      };
      const atOnce = await outcome(() => nodeInflating.inflate(bytes, MIB));
      assert.equal(await outcome(() => inflateInPieces([bytes.subarray(0, 10), bytes.subarray(10)])), atOnce);
      assert.notEqual(atOnce, 'INTERNAL');
    }),
  );
});

test('an inflater goes on refusing after a failure, and can be closed at any time', async () => {
  const inflater = nodeInflating.createInflater();
  await assert.rejects(inflater.push(TEXT), { code: 'FORMAT' });
  await assert.rejects(inflater.push(STREAM), { code: 'FORMAT' });
  await assert.rejects(inflater.end(), { code: 'FORMAT' });
  inflater.close();
  inflater.close();
});

test('an inflater takes bytes behind the end of the stream for nothing, and does not wait for more', async () => {
  assert.ok(TEXT.equals(await inflateInPieces([Buffer.concat([STREAM, Buffer.from('behind')])])));
  assert.ok(TEXT.equals(await inflateInPieces([STREAM, Buffer.from('behind'), Buffer.from('it')])));
});

test('inflateInto() gives what inflate() gives, one stream after the other', () => {
  const into = new Uint8Array(4_000);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3_000 }), fc.integer({ min: 0, max: 9 }), (content, level) => {
      const length = nodeInflating.inflateInto(deflateSync(content, { level }), into);
      assert.ok(Buffer.from(content).equals(into.subarray(0, length)));
    }),
  );
});

test('inflateInto() takes memory that is just enough, and memory of two threads', () => {
  const into = new Uint8Array(new SharedArrayBuffer(TEXT.length));
  const stream = new Uint8Array(new SharedArrayBuffer(STREAM.length));
  stream.set(STREAM);
  assert.equal(nodeInflating.inflateInto(stream, into), TEXT.length);
  assert.ok(TEXT.equals(into));
  assert.equal(nodeInflating.inflateInto(deflateSync(''), new Uint8Array(1)), 0);
});

test('inflateInto() refuses what is no stream or too much, and goes on with the next', () => {
  const into = new Uint8Array(TEXT.length);
  const damaged = Buffer.from(STREAM);
  damaged[0] = 0;
  for (let i = 0; i < 3; i++) {
    assert.throws(() => nodeInflating.inflateInto(damaged, into), { code: 'FORMAT' });
    assert.throws(() => nodeInflating.inflateInto(STREAM, into.subarray(1)), { code: 'LIMIT' });
    assert.throws(() => nodeInflating.inflateInto(deflateSync(Buffer.alloc(64 * MIB)), into), {
      code: 'LIMIT',
    });
    assert.equal(nodeInflating.inflateInto(STREAM, into), TEXT.length);
    assert.ok(TEXT.equals(into));
  }
});

test('inflateInto() takes a stream without its checksum, as inflate() does', () => {
  const into = new Uint8Array(TEXT.length + 1);
  assert.equal(nodeInflating.inflateInto(STREAM.subarray(0, -ADLER_BYTES), into), TEXT.length);
  assert.ok(nodeInflating.inflateInto(STREAM.subarray(0, 20), into) < TEXT.length);
});

test('this version of Node has what is needed for one stream that is used again', () => {
  assert.ok(reusedInflater !== undefined);
});
