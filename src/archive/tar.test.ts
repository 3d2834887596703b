import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
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
} from '../../test/support/tar-archive.ts';
import { ascii, type Bytes, bytesOf, concatBytes } from '../core/bytes/byte-string.ts';
import { type ErrorCode, ThimbleError } from '../core/errors.ts';
import { readTar, type TarEntry } from './tar.ts';

const failsWith = (code: ErrorCode, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ThimbleError, `not one of our errors: ${error}`);
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

describe('readTar() decodes headers', () => {
  test('readTar() decodes every field of a ustar header', async () => {
    const entry = await readOne(
      member(
        {
          name: 'etc/passwd',
          mode: '0100644\0', // with file type bits, as some writers have it
          uid: '0001750\0',
          gid: '0000012 ', // ended by a space
          mtime: '14524770400\0',
          prefix: 'srv/root',
        },
        'root:x:0:0\n',
      ),
    );
    assert.deepEqual(
      { ...entry, content: String.fromCharCode(...entry.content) },
      {
        path: 'srv/root/etc/passwd',
        type: 'file',
        mode: 0o644,
        uid: 1000,
        gid: 10,
        sizeBytes: 11,
        mtimeSeconds: 1_700_000_000,
        mtimeNs: 0,
        link: '',
        major: 0,
        minor: 0,
        xattrs: new Map(),
        contentOffset: 512,
        content: 'root:x:0:0\n',
      },
    );
  });

  const types: readonly [type: string, name: string, expected: TarEntry['type']][] = [
    ['0', 'a', 'file'],
    ['\0', 'a', 'file'],
    ['\0', 'a/', 'directory'],
    ['7', 'a', 'file'],
    ['1', 'a', 'hardlink'],
    ['2', 'a', 'symlink'],
    ['3', 'a', 'character'],
    ['4', 'a', 'block'],
    ['5', 'a/', 'directory'],
    ['6', 'a', 'fifo'],
  ];
  for (const [type, name, expected] of types) {
    test(`readTar() takes type ${JSON.stringify(type)} with name ${name} for a ${expected}`, async () => {
      const entry = await readOne(header({ type, name, link: 'target' }));
      assert.equal(entry.type, expected);
      assert.equal(entry.path, 'a');
      assert.equal(entry.link, 'target');
    });
  }

  test('readTar() decodes the numbers of devices', async () => {
    const entry = await readOne(
      header({ name: 'dev/sda1', type: '4', major: '0000010\0', minor: '0000401\0' }),
    );
    assert.deepEqual([entry.type, entry.major, entry.minor], ['block', 8, 257]);
  });

  test('readTar() ignores the prefix of GNU headers, which holds times there', async () => {
    const entry = await readOne(header({ name: 'a', magic: 'ustar  \0', prefix: '14524770400' }));
    assert.equal(entry.path, 'a');
  });

  test('readTar() takes names of the full width, which have no zero behind them', async () => {
    const entry = await readOne(
      header({ name: 'n'.repeat(100), link: 'l'.repeat(100), prefix: 'p'.repeat(155), type: '2' }),
    );
    assert.equal(entry.path, `${'p'.repeat(155)}/${'n'.repeat(100)}`);
    assert.equal(entry.link, 'l'.repeat(100));
  });

  test('readTar() keeps names that are not UTF-8 byte by byte', async () => {
    assert.equal((await readOne(header({ name: 'caf\xe9\xff' }))).path, 'caf\xe9\xff');
  });

  const numbers: readonly [field: 'uid' | 'mtime' | 'size', text: string, expected: number][] = [
    ['uid', base256(3_000_000n, 8), 3_000_000],
    ['uid', base256(0xffff_fffen, 8), 0xffff_fffe],
    ['mtime', base256(-1n, 12), -1],
    ['mtime', base256(-2_208_988_800n, 12), -2_208_988_800],
    ['mtime', base256(8_589_934_592n, 12), 8_589_934_592],
    ['uid', '        ', 0],
    ['uid', '  17   \0', 15],
  ];
  for (const [field, text, expected] of numbers) {
    test(`readTar() reads ${field} ${JSON.stringify(text)} as ${expected}`, async () => {
      const entry = await readOne(header({ [field]: text }));
      assert.equal({ uid: entry.uid, mtime: entry.mtimeSeconds, size: entry.sizeBytes }[field], expected);
    });
  }

  test('readTar() reads a base-256 size beyond 8 GiB without reading the content', async () => {
    const archive = header({ size: base256(8_589_934_593n, 12) });
    for await (const entry of readTar(pieces(archive))) {
      assert.equal(entry.sizeBytes, 8_589_934_593);
      break;
    }
  });
});

