/**
 * What a test needs of the machine. A test whose need is missing is skipped, except where `REQUIRED_TESTS` names the need
 * (`scripts/test.ts` names all of them where it could install everything): then it fails.
 */

import { existsSync } from 'node:fs';
import { release } from 'node:os';

const NEEDS = {
  root: () => process.getuid?.() === 0,
  fuse: hasFuse,
  passthrough: () => hasFuse() && isLinux(6, 9),
  qemu: () => existsSync('/usr/bin/qemu-system-x86_64'),
  mmdebstrap: () => process.getuid?.() === 0 && existsSync('/usr/bin/mmdebstrap'),
  xorriso: () => existsSync('/usr/bin/xorriso') && existsSync('/usr/bin/grub-mkimage'),
  ovmf: () => existsSync('/usr/share/OVMF/OVMF_CODE.fd') || existsSync('/usr/share/OVMF/OVMF_CODE_4M.fd'),
  programs: () => ['git', 'gcc', 'python3', 'apt', 'rsync'].every((name) => existsSync(`/usr/bin/${name}`)),
  python: () => existsSync('/usr/bin/python3'),
  nginx: () => existsSync('/usr/sbin/nginx'),
  squid: () => existsSync('/usr/sbin/squid'),
  autofs: () => existsSync('/usr/sbin/automount') && existsSync('/dev/autofs'),
  systemd: () => existsSync('/usr/bin/systemd-analyze'),
  attr: () => existsSync('/usr/bin/setfattr'),
  squashfs: () => existsSync('/usr/bin/mksquashfs'),
  erofs: () => existsSync('/usr/bin/mkfs.erofs'),
  umoci: () => existsSync('/usr/bin/umoci'),
  ceph: () =>
    ['ceph', 'ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin'].every((name) =>
      existsSync(`/usr/bin/${name}`),
    ),
} as const satisfies Record<string, () => boolean>;

function hasFuse(): boolean {
  return process.getuid?.() === 0 && existsSync('/dev/fuse');
}

function isLinux(major: number, minor: number): boolean {
  const [has = 0, hasMinor = 0] = release().split('.').map(Number);
  return has > major || (has === major && hasMinor >= minor);
}

export type NeedName = keyof typeof NEEDS;

export const ALL_NEEDS = Object.keys(NEEDS) as readonly NeedName[];

/** Options for `test`: skips with a reason, or throws if the need is a required one. */
export function needs(...names: readonly NeedName[]): { skip: string | false } {
  const missing = names.filter((name) => !NEEDS[name]());
  if (missing.length === 0) return { skip: false };
  const required = (process.env['REQUIRED_TESTS'] ?? '').split(',');
  const demanded = missing.filter((name) => required.includes(name));
  if (demanded.length > 0) throw new Error(`REQUIRED_TESTS names ${demanded.join(', ')}, which is not here`);
  return { skip: `needs ${missing.join(', ')}` };
}
