import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import type { SnapshotReader } from '../client/snapshot-reader.ts';
import { type Bytes, byteStringOf } from '../core/bytes/byte-string.ts';
import { ByteReader } from '../core/bytes/reader.ts';
import { ThimbleError } from '../core/errors.ts';
import { buildInitrd, compressArchive, type InitrdInputs, unpackModule } from './initrd.ts';
import { INIT_SCRIPT } from './initrd-scripts.ts';

const VERSION = '6.12.1-cloud';
const MODULES = `/usr/lib/modules/${VERSION}`;
const text = (value: string) => Buffer.from(value, 'latin1');

/** A program of headers alone: an interpreter, and the libraries it needs. */
function elf(interpreter: string | undefined, libraries: readonly string[]): Buffer {
  const strings = ['', ...libraries].map((name) => `${name}\0`).join('');
  const file = Buffer.alloc(0x400);
  file.write('\x7fELF\x02\x01\x01', 'latin1');
  file.writeBigUInt64LE(64n, 32); // program headers
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(3, 56);
  const segments: readonly (readonly [type: number, offset: number, bytes: number])[] = [
    [1, 0, file.length],
    [2, 0x140, (libraries.length + 2) * 16],
    [interpreter === undefined ? 0 : 3, 0x100, 0x40],
  ];
  for (const [index, [type, offset, bytes]] of segments.entries()) {
    file.writeUInt32LE(type, 64 + index * 56);
    file.writeBigUInt64LE(BigInt(offset), 64 + index * 56 + 8);
    file.writeBigUInt64LE(BigInt(offset), 64 + index * 56 + 16);
    file.writeBigUInt64LE(BigInt(bytes), 64 + index * 56 + 32);
  }
  file.write(interpreter ?? '', 0x100);
  file.write(strings, 0x300, 'latin1');
  const dynamic = [
    5n,
    0x300n,
    ...libraries.flatMap((name) => [1n, BigInt(strings.indexOf(`\0${name}\0`) + 1)]),
  ];
  for (const [index, value] of dynamic.entries()) file.writeBigUInt64LE(value, 0x140 + index * 8);
  return file;
}

const LOADER = '/lib64/ld.so';
const ENGINE = elf(LOADER, ['libc.so.6', 'libstdc++.so.6']);
const TREE: Readonly<Record<string, Buffer>> = {
  '/usr/bin/busybox': text('busybox'), // static
  '/usr/sbin/mke2fs': elf(LOADER, ['libext2fs.so.2', 'libc.so.6']),
  '/usr/sbin/e2fsck': elf(LOADER, ['libext2fs.so.2', 'libc.so.6']),
  [LOADER]: elf(undefined, []),
  '/usr/lib/x86_64-linux-gnu/libc.so.6': elf(undefined, ['ld.so']),
  '/usr/lib/x86_64-linux-gnu/ld.so': elf(undefined, []),
  '/usr/lib64/libstdc++.so.6': elf(undefined, ['libm.so.6', 'libc.so.6']),
  '/usr/lib/libm.so.6': elf(undefined, ['libc.so.6']),
  '/usr/lib/aarch64-linux-gnu/libext2fs.so.2': elf(undefined, ['libc.so.6']),
  [`${MODULES}/modules.dep`]: text(
    'kernel/net/virtio_net.ko.gz: kernel/virtio.ko\nkernel/virtio.ko:\nkernel/snd.ko:\n',
  ),
  [`${MODULES}/modules.alias`]: text('alias virtio:1 virtio_net\nalias pci:2 snd\n'),
  [`${MODULES}/modules.builtin`]: text('kernel/fs/ext4.ko\n'),
  [`${MODULES}/kernel/net/virtio_net.ko.gz`]: execFileSync('gzip', ['-nc'], { input: 'driver of the card' }),
  [`${MODULES}/kernel/virtio.ko`]: text('driver of the bus'),
};

/** As much of a snapshot as the initrd is made from. */
function snapshotOf(tree: Readonly<Record<string, Buffer>>): SnapshotReader {
  const readFile = async (path: string) => {
    const content = tree[path];
    if (content === undefined) throw new ThimbleError('NOT_FOUND', `Cannot read ${path}`);
    return content;
  };
  const reader = {
    find: async (path: string) => tree[path],
    readFile,
    readText: async (path: string) => byteStringOf(await readFile(path)),
  };
  return reader as unknown as SnapshotReader;
}