describe('readTar() decodes extensions', () => {
  test('readTar() takes GNU long names and links for the next entry only', async () => {
    const name = `${'d'.repeat(90)}/${'n'.repeat(200)}`;
    const link = `../${'l'.repeat(300)}`;
    const [first, second] = await read(
      member({ name: '././@LongLink', type: 'L', magic: 'ustar  \0' }, `${name}\0`),
      member({ name: '././@LongLink', type: 'K', magic: 'ustar  \0' }, `${link}\0`),
      header({ name: name.slice(0, 100), link: link.slice(0, 100), type: '2', magic: 'ustar  \0' }),
      header({ name: 'next', link: 'short', type: '2', magic: 'ustar  \0' }),
    );
    assert.deepEqual([first!.path, first!.link], [name, link]);
    assert.deepEqual([second!.path, second!.link], ['next', 'short']);
  });

  test('readTar() lets PAX records override the header, for the next entry only', async () => {
    const [first, second] = await read(
      pax({
        path: `${'p'.repeat(300)}/`,
        linkpath: 'q'.repeat(200),
        uid: '4294967294',
        gid: '3000000',
        mtime: '1700000000.123456789',
        comment: 'ignored',
      }),
      header({ name: 'short', type: '2' }),
      header({ name: 'next', uid: '0000005\0' }),
    );
    assert.equal(first!.path, 'p'.repeat(300));
    assert.equal(first!.link, 'q'.repeat(200));
    assert.deepEqual([first!.uid, first!.gid], [4_294_967_294, 3_000_000]);
    assert.deepEqual([first!.mtimeSeconds, first!.mtimeNs], [1_700_000_000, 123_456_789]);
    assert.deepEqual([second!.path, second!.uid, second!.mtimeNs], ['next', 5, 0]);
  });

  test('readTar() takes the size of a file from its PAX record', async () => {
    const content = 'x'.repeat(600);
    const [entry, next] = await read(
      pax({ size: '600' }),
      member({ size: '00000000000\0' }, content),
      header({ name: 'next' }),
    );
    assert.equal(entry!.sizeBytes, 600);
    assert.equal(String.fromCharCode(...entry!.content), content);
    assert.equal(next!.path, 'next');
  });

  test('readTar() keeps global PAX records for all entries, weaker than those of an entry', async () => {
    const [first, second] = await read(
      pax({ uid: '7', mtime: '5' }, 'g'),
      pax({ uid: '8' }),
      header({ name: 'first' }),
      header({ name: 'second' }),
    );
    assert.deepEqual([first!.uid, first!.mtimeSeconds], [8, 5]);
    assert.deepEqual([second!.uid, second!.mtimeSeconds], [7, 5]);
  });

  const times: readonly [text: string, seconds: number, nanoseconds: number][] = [
    ['0', 0, 0],
    ['12.5', 12, 500_000_000],
    ['12.', 12, 0],
    ['12.1234567899', 12, 123_456_789],
    ['-1', -1, 0],
    ['-1.25', -2, 750_000_000],
    ['-0.000000001', -1, 999_999_999],
  ];
  for (const [text, seconds, nanoseconds] of times) {
    test(`readTar() reads PAX mtime ${text} as ${seconds} s and ${nanoseconds} ns`, async () => {
      const entry = await readOne(pax({ mtime: text }), header({}));
      assert.deepEqual([entry.mtimeSeconds, entry.mtimeNs], [seconds, nanoseconds]);
    });
  }

  test('readTar() decodes extended attributes of GNU tar, star and libarchive', async () => {
    const entry = await readOne(
      pax({
        'LIBARCHIVE.xattr.user.both': 'd3Jvbmc=', // "wrong"
        'LIBARCHIVE.xattr.user.a%20b': 'AAH/', // 00 01 ff
        'SCHILY.xattr.user.both': 'exact',
        'SCHILY.xattr.security.capability': '\x01\0\0\x02\n=\xff',
        'SCHILY.xattr.user.100%25%3Dall%41': 'v', // GNU tar escapes = and % alone
        'SCHILY.xattr.user.empty': '',
      }),
      header({}),
    );
    assert.deepEqual([...entry.xattrs].map(([name, value]) => [name as string, [...value]]).sort(), [
      ['security.capability', [1, 0, 0, 2, 10, 61, 255]],
      ['user.100%=all%41', [0x76]],
      ['user.a b', [0, 1, 255]],
      ['user.both', [...'exact'].map((char) => char.charCodeAt(0))],
      ['user.empty', []],
    ]);
  });
});

