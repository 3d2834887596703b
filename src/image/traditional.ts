/**
 * The way of today, for comparison: a bootable disk image of a tree, with boot loader, kernel, initrd and one ext4 file
 * system that holds everything, as compressed qcow2. Honestly made: no step that a careful administrator would leave out,
 * none that they would not take.
 */

import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { CpioWriter } from '../archive/cpio.ts';
import { encodeUtf8 } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { compressArchive, unpackModule } from './initrd.ts';
import { BOOT_MODULES, newestKernel, selectModules, uncompressedName } from './kernel-modules.ts';

const MIB = 1024 * 1024;
const SECTOR = 512;
/** Where partitions begin; the boot loader lives before. */
const PARTITION_OFFSET = MIB;
const LABEL = 'root';
/** Room to work in, as disk images of distributions have it. */
const FREE_BYTES = 256 * MIB;
const GRUB_FOLDER = '/usr/lib/grub/i386-pc';

const INIT = `#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
$B modprobe -a virtio_pci virtio_blk
for n in 1 2 3 4 5 6 7 8 9; do
  D=$($B findfs LABEL=${LABEL}) && break
  $B sleep 0.2
done
$B mount -t ext4 "$D" /root
for d in proc sys dev; do $B mount --move /$d /root/$d; done
exec $B switch_root /root /sbin/init
`;

/** Makes `output` from the tree in `folder`, which gets a boot menu and an initrd. Throws NOT_FOUND, STORAGE. */
export function buildTraditionalImage(folder: string, output: string): void {
  const raw = `${output}.raw`;
  try {
    installBootFiles(folder);
    const bytes = diskBytes(folder);
    rmSync(raw, { force: true });
    writeFileSync(raw, partitionTable(bytes));
    truncateSync(raw, bytes);
    const kilobytes = (bytes - PARTITION_OFFSET) / 1024;
    run('mke2fs', [
      '-q',
      '-F',
      '-t',
      'ext4',
      '-L',
      LABEL,
      '-d',
      folder,
      '-E',
      `offset=${PARTITION_OFFSET}`,
      raw,
      `${kilobytes}k`,
    ]);
    installBootLoader(raw, output);
    run('qemu-img', ['convert', '-c', '-O', 'qcow2', raw, output]);
  } finally {
    rmSync(raw, { force: true });
  }
}

function installBootFiles(folder: string): void {
  const version = newestKernel(readdirSync(join(folder, 'boot')));
  const modules = join(folder, 'usr/lib/modules', version);
  const read = (name: string) => readFileSync(join(modules, name));
  const { paths, dependencies, aliases } = selectModules(
    String(read('modules.dep')),
    String(read('modules.alias')),
    BOOT_MODULES,
  );
  const archive = new CpioWriter(0);
  for (const name of ['dev', 'proc', 'root', 'sys']) archive.directory(name);
  archive.file('init', encodeUtf8(INIT), 0o755);
  archive.file('bin/busybox', readFileSync(join(folder, 'usr/bin/busybox')), 0o755);
  for (const path of paths)
    archive.file(`lib/modules/${version}/${uncompressedName(path)}`, unpackModule(path, read(path)));
  archive.file(`lib/modules/${version}/modules.dep`, encodeUtf8(dependencies));
  archive.file(`lib/modules/${version}/modules.alias`, encodeUtf8(aliases));
  writeFileSync(join(folder, 'boot/initrd'), compressArchive(archive.finish()));
  copyFileSync(join(folder, 'boot', `vmlinuz-${version}`), join(folder, 'boot/vmlinuz'));
  mkdirSync(join(folder, 'boot/grub'), { recursive: true });
  writeFileSync(
    join(folder, 'boot/grub/grub.cfg'),
    'linux /boot/vmlinuz console=tty0 console=ttyS0,115200 quiet\ninitrd /boot/initrd\nboot\n',
  );
}

function diskBytes(folder: string): number {
  const used = Number(run('du', ['-sx', '--block-size=1', folder]).split('\t')[0]);
  // ext4 takes some for itself: inode tables, journal.
  return Math.ceil((used * 1.1 + FREE_BYTES + 64 * MIB) / MIB) * MIB;
}

/** An MBR with one bootable Linux partition. */
function partitionTable(diskSizeBytes: number): Buffer {
  const mbr = Buffer.alloc(SECTOR);
  const entry = 446;
  mbr[entry] = 0x80;
  mbr[entry + 4] = 0x83;
  mbr.writeUInt32LE(PARTITION_OFFSET / SECTOR, entry + 8);
  mbr.writeUInt32LE((diskSizeBytes - PARTITION_OFFSET) / SECTOR, entry + 12);
  mbr.writeUInt16LE(0xaa55, 510);
  return mbr;
}

/** GRUB's boot sector around the partition table, its core right behind: where the boot sector looks for it. */
function installBootLoader(raw: string, output: string): void {
  const core = `${output}.core`;
  const modules = ['biosdisk', 'part_msdos', 'ext2', 'linux', 'configfile', 'normal'];
  run('grub-mkimage', [
    '-O',
    'i386-pc',
    '-d',
    GRUB_FOLDER,
    '-p',
    '(hd0,msdos1)/boot/grub',
    '-o',
    core,
    ...modules,
  ]);
  const boot = readFileSync(join(GRUB_FOLDER, 'boot.img'));
  const fd = openSync(raw, 'r+');
  try {
    // The first 440 bytes are code; disk signature and table stay.
    writeSync(fd, boot, 0, 440, 0);
    if (statSync(core).size > PARTITION_OFFSET - SECTOR)
      throw new ThimbleError('INTERNAL', 'GRUB does not fit before the partition');
    writeSync(fd, readFileSync(core), 0, undefined, SECTOR);
  } finally {
    closeSync(fd);
    rmSync(core);
  }
}

function run(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string };
    throw new ThimbleError(
      code === 'ENOENT' ? 'NOT_FOUND' : 'STORAGE',
      `Cannot build disk image: ${program} failed: ${stderr ?? code}`,
      {
        cause: error,
      },
    );
  }
}
