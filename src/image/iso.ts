/**
 * Makes a bootable ISO: GRUB for BIOS (El Torito and hybrid MBR, so that it also boots from a stick or as a disk) and for
 * UEFI (a FAT image). The containers are made by GRUB, mtools and xorriso; what is set here is that the same inputs give
 * the same bytes.
 */

import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';

export interface IsoInputs {
  readonly kernel: Bytes;
  readonly initrd: Bytes;
  /** Shown in the boot menu. */
  readonly title: string;
  readonly commandLine: string;
  readonly mtimeSeconds: number;
}

const VOLUME = 'THIMBLE_BOOT';
const GRUB_FOLDER = '/usr/lib/grub';
const MENU_SECONDS = 1;

/** What GRUB needs to find a menu and a kernel on an ISO, and no more. */
const GRUB_MODULES = [
  'iso9660',
  'search',
  'search_fs_file',
  'configfile',
  'normal',
  'linux',
  'serial',
  'terminal',
  'echo',
  'test',
];

/** Found by this file, whatever the firmware calls the device. */
const BEACON = '/boot/grub/grub.cfg';

/** Writes the ISO to `output`, whole or not at all. Throws NOT_FOUND for missing tools, STORAGE. */
export function writeIso(inputs: IsoInputs, output: string): void {
  const work = mkdtempSync(join(tmpdir(), 'thimble-iso-'));
  try {
    const root = join(work, 'root');
    mkdirSync(join(root, 'boot', 'grub'), { recursive: true });
    writeFileSync(join(root, 'boot', 'vmlinuz'), inputs.kernel);
    writeFileSync(join(root, 'boot', 'initrd'), inputs.initrd);
    writeFileSync(join(root, BEACON), menu(inputs));
    const early = join(work, 'early.cfg');
    writeFileSync(
      early,
      `search --no-floppy --file --set=root ${BEACON}\nset prefix=($root)/boot/grub\nconfigfile ${BEACON}\n`,
    );
    const bios = join(root, 'boot', 'grub', 'bios.img');
    grubImage('i386-pc-eltorito', 'i386-pc', early, bios, ['biosdisk']);
    const efi = join(work, 'bootx64.efi');
    grubImage('x86_64-efi', 'x86_64-efi', early, efi, ['fat', 'part_gpt', 'part_msdos']);
    efiImage(efi, join(root, 'boot', 'grub', 'efi.img'), inputs.mtimeSeconds);
    setTimes(root, inputs.mtimeSeconds);
    const partial = `${resolve(output)}.partial`;
    try {
      xorriso(root, partial, inputs.mtimeSeconds);
      renameSync(partial, output);
    } finally {
      rmSync(partial, { force: true });
    }
  } finally {
    rmSync(work, { recursive: true });
  }
}

function menu({ title, commandLine }: IsoInputs): string {
  const entry = (name: string, more: string) =>
    `menuentry "${name}" {\n  linux /boot/vmlinuz ${commandLine}${more}\n  initrd /boot/initrd\n}\n`;
  return [
    'serial --unit=0 --speed=115200\n',
    'terminal_input console serial\n',
    'terminal_output console serial\n',
    `set timeout=${MENU_SECONDS}\n`,
    'set default=0\n',
    entry(title, ' quiet'),
    entry(`${title} (every message, and a shell when the boot fails)`, ' thimble.rescue'),
  ].join('');
}

function grubImage(
  format: string,
  folder: string,
  config: string,
  output: string,
  more: readonly string[],
): void {
  const modules = join(GRUB_FOLDER, folder);
  if (!existsSync(modules)) {
    throw new ThimbleError('NOT_FOUND', `Cannot build image: there is no ${modules}`, {
      hint: 'install the packages grub-pc-bin and grub-efi-amd64-bin',
    });
  }
  run('grub-mkimage', [
    '-O',
    format,
    '-d',
    modules,
    '-p',
    '/boot/grub',
    '-c',
    config,
    '-o',
    output,
    ...GRUB_MODULES,
    ...more,
  ]);
}

/** A FAT file system just large enough for the boot loader. */
function efiImage(program: string, output: string, mtimeSeconds: number): void {
  utimesSync(program, mtimeSeconds, mtimeSeconds);
  const kilobytes = Math.ceil(statSync(program).size / 1024) + 64;
  // Serial number and times would be those of now.
  const env = { SOURCE_DATE_EPOCH: String(mtimeSeconds), TZ: 'UTC', MTOOLS_SKIP_CHECK: '1' };
  run(
    'mformat',
    [
      '-C',
      '-i',
      output,
      '-N',
      '00000000',
      '-v',
      'THIMBLE',
      '-T',
      String(kilobytes * 2),
      '-h',
      '1',
      '-s',
      '1',
      '::',
    ],
    env,
  );
  run('mmd', ['-i', output, '::/EFI', '::/EFI/BOOT'], env);
  run('mcopy', ['-m', '-i', output, program, '::/EFI/BOOT/BOOTX64.EFI'], env);
}

function xorriso(root: string, output: string, mtimeSeconds: number): void {
  const date = new Date(mtimeSeconds * 1000).toISOString().replace(/[-:T]|\..*$/g, '');
  const args = [
    ['-as', 'mkisofs', '-quiet', '-o', output],
    ['-V', VOLUME, '-r', '-iso-level', '3'],
    // Volume times, file times and the GUIDs of the partition table follow from this.
    [`--modification-date=${date}00`, '--set_all_file_dates', 'set_to_mtime'],
    // BIOS, from CD and from disk
    [
      '-b',
      'boot/grub/bios.img',
      '-no-emul-boot',
      '-boot-load-size',
      '4',
      '-boot-info-table',
      '--grub2-boot-info',
    ],
    ['--grub2-mbr', join(GRUB_FOLDER, 'i386-pc', 'boot_hybrid.img')],
    // UEFI, likewise
    ['--efi-boot', 'boot/grub/efi.img', '-efi-boot-part', '--efi-boot-image', '--protective-msdos-label'],
    [root],
  ];
  run('xorriso', args.flat(), { SOURCE_DATE_EPOCH: String(mtimeSeconds) });
}

function setTimes(folder: string, mtimeSeconds: number): void {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    utimesSync(join(entry.parentPath, entry.name), mtimeSeconds, mtimeSeconds);
  }
  utimesSync(folder, mtimeSeconds, mtimeSeconds);
}

const PACKAGES: Readonly<Record<string, string>> = {
  'grub-mkimage': 'grub-common',
  mformat: 'mtools',
  mmd: 'mtools',
  mcopy: 'mtools',
  xorriso: 'xorriso',
};

function run(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  try {
    return execFileSync(program, args, {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string };
    if (code === 'ENOENT') {
      throw new ThimbleError('NOT_FOUND', `Cannot build image: ${program} is not installed`, {
        hint: `install the package ${PACKAGES[program] ?? program}`,
      });
    }
    const why = (stderr ?? '').trim().split('\n').slice(-3).join('; ');
    throw new ThimbleError('STORAGE', `Cannot build image: ${program} failed: ${why}`, { cause: error });
  }
}
