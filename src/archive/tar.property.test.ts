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
  readAll,
  withChecksum,
} from '../../test/support/tar-archive.ts';
import { type ByteString, type Bytes, concatBytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';

describe('properties of readTar()', () => {
  const nameChars = fc.integer({ min: 1, max: 255 }).filter((code) => code !== 0x2f);
  const component = fc
    .array(nameChars, { minLength: 1, maxLength: 120 })
    .map((codes) => String.fromCharCode(...codes));
  const path = fc.array(component, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const content = fc.uint8Array({ maxLength: 1200 });
  const xattrName = fc.stringMatching(/^[a-z.]{1,12}$/);
  const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 });

  const entry = fc.record({
    path,
    mode: fc.nat(0o7777),
    uid: fc.nat(0xffff_ffff),
    gid: fc.nat(0xffff_ffff),
    mtimeSeconds: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    mtimeNs: fc.nat(999_999_999),
    content,
    xattrs: fc.uniqueArray(fc.tuple(xattrName, content), { maxLength: 3, selector: ([name]) => name }),
  });

  /** Both ways to write what does not fit into a ustar header. */
  function encode(given: typeof entry extends fc.Arbitrary<infer T> ? T : never): Bytes {
    const { mtimeSeconds, mtimeNs, xattrs } = given;
    const records: Record<string, string> = { path: given.path, gid: String(given.gid) };
    if (mtimeSeconds >= 0) records['mtime'] = `${mtimeSeconds}.${String(mtimeNs).padStart(9, '0')}`;
    else if (mtimeNs === 0) records['mtime'] = String(mtimeSeconds);
    else records['mtime'] = `-${-mtimeSeconds - 1}.${String(1_000_000_000 - mtimeNs).padStart(9, '0')}`;
    for (const [name, value] of xattrs) {
      records[`SCHILY.xattr.${name}`] = String.fromCharCode(...value);
    }
    return concatBytes([
      pax(records),
      member({ name: '-', mode: octal(given.mode, 8), uid: base256(BigInt(given.uid), 8) }, given.content),
    ]);
  }

  test('readTar() gives back what was written, however the stream is cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 4 }), sizes, async (given, cuts) => {
        const archive = concatBytes([...given.map(encode), END]);
        const entries = await readAll(pieces(archive, cuts));
        assert.deepEqual(
          entries.map(({ path, mode, uid, gid, mtimeSeconds, mtimeNs, content, xattrs }) => ({
            path: path as string,
            mode,
            uid,
            gid,
            mtimeSeconds,
            mtimeNs,
            content,
            xattrs: [...xattrs].map(([name, value]) => [name as string, value]),
          })),
          given.map((one) => ({ ...one, path: one.path as ByteString })),
        );
      }),
      { numRuns: 150 },
    );
  });

  /** Reading ends, well or with one of the three codes. */
  async function endsWell(archive: Bytes): Promise<void> {
    try {
      await readAll(pieces(archive));
    } catch (error) {
      assert.ok(error instanceof ThimbleError, `not one of our errors: ${error}`);
      assert.ok(['FORMAT', 'LIMIT', 'UNSUPPORTED'].includes(error.code), `code ${error.code}`);
    }
  }

  const sample = concatBytes([
    pax({
      path: 'long',
      mtime: '-1.5',
      size: '700',
      'LIBARCHIVE.xattr.user.a': 'AAH/',
      'SCHILY.xattr.b': 'c',
    }),
    member({ uid: base256(99n, 8) }, 'x'.repeat(700)),
    member({ type: 'L' }, 'name\0'),
    header({ type: '3', major: '0000001\0', minor: '0000003\0' }),
    END,
  ]);
  const mutation = fc.tuple(fc.nat(sample.length - END.length - 1), fc.nat(255));

  test('readTar() reads any bytes, or refuses them with a code', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 1600 }), endsWell));
  });

  test('readTar() reads a damaged archive, or refuses it with a code', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(mutation, { minLength: 1, maxLength: 4 }),
        fc.nat(sample.length),
        async (mutations, cut) => {
          const damaged = sample.slice();
          for (const [at, value] of mutations) damaged[at] = value;
          await endsWell(damaged);
          await endsWell(damaged.subarray(0, cut));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('readTar() survives damage that the checksum does not tell', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async (mutations) => {
        const damaged = sample.slice();
        for (const [at, value] of mutations) damaged[at] = value;
        // Blocks that were headers, and are again.
        for (const block of [0, 2, 5, 7]) withChecksum(damaged.subarray(block * BLOCK, (block + 1) * BLOCK));
        await endsWell(damaged);
      }),
      { numRuns: 500 },
    );
  });
});
