import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { pieces, readAll } from '../../test/support/tar-archive.ts';
import { type ByteString, type Bytes, byteStringOf, concatBytes } from '../core/bytes/byte-string.ts';
import { encodeTarHeader, type TarMember, writeTar } from './tar-writer.ts';

const none = pieces(new Uint8Array(0));

function member(values: Partial<TarMember>): TarMember {
  return {
    path: '/a' as ByteString,
    type: 'directory',
    mode: 0o755,
    uid: 0,
    gid: 0,
    sizeBytes: 0,
    mtimeSeconds: 0,
    mtimeNs: 0,
    link: '' as ByteString,
    major: 0,
    minor: 0,
    xattrs: new Map(),
    content: none,
    ...values,
  };
}

async function archiveOf(members: readonly TarMember[]): Promise<Bytes> {
  const parts: Bytes[] = [];
  const source = async function* () {
    yield* members;
  };
  for await (const part of writeTar(source())) parts.push(part);
  return concatBytes(parts);
}

describe('writeTar()', () => {
  const nameChars = fc.integer({ min: 1, max: 255 }).map((code) => (code === 0x2f ? 0x30 : code));
  const name = fc
    .array(nameChars, { minLength: 1, maxLength: 120 })
    .map((codes) => String.fromCharCode(...codes));
  const path = fc
    .array(name, { minLength: 1, maxLength: 4 })
    .map((parts) => `/${parts.join('/')}` as ByteString);
  const bytes = fc.uint8Array({ maxLength: 1200 });
  const common = {
    path,
    mode: fc.nat(0o7777),
    uid: fc.nat(0xffff_ffff),
    gid: fc.nat(0xffff_ffff),
    mtimeSeconds: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    mtimeNs: fc.nat(999_999_999),
    xattrs: fc
      .uniqueArray(fc.tuple(name, bytes), { maxLength: 3, selector: ([key]) => key })
      .map((pairs) => new Map(pairs as [ByteString, Bytes][])),
  };
  const anyMember = fc.oneof(
    fc.record({ ...common, bytes }).map(({ bytes, ...values }) => ({
      values: member({ ...values, type: 'file', sizeBytes: bytes.length }),
      bytes,
    })),
    ...(['directory', 'fifo'] as const).map((type) =>
      fc.record(common).map((values) => ({ values: member({ ...values, type }), bytes: new Uint8Array(0) })),
    ),
    ...(['symlink', 'hardlink'] as const).map((type) =>
      fc.record({ ...common, link: path }).map((values) => ({
        values: member({ ...values, type }),
        bytes: new Uint8Array(0),
      })),
    ),
    ...(['character', 'block'] as const).map((type) =>
      fc
        .record({ ...common, major: fc.nat(0xfff), minor: fc.nat(0xfffff) })
        .map((values) => ({ values: member({ ...values, type }), bytes: new Uint8Array(0) })),
    ),
  );

  test('any entries come back as they were', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyMember, { maxLength: 5 }), async (given) => {
        const members = given.map(({ values, bytes }) => ({ ...values, content: pieces(bytes, [700]) }));
        const archive = await archiveOf(members);
        assert.equal(archive.length % 512, 0);
        const entries = await readAll(pieces(archive));
        const relative = (path: string) => path.replace(/^\/+/, '').replace(/\/+$/, '');
        assert.deepEqual(
          entries.map(({ contentOffset: _, ...entry }) => entry),
          given.map(({ values, bytes }) => ({
            ...values,
            path: relative(values.path),
            link: values.type === 'hardlink' ? values.link.slice(1) : values.link,
            content: bytes,
          })),
        );
      }),
      { numRuns: 200 },
    );
  });

  test('same entries are the same bytes, in whatever order their attributes come', async () => {
    const [a, b] = [new Uint8Array([1]), new Uint8Array([2])];
    const one = await archiveOf([
      member({
        xattrs: new Map([
          ['user.a', a],
          ['user.b', b],
        ] as [ByteString, Bytes][]),
      }),
    ]);
    const two = await archiveOf([
      member({
        xattrs: new Map([
          ['user.b', b],
          ['user.a', a],
        ] as [ByteString, Bytes][]),
      }),
    ]);
    assert.deepEqual(one, two);
  });

  test('what a ustar header holds needs no extended header, and the root is a folder with a name', async () => {
    const archive = await archiveOf([
      member({ path: '' as ByteString, uid: 0o7777777, mtimeSeconds: 8 ** 11 - 1 }),
    ]);
    assert.equal(archive.length, 3 * 512);
    assert.equal(byteStringOf(archive, 0, 3), './\0');
  });

  test('a size beyond 8 GiB stands in the extended header', async () => {
    const sizeBytes = 8 ** 11;
    const header = encodeTarHeader(member({ type: 'file', sizeBytes }));
    assert.equal(header.length, 3 * 512);
    assert.match(byteStringOf(header), /19 size=8589934592\n/);
  });

  const file = (sizeBytes: number, content: string) =>
    member({ type: 'file', sizeBytes, content: pieces(Buffer.from(content)) });
  for (const [what, message, given] of [
    ['content that is too short', /it has 3 bytes, 4 expected/, file(4, 'abc')],
    ['content that is too long', /it has 3 bytes, 2 expected/, file(2, 'abc')],
    ['content of a folder', /it has 0 bytes, 5 expected/, member({ sizeBytes: 5 })],
    ['a name with a zero byte', /zero byte/, member({ path: '/a\0b' as ByteString })],
    ['a target with a zero byte', /zero byte/, member({ type: 'symlink', link: 'a\0b' as ByteString })],
    ['a device number that does not fit', /2097152 is too large/, member({ type: 'block', minor: 8 ** 7 })],
    [
      'an attribute without a name',
      /no proper name/,
      member({ xattrs: new Map([['' as ByteString, new Uint8Array(0)]]) }),
    ],
  ] as const) {
    test(`${what} is refused`, async () => {
      await assert.rejects(archiveOf([given]), { code: 'FORMAT', message });
    });
  }
});
