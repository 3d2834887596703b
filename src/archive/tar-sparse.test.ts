import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  BLOCK,
  base256,
  END,
  header,
  member,
  octal,
  pax,
  pieces,
  read,
  readAll,
  readOne,
  withChecksum,
} from '../../test/support/tar-archive.ts';
import { ascii, type Bytes, byteStringOf, bytesOf, concatBytes } from '../core/bytes/byte-string.ts';
import { type ErrorCode, ThimbleError } from '../core/errors.ts';
import { readTar } from './tar.ts';
import { MAX_SPARSE_BYTES, MAX_SPARSE_PIECES } from './tar-sparse.ts';

type Pairs = readonly (readonly [offset: number | string, length: number | string])[];

const field = (value: number | string) => (typeof value === 'string' ? value : octal(value, 12));

/** An entry of type S; pairs beyond the fourth go to blocks of their own. */
function oldSparse(realSize: number | string, pairs: Pairs, content: string, more = pairs.length > 4): Bytes {
  const block = header({ type: 'S', magic: 'ustar  \0', size: octal(content.length, 12) });
  const put = (into: Bytes, at: number, text: string) => into.set(bytesOf(ascii(text)), at);
  const putPairs = (into: Bytes, at: number, some: Pairs) =>
    some.forEach((pair, i) => {
      put(into, at + 24 * i, field(pair[0]));
      put(into, at + 24 * i + 12, field(pair[1]));
    });
  putPairs(block, 386, pairs.slice(0, 4));
  block[482] = more ? 1 : 0;
  put(block, 483, field(realSize));
  const extensions: Bytes[] = [];
  for (let at = 4; at < pairs.length; at += 21) {
    const extension = new Uint8Array(BLOCK);
    putPairs(extension, 0, pairs.slice(at, at + 21));
    extension[504] = at + 21 < pairs.length ? 1 : 0;
    extensions.push(extension);
  }
  return concatBytes([withChecksum(block), ...extensions, body(content)]);
}

function body(content: string): Bytes {
  const bytes = new Uint8Array(Math.ceil(content.length / BLOCK) * BLOCK);
  bytes.set(bytesOf(ascii(content)));
  return bytes;
}

const pax01 = (size: number | string, map: string, content: string, more: Record<string, string> = {}) =>
  concatBytes([
    pax({ 'GNU.sparse.size': String(size), 'GNU.sparse.map': map, 'GNU.sparse.name': 'real', ...more }),
    member({}, content),
  ]);

const pax10 = (size: number | string, map: string, content: string) =>
  concatBytes([
    pax({
      'GNU.sparse.major': '1',
      'GNU.sparse.minor': '0',
      'GNU.sparse.name': 'real',
      'GNU.sparse.realsize': String(size),
    }),
    member({}, byteStringOf(body(map)) + content),
  ]);