describe('readTar() reads streams', () => {
  const archive = concatBytes([
    member({ name: 'one' }, 'first'),
    member({ name: 'two' }, 'x'.repeat(1500)),
    member({ name: 'three' }, 'third'),
    END,
  ]);

  test('readTar() skips what nobody reads, wholly or in part', async () => {
    const names: string[] = [];
    for await (const entry of readTar(pieces(archive, [100]))) {
      names.push(entry.path);
      if (entry.path === 'two') {
        for await (const piece of entry.content) {
          assert.ok(piece.length > 0);
          break;
        }
      }
    }
    assert.deepEqual(names, ['one', 'two', 'three']);
  });

  test('readTar() stops at the end marker, whatever follows', async () => {
    const entries = await readAll(pieces(concatBytes([archive, bytesOf(ascii('no header'))])));
    assert.equal(entries.length, 3);
  });

  test('readTar() reads an empty archive', async () => {
    assert.deepEqual(await read(), []);
  });

  test('readTar() passes over empty pieces of its source', async () => {
    async function* source(): AsyncGenerator<Bytes> {
      for await (const piece of pieces(archive, [512])) {
        yield new Uint8Array(0);
        yield piece;
      }
    }
    assert.equal((await readAll(source())).length, 3);
  });

  test('readTar() refuses an archive that is cut anywhere before its end marker', async () => {
    const end = archive.length - END.length;
    for (let cut = 0; cut < end + BLOCK; cut += cut % BLOCK === 0 ? 1 : BLOCK - 1) {
      await assert.rejects(readAll(pieces(archive.subarray(0, cut))), failsWith('FORMAT', /it ends w/));
    }
  });
});

describe('readTar() refuses', () => {
  const flipped = header({});
  flipped[0]! ^= 1;
  const cases: readonly [what: string, code: ErrorCode, message: RegExp, archive: Bytes][] = [
    ['a header that does not match its checksum', 'FORMAT', /checksum/, flipped],
    ['a number that is not octal', 'FORMAT', /uid "0000008" is not octal/, header({ uid: '0000008\0' })],
    ['a negative size', 'FORMAT', /size -5 is negative/, header({ size: base256(-5n, 12) })],
    ['a negative owner', 'FORMAT', /uid -2 is negative/, header({ uid: base256(-2n, 8) })],
    ['a size beyond 2^53', 'LIMIT', /beyond 2\^53/, header({ size: base256(1n << 53n, 12) })],
    ['an unknown type', 'UNSUPPORTED', /type "Z" is not known/, header({ type: 'Z' })],
    [
      'an extended header of more than 16 MiB',
      'LIMIT',
      /16777217 bytes/,
      header({ type: 'x', size: octal(16 * 1024 * 1024 + 1, 12) }),
    ],
    [
      'an extended header that is not there',
      'FORMAT',
      /within an extended header/,
      header({ type: 'x', size: octal(9999, 12) }),
    ],
    [
      'a PAX number that is none',
      'FORMAT',
      /uid "-1" is not a number/,
      concatBytes([pax({ uid: '-1' }), header({})]),
    ],
    [
      'a PAX size beyond 2^53',
      'FORMAT',
      /size "9007199254740993"/,
      concatBytes([pax({ size: '9007199254740993' }), header({})]),
    ],
    [
      'a PAX time that is none',
      'FORMAT',
      /mtime "now" is not a time/,
      concatBytes([pax({ mtime: 'now' }), header({})]),
    ],
    [
      'an attribute that is not base64',
      'FORMAT',
      /base64/,
      concatBytes([pax({ 'LIBARCHIVE.xattr.user.a': '!' }), header({})]),
    ],
  ];
  for (const [what, code, message, archive] of cases) {
    test(`readTar() refuses ${what} with ${code}`, async () => {
      await assert.rejects(readAll(pieces(concatBytes([archive, END]))), failsWith(code, message));
    });
  }

  const records: readonly [what: string, text: string][] = [
    ['without a length', ' path=a\n'],
    ['without a space', '10path=abc'],
    ['with a length that is not decimal', '0xa path=a\n'],
    ['longer than the header', '99 path=a\n'],
    ['too short to be one', '4 a\n'],
    ['without a new line at its end', '10 path=ab'],
    ['without a value', '9 path-a\n'],
    ['whose value is in the next one', '5 ab\n=c\n'],
  ];
  for (const [what, text] of records) {
    test(`readTar() refuses a PAX record ${what} with FORMAT`, async () => {
      const archive = concatBytes([member({ type: 'x' }, text), header({}), END]);
      await assert.rejects(readAll(pieces(archive)), failsWith('FORMAT', /extended header/));
    });
  }
});
