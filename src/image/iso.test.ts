import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import { type IsoInputs, writeIso } from './iso.ts';

/** FAT counts time in steps of two seconds, ISO 9660 in seconds. */
const LONGER_THAN_A_TICK_MS = 2100;

const INPUTS: IsoInputs = {
  kernel: Buffer.alloc(10_000, 'kernel'),
  initrd: Buffer.alloc(30_001, 'initrd'),
  title: 'os.example.org',
  commandLine: 'console=tty0 console=ttyS0,115200',
  mtimeSeconds: 1_700_000_000,
};

function isoOf(t: TestContext, changes: Partial<IsoInputs> = {}): { iso: string; folder: string } {
  const folder = scratchFolder(t);
  const iso = join(folder, 'os.iso');
  writeIso({ ...INPUTS, ...changes }, iso);
  return { iso, folder };
}

const xorriso = (...args: string[]) =>
  execFileSync('xorriso', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

function extract(iso: string, path: string, to: string): Buffer {
  xorriso('-osirrox', 'on', '-indev', iso, '-extract', path, to);
  return readFileSync(to);
}

function setVariable(t: TestContext, name: string, value: string): void {
  const before = process.env[name];
  process.env[name] = value;
  t.after(() => {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  });
}

describe('writeIso()', needs('xorriso'), () => {
  test('writeIso() gives the same bytes at another time, place, time zone and umask', async (t) => {
    const first = readFileSync(isoOf(t).iso);
    const started = performance.now();
    setVariable(t, 'TZ', 'Pacific/Kiritimati');
    setVariable(t, 'TMPDIR', scratchFolder(t));
    setVariable(t, 'LANG', 'de_DE.UTF-8');
    const umask = process.umask(0o077);
    t.after(() => process.umask(umask));
    await delay(LONGER_THAN_A_TICK_MS);
    const folder = join(scratchFolder(t), 'a longer folder, with a comma');
    mkdirSync(folder);
    const output = join(folder, 'other name.img');
    writeIso(INPUTS, output);
    assert.ok(performance.now() - started > LONGER_THAN_A_TICK_MS);
    assert.ok(readFileSync(output).equals(first), 'the images differ');
  });

  for (const [what, changes] of [
    ['kernel', { kernel: Buffer.alloc(10_000, 'KERNEL') }],
    ['initrd', { initrd: Buffer.alloc(30_001, 'INITRD') }],
    ['title', { title: 'os.example.com' }],
    ['time', { mtimeSeconds: INPUTS.mtimeSeconds + 86_400 }],
  ] as const) {
    test(`writeIso() gives other bytes for another ${what}`, (t) => {
      const [one, other] = [isoOf(t), isoOf(t, changes)].map(({ iso }) => readFileSync(iso));
      assert.ok(!one!.equals(other!));
    });
  }

  test('writeIso() makes an image that BIOS and UEFI boot from a CD', (t) => {
    const report = xorriso('-indev', isoOf(t).iso, '-report_el_torito', 'plain');
    assert.match(report, /^El Torito boot img : +1 +BIOS +y +none /m);
    assert.match(report, /^El Torito boot img : +2 +UEFI +y +none /m);
    assert.match(report, /^El Torito img path : +1 +\/boot\/grub\/bios\.img$/m);
    assert.match(report, /^El Torito img path : +2 +\/boot\/grub\/efi\.img$/m);
    assert.match(report, /^El Torito img opts : +1 +boot-info-table grub2-boot-info$/m);
  });

  test('writeIso() makes an image that BIOS and UEFI boot from a disk', (t) => {
    const { iso } = isoOf(t);
    const report = xorriso('-indev', iso, '-report_system_area', 'plain');
    assert.match(report, /^System area summary: .*grub2-mbr.* GPT$/m);
    assert.match(report, /^GPT partition path : +\d+ +\/boot\/grub\/efi\.img$/m);
    const sector = readFileSync(iso).subarray(0, 512);
    assert.equal(sector.readUInt16LE(510), 0xaa55);
    assert.ok(sector.subarray(0, 440).some((byte) => byte !== 0));
  });

  test('writeIso() holds kernel and initrd as they are', (t) => {
    const { iso, folder } = isoOf(t);
    assert.deepEqual(extract(iso, '/boot/vmlinuz', join(folder, 'vmlinuz')), INPUTS.kernel);
    assert.deepEqual(extract(iso, '/boot/initrd', join(folder, 'initrd')), INPUTS.initrd);
    assert.match(xorriso('-indev', iso, '-pvd_info'), /^Volume Id +: THIMBLE_BOOT$/m);
  });

  test('writeIso() writes a boot menu on every console, with a second entry for the shell', (t) => {
    const { iso, folder } = isoOf(t);
    assert.equal(
      extract(iso, '/boot/grub/grub.cfg', join(folder, 'grub.cfg')).toString(),
      `serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=1
set default=0
menuentry "os.example.org" {
  linux /boot/vmlinuz console=tty0 console=ttyS0,115200 quiet
  initrd /boot/initrd
}
menuentry "os.example.org (every message, and a shell when the boot fails)" {
  linux /boot/vmlinuz console=tty0 console=ttyS0,115200 thimble.rescue
  initrd /boot/initrd
}
`,
    );
  });

  test('writeIso() puts the boot loader where UEFI looks for it', (t) => {
    const { iso, folder } = isoOf(t);
    const fat = join(folder, 'efi.img');
    extract(iso, '/boot/grub/efi.img', fat);
    const program = execFileSync('mtype', ['-i', fat, '::/EFI/BOOT/BOOTX64.EFI'], { maxBuffer: 1 << 24 });
    assert.equal(program.toString('latin1', 0, 2), 'MZ');
  });

  test('writeIso() leaves neither parts nor its own files behind', (t) => {
    const work = scratchFolder(t);
    setVariable(t, 'TMPDIR', work);
    const folder = join(work, 'out');
    mkdirSync(folder);
    writeIso(INPUTS, join(folder, 'os.iso'));
    assert.deepEqual([readdirSync(work), readdirSync(folder)], [['out'], ['os.iso']]);
  });

  test('writeIso() keeps what was there when it fails, and leaves nothing behind', (t) => {
    const work = scratchFolder(t);
    const programs = scratchFolder(t);
    writeFileSync(join(programs, 'xorriso'), '#!/bin/sh\necho one >&2; echo "disk is full" >&2; exit 5\n', {
      mode: 0o755,
    });
    setVariable(t, 'TMPDIR', work);
    setVariable(t, 'PATH', `${programs}:${process.env['PATH']}`);
    const output = join(programs, 'os.iso');
    writeFileSync(output, 'precious');
    assert.throws(
      () => writeIso(INPUTS, output),
      (error) =>
        error instanceof ThimbleError &&
        error.code === 'STORAGE' &&
        error.message === 'Cannot build image: xorriso failed: one; disk is full',
    );
    assert.equal(readFileSync(output, 'utf8'), 'precious');
    assert.deepEqual(readdirSync(work), []);
    assert.deepEqual(readdirSync(programs).sort(), ['os.iso', 'xorriso']);
  });

  test('writeIso() says which package to install when a tool is missing', (t) => {
    setVariable(t, 'PATH', scratchFolder(t));
    assert.throws(
      () => isoOf(t),
      (error) =>
        error instanceof ThimbleError &&
        error.code === 'NOT_FOUND' &&
        /grub-mkimage is not installed/.test(error.message) &&
        error.hint === 'install the package grub-common',
    );
  });
});