describe('sparse tar entries', () => {
  for (const [format, archive] of [
    [
      'old GNU',
      oldSparse(
        12,
        [
          [2, 3],
          [7, 2],
          [12, 0],
        ],
        'abcde',
      ),
    ],
    ['PAX 0.1', pax01(12, '2,3,7,2,12,0', 'abcde', { 'GNU.sparse.numblocks': '3' })],
    ['PAX 1.0', pax10(12, '3\n2\n3\n7\n2\n12\n0\n', 'abcde')],
  ] as const) {
    test(`readTar() puts the pieces of format ${format} where they belong, and the next entry follows`, async () => {
      const [first, second] = await read(archive, member({ name: 'next' }, 'x'));
      assert.equal(byteStringOf(first!.content), '\0\0abc\0\0de\0\0\0');
      assert.deepEqual([first!.sizeBytes, first!.type], [12, 'file']);
      assert.equal(first!.path, format === 'old GNU' ? 'a' : 'real');
      assert.deepEqual([second!.path, byteStringOf(second!.content)], ['next', 'x']);
    });
  }

  test('readTar() puts together the repeated records of format 0.0', async () => {
    // A literal cannot repeat a key, and the map is made of what repeats.
    const records = ['22 GNU.sparse.size=12\n', '23 GNU.sparse.offset=2\n', '25 GNU.sparse.numbytes=3\n'];
    const entry = await readOne(member({ type: 'x' }, records.join('')), member({ name: 'zero' }, 'abc'));
    assert.deepEqual([entry.path, byteStringOf(entry.content)], ['zero', '\0\0abc\0\0\0\0\0\0\0']);
  });

  test('readTar() reads numbers beyond octal, and holes alone', async () => {
    const size = 9 * 1024 ** 3;
    const [entry] = await entriesOf(
      oldSparse(base256(BigInt(size), 12), [[base256(BigInt(size), 12), 0]], ''),
    );
    assert.deepEqual([entry!.sizeBytes, entry!.path], [size, 'a']);
  });

  const reverse = [
    [5, 2],
    [0, 3],
  ] as const;
  const cases: readonly [what: string, code: ErrorCode, message: RegExp, archive: Bytes][] = [
    ['pieces that go back', 'FORMAT', /of sparse file a goes back to 0/, oldSparse(9, reverse, 'abcde')],
    ['pieces that overlap', 'FORMAT', /goes back to 3/, pax01(9, '0,4,3,1', 'abcde')],
    ['a piece beyond the end', 'FORMAT', /reaches 10, the file ends at 9/, pax10(9, '1\n5\n5\n', 'abcde')],
    ['more pieces than stored bytes', 'FORMAT', /has 6 bytes, 5 are stored/, pax01(9, '0,6', 'abcde')],
    ['fewer pieces than stored bytes', 'FORMAT', /has 0 bytes, 5 are stored/, oldSparse(9, [], 'abcde')],
    ['half a pair', 'FORMAT', /ends within a pair/, pax01(9, '0,5,9', 'abcde')],
    [
      'a count that is wrong',
      'FORMAT',
      /2 numbers for 2 pieces/,
      pax01(9, '0,5', 'abcde', { 'GNU.sparse.numblocks': '2' }),
    ],
    ['a map that is no number', 'FORMAT', /"x" in a sparse map/, pax01(9, '0,x', 'abcde')],
    ['a map of other things', 'FORMAT', /a sparse map is malformed/, pax10(9, '1'.repeat(2048), '')],
    ['a map that is longer than its file', 'FORMAT', /is longer than its file/, pax10(9, '9\n0\n', 'abcde')],
    ['a map that ends', 'FORMAT', /within a sparse map/, oldSparse(9, [], '', true).subarray(0, BLOCK)],
    ['a negative offset', 'FORMAT', /offset -1 is negative/, oldSparse(9, [[base256(-1n, 12), 1]], 'a')],
    [
      'no size',
      'FORMAT',
      /"" in a sparse map/,
      concatBytes([pax({ 'GNU.sparse.map': '0,1' }), member({}, 'a')]),
    ],
    [
      'a sparse folder',
      'FORMAT',
      /a is sparse and a directory/,
      concatBytes([pax({ 'GNU.sparse.size': '1' }), header({ type: '5' })]),
    ],
    [
      'an unknown version',
      'UNSUPPORTED',
      /sparse format 2\.0/,
      concatBytes([pax({ 'GNU.sparse.major': '2' }), header({})]),
    ],
    [
      'a file beyond 16 TiB',
      'LIMIT',
      /sparse file real has 17592186044417 bytes/,
      pax01(MAX_SPARSE_BYTES + 1, '0,1', 'a'),
    ],
    [
      'too many pieces of format 1.0',
      'LIMIT',
      /more than 1048576 pieces/,
      pax10(9, `${MAX_SPARSE_PIECES + 1}\n`, ''),
    ],
    [
      'too many pieces of format 0.1',
      'LIMIT',
      /more than 1048576 pieces/,
      pax01(9, '0,'.repeat(2 * MAX_SPARSE_PIECES), ''),
    ],
  ];
  for (const [what, code, message, archive] of cases) {
    test(`readTar() refuses ${what}`, async () => {
      // The end marker is what follows a map that ends.
      const whole = what === 'a map that ends' ? archive : concatBytes([archive, END]);
      await assert.rejects(readAll(pieces(whole)), (error) => {
        assert.ok(error instanceof ThimbleError, String(error));
        assert.equal(error.code, code);
        assert.match(error.message, message);
        return true;
      });
    });
  }

  test('readTar() refuses too many pieces of the old format', async () => {
    const first = oldSparse(1, [], '', true);
    const extension = new Uint8Array(BLOCK);
    for (let i = 0; i < 21; i++) extension.set(bytesOf(ascii(octal(0, 12))), 24 * i + 12);
    extension[504] = 1;
    const endless = async function* () {
      yield first;
      for (;;) yield extension;
    };
    await assert.rejects(readAll(endless()), { code: 'LIMIT' });
  });

  test('in every format, any map gives the file that was meant', async () => {
    const run = fc.record({ hole: fc.nat(700), data: fc.integer({ min: 1, max: 700 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(run, { maxLength: 40 }), fc.nat(700), async (runs, tail) => {
        const pairs: [number, number][] = [];
        let file = '';
        let stored = '';
        for (const [i, { hole, data }] of runs.entries()) {
          const piece = String.fromCharCode(97 + (i % 26)).repeat(data);
          file += '\0'.repeat(hole);
          pairs.push([file.length, data]);
          file += piece;
          stored += piece;
        }
        file += '\0'.repeat(tail);
        const numbers = pairs.flat();
        for (const archive of [
          oldSparse(file.length, pairs, stored),
          pax01(file.length, [...numbers, file.length, 0].join(','), stored),
          pax10(file.length, [pairs.length, ...numbers].map((number) => `${number}\n`).join(''), stored),
        ]) {
          assert.equal(byteStringOf((await readOne(archive)).content), file);
        }
      }),
      { numRuns: 60 },
    );
  });
});

/** Entries alone; their content is not read. */
async function entriesOf(archive: Bytes): Promise<{ path: string; sizeBytes: number }[]> {
  const entries = [];
  for await (const { path, sizeBytes } of readTar(pieces(concatBytes([archive, END])))) {
    entries.push({ path, sizeBytes });
  }
  return entries;
}