const inputs = (changes: Partial<InitrdInputs> = {}): InitrdInputs => ({
  snapshot: snapshotOf(TREE),
  kernelVersion: VERSION,
  engine: ENGINE,
  guest: text('guest'),
  files: new Map([
    ['/etc/thimble.json', text('{}')],
    ['/etc/keys/1.pub', text('key')],
  ]),
  mtimeSeconds: 1_700_000_000,
  ...changes,
});

interface Member {
  readonly name: string;
  readonly mode: number;
  readonly mtimeSeconds: number;
  readonly content: string;
}

function decodeCpio(archive: Bytes): Member[] {
  const reader = new ByteReader(archive, 'cpio archive');
  const members: Member[] = [];
  for (;;) {
    reader.skip(6);
    const fields = Array.from({ length: 13 }, () => Number.parseInt(reader.byteString(8), 16));
    const name = reader.byteString(fields[11]!).slice(0, -1);
    if (name === 'TRAILER!!!') return members;
    reader.skip(-reader.position & 3);
    const content = reader.byteString(fields[6]!);
    reader.skip(-reader.position & 3);
    members.push({ name, mode: fields[1]!, mtimeSeconds: fields[5]!, content });
  }
}

/** The archives as they are handed over for compression. */
async function archivesOf(given: InitrdInputs): Promise<{ archives: Member[][]; modules: number }> {
  const archives: Member[][] = [];
  const { modules } = await buildInitrd(given, (archive) => {
    archives.push(decodeCpio(archive));
    return new Uint8Array(0);
  });
  return { archives, modules };
}

