import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, makeTree } from '../../test/support/trees.ts';
import { ThimbleError } from '../core/errors.ts';
import { buildTraditionalImage } from './traditional.ts';

const MIB = 1024 * 1024;
const VERSION = '6.12.9-cloud';

const tree = (kernel = `vmlinuz-${VERSION}`) =>
  dir({
    boot: dir({ [kernel]: file('kernel') }),
    etc: dir({ hostname: file('localhost\n') }),
    usr: dir({
      bin: dir({ busybox: file('busybox') }),
      lib: dir({
        modules: dir({
          [VERSION]: dir({
            'virtio_blk.ko': file('driver'),
            'modules.dep': file('virtio_blk.ko:\n'),
            'modules.alias': file('alias virtio:2 virtio_blk\n'),
          }),
        }),
      }),
    }),
  });

describe('buildTraditionalImage()', () => {
  test('buildTraditionalImage() makes a disk that boots a tree', needs('qemu', 'xorriso'), (t) => {
    const folder = scratchFolder(t);
    makeTree(join(folder, 'tree'), tree());
    const output = join(folder, 'disk.qcow2');
    buildTraditionalImage(join(folder, 'tree'), output);
    assert.deepEqual(readdirSync(folder).sort(), ['disk.qcow2', 'tree']);

    const raw = join(folder, 'disk.raw');
    execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', output, raw]);
    const start = Buffer.alloc(MIB);
    const fd = openSync(raw, 'r');
    readSync(fd, start, 0, MIB, 0);
    closeSync(fd);
    assert.equal(start.readUInt16LE(510), 0xaa55);
    assert.ok(
      start.subarray(0, 440).some((byte) => byte !== 0),
      'there is no boot sector',
    );
    assert.ok(
      start.subarray(512, 1024).some((byte) => byte !== 0),
      'there is no boot loader',
    );
    assert.deepEqual([start[446], start[450]], [0x80, 0x83]); // bootable, Linux
    assert.equal(start.readUInt32LE(454), MIB / 512);

    const partition = `${raw}?offset=${MIB}`;
    execFileSync('e2fsck', ['-fn', partition], { stdio: 'pipe' });
    const read = (path: string) =>
      execFileSync('debugfs', ['-R', `cat ${path}`, partition], { stdio: ['ignore', 'pipe', 'ignore'] });
    assert.equal(read('/etc/hostname').toString(), 'localhost\n');
    assert.equal(read('/boot/vmlinuz').toString(), 'kernel');
    assert.match(
      read('/boot/grub/grub.cfg').toString(),
      /^linux \/boot\/vmlinuz .*\ninitrd \/boot\/initrd\nboot\n$/,
    );
    const initrd = zstdDecompressSync(read('/boot/initrd')).toString('latin1');
    for (const part of [
      'findfs LABEL=root',
      'busybox',
      'driver',
      'modules.dep',
      'alias virtio:2 virtio_blk',
    ]) {
      assert.ok(initrd.includes(part), part);
    }
  });

  test('buildTraditionalImage() refuses a tree without a kernel, and leaves nothing behind', (t) => {
    const folder = scratchFolder(t);
    makeTree(join(folder, 'tree'), tree('config'));
    assert.throws(
      () => buildTraditionalImage(join(folder, 'tree'), join(folder, 'disk.qcow2')),
      (error) => error instanceof ThimbleError && error.code === 'NOT_FOUND',
    );
    assert.deepEqual(readdirSync(folder), ['tree']);
    assert.deepEqual(readdirSync(join(folder, 'tree/boot')), ['config']);
  });

  test('buildTraditionalImage() says which program is missing', (t) => {
    const folder = scratchFolder(t);
    makeTree(join(folder, 'tree'), tree());
    const path = process.env['PATH'];
    process.env['PATH'] = folder;
    t.after(() => {
      process.env['PATH'] = path;
    });
    assert.throws(
      () => buildTraditionalImage(join(folder, 'tree'), join(folder, 'disk.qcow2')),
      (error) =>
        error instanceof ThimbleError && error.code === 'NOT_FOUND' && /du failed: /.test(error.message),
    );
    assert.ok(readFileSync(join(folder, 'tree/boot/initrd')).length > 0);
  });
});
