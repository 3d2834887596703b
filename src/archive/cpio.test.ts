import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ascii, type Bytes, bytesOf } from '../core/bytes/byte-string.ts';
import { ByteReader } from '../core/bytes/reader.ts';
import { ThimbleError } from '../core/errors.ts';
import { CpioWriter } from './cpio.ts';

interface CpioEntry {
  readonly inode: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly mtimeSeconds: number;
  readonly major: number;
  readonly minor: number;
  readonly name: string;
  readonly content: Bytes;
}

/** Reads `newc` as the kernel does, and refuses all that the kernel would stumble over. */
function decode(archive: Bytes): CpioEntry[] {
  const reader = new ByteReader(archive, 'cpio archive');
  const align = () => {
    const padding = reader.bytes((4 - (reader.position % 4)) % 4);
    assert.ok(padding.every((byte) => byte === 0));
  };
  const entries: CpioEntry[] = [];
  for (;;) {
    assert.equal(reader.byteString(6), '070701');
    const fields = Array.from({ length: 13 }, () => {
      const digits = reader.byteString(8);
      assert.match(digits, /^[0-9a-f]{8}$/);
      return Number.parseInt(digits, 16);
    });
    const [inode, mode, uid, gid, links, mtimeSeconds, size, , , major, minor, nameBytes, checksum] =
      fields as [number, ...number[]] & number[];
    assert.equal(checksum, 0);
    const name = reader.byteString(nameBytes!);
    assert.equal(name.indexOf('\0'), name.length - 1);
    align();
    const content = reader.bytes(size!);
    align();
    if (name === 'TRAILER!!!\0') break;
    entries.push({
      inode,
      mode: mode!,
      uid: uid!,
      gid: gid!,
      links: links!,
      mtimeSeconds: mtimeSeconds!,
      major: major!,
      minor: minor!,
      name: name.slice(0, -1),
      content,
    });
  }
  assert.ok(reader.bytes(reader.remaining).every((byte) => byte === 0));
  return entries;
}

const text = (value: string) => bytesOf(ascii(value));
const namesOf = (archive: Bytes) => decode(archive).map(({ name }) => name);

describe('CpioWriter', () => {
  test('CpioWriter writes the bytes of the newc format', () => {
    const archive = new CpioWriter(1_700_000_000).file('init', text('#!/sh'), 0o755).finish();
    const rows = [
      '070701', // magic
      '00000001', // inode
      '000081ed', // regular file, mode 0755
      '00000000', // uid
      '00000000', // gid
      '00000001', // links
      '6553f100', // 2023-11-14 22:13:20
      '00000005', // size
      '00000000', // device, major
      '00000000', // device, minor
      '00000000', // device number, major
      '00000000', // device number, minor
      '00000005', // name with its zero
      '00000000', // checksum
      'init\0',
      '\0', // 110 + 5 bytes, to a multiple of 4
      '#!/sh',
      '\0\0\0',
      `070701${'00000000'.repeat(4)}00000001${'00000000'.repeat(6)}0000000b00000000`,
      'TRAILER!!!\0',
    ].join('');
    assert.equal(String.fromCharCode(...archive), rows.padEnd(512, '\0'));
  });

  test('CpioWriter writes directories, symlinks and devices', () => {
    const archive = new CpioWriter(7)
      .directory('dev')
      .characterDevice('dev/console', 5, 1)
      .symlink('sh', 'bin/busybox')
      .directory('tmp', 0o1777)
      .finish();
    const common = { uid: 0, gid: 0, links: 1, mtimeSeconds: 7, major: 0, minor: 0, content: text('') };
    assert.deepEqual(decode(archive), [
      { ...common, inode: 1, mode: 0o040755, name: 'dev' },
      { ...common, inode: 2, mode: 0o020600, name: 'dev/console', major: 5, minor: 1 },
      { ...common, inode: 3, mode: 0o120777, name: 'sh', content: text('bin/busybox') },
      { ...common, inode: 4, mode: 0o041777, name: 'tmp' },
    ]);
  });

  test('CpioWriter adds missing parents before an entry, and each but once', () => {
    const archive = new CpioWriter(0)
      .file('a/b/c', text(''))
      .directory('a/b')
      .symlink('a/d/e', 'c')
      .characterDevice('a/b/null', 1, 3)
      .finish();
    assert.deepEqual(namesOf(archive), ['a', 'a/b', 'a/b/c', 'a/d', 'a/d/e', 'a/b/null']);
  });

  test('CpioWriter has no entry for the root itself', () => {
    assert.deepEqual(namesOf(new CpioWriter(0).directory('').finish()), []);
  });

  for (const mtimeSeconds of [-1, 2 ** 32, Number.NaN]) {
    test(`CpioWriter refuses a time of ${mtimeSeconds} with LIMIT`, () => {
      assert.throws(
        () => new CpioWriter(mtimeSeconds).file('a', text('')),
        (error) => error instanceof ThimbleError && error.code === 'LIMIT',
      );
    });
  }

  test('CpioWriter takes the last time that 32 bits hold', () => {
    assert.equal(decode(new CpioWriter(2 ** 32 - 1).directory('a').finish())[0]!.mtimeSeconds, 2 ** 32 - 1);
  });
});

describe('properties of CpioWriter', () => {
  const name = fc.stringMatching(/^[a-z\xff ]{1,9}$/);
  const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const files = fc.uniqueArray(fc.tuple(path, fc.uint8Array({ maxLength: 40 }), fc.nat(0o7777)), {
    maxLength: 8,
    selector: ([key]) => key,
  });

  test('CpioWriter keeps every file, in order, behind its parents', () => {
    fc.assert(
      fc.property(files, (given) => {
        const writer = new CpioWriter(0);
        for (const [key, content, mode] of given) writer.file(key, content, mode);
        const archive = writer.finish();
        assert.equal(archive.length % 512, 0);
        const entries = decode(archive);
        const regular = entries.filter(({ mode }) => (mode & 0o170000) === 0o100000);
        assert.deepEqual(
          regular.map((entry) => [entry.name, entry.content, entry.mode & 0o7777]),
          given,
        );
        assert.deepEqual(
          entries.map(({ inode }) => inode),
          entries.map((_, index) => index + 1),
        );
        const seen = new Set(['']);
        for (const entry of entries) {
          assert.ok(seen.has(entry.name.slice(0, Math.max(entry.name.lastIndexOf('/'), 0))), entry.name);
          seen.add(entry.name);
        }
      }),
    );
  });
});