describe('buildInitrd()', () => {
  test('buildInitrd() packs the engine alone first, and the rest behind', async () => {
    const { archives } = await archivesOf(inputs());
    assert.equal(archives.length, 2);
    const [engine] = archives as [Member[]];
    assert.deepEqual(
      engine.map(({ name, mode }) => [name, mode]),
      [
        ['initramfs', 0o040755],
        ['initramfs/bin', 0o040755],
        ['initramfs/bin/node', 0o100755],
      ],
    );
    assert.deepEqual(text(engine[2]!.content), ENGINE);
  });

  test('buildInitrd() packs scripts, programs, libraries, settings and modules', async () => {
    const { archives, modules } = await archivesOf(inputs());
    const rest = archives[1]!;
    const files = rest.filter(({ mode }) => (mode & 0o170000) === 0o100000);
    const library = `initramfs/lib/modules/${VERSION}`;
    assert.deepEqual(
      files.map(({ name, mode }) => `${name} ${(mode & 0o7777).toString(8)}`),
      [
        'init 755',
        'initramfs/shutdown 755',
        'initramfs/bin/load-modules 755',
        'initramfs/bin/dhcp-script 755',
        'initramfs/guest.js 644',
        'initramfs/bin/busybox 755',
        'initramfs/bin/mke2fs 755',
        'initramfs/bin/e2fsck 755',
        'initramfs/lib/ld.so 755',
        'initramfs/lib/libc.so.6 755',
        'initramfs/lib/libext2fs.so.2 755',
        'initramfs/lib/libm.so.6 755',
        'initramfs/lib/libstdc++.so.6 755',
        'initramfs/lib64/ld.so 755',
        'initramfs/etc/keys/1.pub 644',
        'initramfs/etc/thimble.json 644',
        `${library}/kernel/net/virtio_net.ko 644`,
        `${library}/kernel/virtio.ko 644`,
        `${library}/modules.dep 644`,
        `${library}/modules.alias 644`,
        `${library}/modules.builtin 644`,
      ],
    );
    const contentOf = (name: string) => files.find((file) => file.name === name)?.content;
    assert.equal(contentOf('init'), INIT_SCRIPT);
    assert.equal(contentOf('initramfs/guest.js'), 'guest');
    assert.equal(contentOf(`${library}/kernel/net/virtio_net.ko`), 'driver of the card');
    assert.equal(
      contentOf(`${library}/modules.dep`),
      'kernel/net/virtio_net.ko: kernel/virtio.ko\nkernel/virtio.ko:\n',
    );
    assert.equal(contentOf(`${library}/modules.alias`), 'alias virtio:1 virtio_net\n');
    assert.equal(modules, 2);
  });

  test('buildInitrd() makes every place that something is mounted on or written to', async () => {
    const { archives } = await archivesOf(inputs());
    const rest = archives[1]!;
    const folders = rest.filter(({ mode }) => mode === 0o040755).map(({ name }) => name);
    for (const name of [
      'dev',
      'newroot',
      'proc',
      'sys',
      ...['dev', 'newroot', 'proc', 'ro', 'rw', 'sys', 'handover', 'var/leases', 'o', 'oldroot', 'run'].map(
        (inner) => `initramfs/${inner}`,
      ),
    ]) {
      assert.ok(folders.includes(name), name);
    }
    assert.equal(rest.find(({ name }) => name === 'dev/console')?.mode, 0o020600);
  });

  test('buildInitrd() gives the same bytes for the same inputs, all with one time', async () => {
    const [one, other] = [await buildInitrd(inputs()), await buildInitrd(inputs())];
    assert.ok(Buffer.from(one.bytes).equals(Buffer.from(other.bytes)));
    const { archives } = await archivesOf(inputs());
    assert.deepEqual(
      new Set(archives.flat().map(({ mtimeSeconds }) => mtimeSeconds)),
      new Set([1_700_000_000]),
    );
  });

  test('buildInitrd() puts what was compressed one behind the other', async () => {
    const { bytes } = await buildInitrd(inputs(), (archive) => archive.subarray(0, 6));
    assert.equal(byteStringOf(bytes), '070701070701');
  });

  for (const [missing, message, hint] of [
    ['/usr/bin/busybox', /the snapshot has no \/usr\/bin\/busybox/, /busybox-static and e2fsprogs/],
    ['/usr/sbin/e2fsck', /the snapshot has no \/usr\/sbin\/e2fsck/, /e2fsprogs/],
    ['/usr/lib64/libstdc++.so.6', /the snapshot has no .*libstdc\+\+\.so\.6/, /libstdc\+\+6/],
    [LOADER, /the snapshot has no \/lib64\/ld\.so/, /./],
  ] as const) {
    test(`buildInitrd() says what to install when the tree has no ${missing}`, async () => {
      const { [missing]: _, ...tree } = TREE;
      await assert.rejects(buildInitrd(inputs({ snapshot: snapshotOf(tree) })), (error) => {
        assert.ok(error instanceof ThimbleError);
        assert.equal(error.code, 'NOT_FOUND');
        assert.match(error.message, message);
        assert.match(error.hint ?? '', hint);
        return true;
      });
    });
  }
});

describe('compressArchive()', () => {
  test('compressArchive() gives a zstd frame of the archive', () => {
    const archive = Buffer.alloc(100_000, 'archive');
    const compressed = compressArchive(archive);
    assert.ok(compressed.length < 1000);
    assert.deepEqual(zstdDecompressSync(compressed), archive);
  });
});

describe('unpackModule()', () => {
  const content = Buffer.alloc(50_000, 'module');
  for (const [suffix, program] of [
    ['.gz', 'gzip'],
    ['.xz', 'xz'],
    ['.zst', 'zstd'],
  ] as const) {
    const skip = existsSync(`/usr/bin/${program}`) ? false : `needs ${program}`;
    test(`unpackModule() unpacks modules with the suffix ${suffix}`, { skip }, () => {
      const packed = execFileSync(program, ['-c'], { input: content });
      assert.deepEqual(Buffer.from(unpackModule(`kernel/a.ko${suffix}`, packed)), content);
    });
  }

  test('unpackModule() leaves a plain module as it is', () => {
    assert.equal(unpackModule('kernel/xz.ko', content), content);
  });

  test('unpackModule() names the module that cannot be unpacked, and the program', () => {
    assert.throws(
      () => unpackModule('kernel/a.ko.gz', content),
      (error) =>
        error instanceof ThimbleError &&
        error.code === 'STORAGE' &&
        /Cannot unpack kernel\/a\.ko\.gz with gzip/.test(error.message),
    );
  });
});
