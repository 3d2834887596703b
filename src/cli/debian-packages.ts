/** Programs from Debian that some commands need, and how they get here. */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { ThimbleError } from '../core/errors.ts';

interface DebianPackage {
  readonly name: string;
  /** There when one of these is. */
  readonly files: readonly string[];
  readonly purpose: string;
}

const PACKAGES = {
  mount: { files: ['/usr/bin/mount', '/bin/mount'], purpose: 'mounts file systems' },
  mmdebstrap: { files: ['/usr/bin/mmdebstrap'], purpose: 'builds Debian trees' },
  'debian-archive-keyring': {
    files: ['/usr/share/keyrings/debian-archive-keyring.gpg'],
    purpose: 'keys of the Debian archive',
  },
  'xz-utils': { files: ['/usr/bin/xz'], purpose: 'unpacks kernel modules' },
  'grub-common': { files: ['/usr/bin/grub-mkimage'], purpose: 'makes boot loaders' },
  'grub-pc-bin': { files: ['/usr/lib/grub/i386-pc/cdboot.img'], purpose: 'boot loader for BIOS' },
  'grub-efi-amd64-bin': { files: ['/usr/lib/grub/x86_64-efi/normal.mod'], purpose: 'boot loader for UEFI' },
  mtools: { files: ['/usr/bin/mcopy'], purpose: 'writes the FAT file system of the UEFI loader' },
  xorriso: { files: ['/usr/bin/xorriso'], purpose: 'writes ISO files' },
  'qemu-system-x86': { files: ['/usr/bin/qemu-system-x86_64'], purpose: 'runs virtual machines' },
  'qemu-utils': { files: ['/usr/bin/qemu-img'], purpose: 'compresses disk images' },
  e2fsprogs: { files: ['/usr/sbin/mke2fs', '/sbin/mke2fs'], purpose: 'makes and checks ext4' },
  ovmf: {
    files: ['/usr/share/OVMF/OVMF_CODE.fd', '/usr/share/OVMF/OVMF_CODE_4M.fd'],
    purpose: 'UEFI for virtual machines',
  },
  'nginx-light': { files: ['/usr/sbin/nginx'], purpose: 'a second web server, in tests' },
  autofs: { files: ['/usr/sbin/automount'], purpose: 'mounts what is looked for, in tests' },
  squid: { files: ['/usr/sbin/squid'], purpose: 'a caching proxy, in tests' },
  git: { files: ['/usr/bin/git'], purpose: 'works on a mount, in tests' },
  gcc: { files: ['/usr/bin/gcc'], purpose: 'works on a mount, in tests' },
  'libc6-dev': { files: ['/usr/include/stdlib.h'], purpose: 'what gcc needs, in tests' },
  python3: { files: ['/usr/bin/python3'], purpose: 'works on a mount, in tests' },
  rsync: { files: ['/usr/bin/rsync'], purpose: 'works on a mount, in tests' },
  iproute2: { files: ['/usr/sbin/ip', '/sbin/ip', '/bin/ip'], purpose: 'makes networks that fail, in tests' },
  systemd: { files: ['/usr/bin/systemd-analyze'], purpose: 'checks units, in tests' },
  attr: { files: ['/usr/bin/setfattr'], purpose: 'sets extended attributes, in tests' },
  'squashfs-tools': { files: ['/usr/bin/mksquashfs'], purpose: 'makes squashfs images' },
  'erofs-utils': { files: ['/usr/bin/mkfs.erofs'], purpose: 'makes EROFS images' },
  umoci: { files: ['/usr/bin/umoci'], purpose: 'makes and unpacks container images, in tests' },
  'ceph-mon': { files: ['/usr/bin/ceph-mon'], purpose: 'an object store, in tests' },
  'ceph-osd': { files: ['/usr/bin/ceph-osd'], purpose: 'an object store, in tests' },
  radosgw: { files: ['/usr/bin/radosgw'], purpose: 'an object store, in tests' },
} as const satisfies Record<string, Omit<DebianPackage, 'name'>>;

export type PackageName = keyof typeof PACKAGES;

/** What it takes to build a tree and an image, and to run it. */
export const DEMO_PACKAGES: readonly PackageName[] = [
  'mount',
  'mmdebstrap',
  'debian-archive-keyring',
  'xz-utils',
  'grub-common',
  'grub-pc-bin',
  'grub-efi-amd64-bin',
  'mtools',
  'xorriso',
  'qemu-system-x86',
  'qemu-utils',
  'e2fsprogs',
];

export const TEST_PACKAGES: readonly PackageName[] = [
  ...DEMO_PACKAGES,
  'ovmf',
  'git',
  'gcc',
  'libc6-dev',
  'python3',
  'rsync',
  'iproute2',
  'systemd',
  'attr',
  'squashfs-tools',
  'erofs-utils',
  'umoci',
  'nginx-light',
  'autofs',
  'squid',
  'ceph-mon',
  'ceph-osd',
  'radosgw',
];

export function missingPackages(wanted: readonly PackageName[]): DebianPackage[] {
  return wanted
    .map((name) => ({ name, ...PACKAGES[name] }))
    .filter(({ files }) => !files.some((file) => existsSync(file)));
}

/** Installs what is missing, and says so before. Throws NOT_FOUND, in one line, where that is not possible. */
export function ensurePackages(wanted: readonly PackageName[], say: (line: string) => void): void {
  const missing = missingPackages(wanted);
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name);
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    throw new ThimbleError('NOT_FOUND', `Cannot go on without these Debian packages: ${names.join(' ')}`, {
      hint: `install them as root: apt-get install --no-install-recommends ${names.join(' ')}`,
    });
  }
  say('These Debian packages are missing and will be installed:');
  for (const { name, purpose } of missing) say(`  ${name.padEnd(24)} ${purpose}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (args: readonly string[]) =>
    spawnSync('apt-get', args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  apt(['-qq', 'update']);
  const { status, stderr } = apt(['-qq', '-y', '--no-install-recommends', 'install', ...names]);
  const left = missingPackages(wanted);
  if (status === 0 && left.length === 0) return;
  throw new ThimbleError(
    'STORAGE',
    `Cannot install ${left.map(({ name }) => name).join(' ')}: apt-get ended with status ${status}`,
    {
      hint: stderr.trim().split('\n').at(-1),
    },
  );
}
