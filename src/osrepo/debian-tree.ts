/**
 * Builds a Debian tree as a tar file, with mmdebstrap from the mirror that this machine's apt uses. The result is a
 * machine's root file system without anything that belongs to one machine: no host keys, no machine id, no passwords.
 */

import { spawn } from 'node:child_process';
import { ThimbleError } from '../core/errors.ts';
import { debianMirrors } from './debian-mirrors.ts';

/** A minimal server: what it takes to boot, log in, install packages and look after the machine. */
export const SERVER_PACKAGES: readonly string[] = [
  'apt',
  'bash',
  'busybox-static', // the boot image is made from the tree, and needs one
  'ca-certificates',
  'dbus',
  'e2fsprogs', // makes and checks the file system of a scratch disk
  'iproute2',
  'iputils-ping',
  'kmod',
  'less',
  'libpam-systemd',
  'openssh-server',
  'procps',
  'systemd',
  'systemd-sysv',
  'systemd-timesyncd',
  'udev',
  'vim-tiny',
];

const KERNEL_PACKAGES: Readonly<Record<string, string>> = {
  x64: 'linux-image-cloud-amd64',
  arm64: 'linux-image-cloud-arm64',
};

export interface DebianTreeOptions {
  readonly suite: string;
  readonly packages: readonly string[];
  /** Tar file to write. */
  readonly output: string;
  readonly onProgress?: (line: string) => void;
}

/**
 * Commands that mmdebstrap runs when all packages are installed; `$1` is the tree. Each is one thing that would be wrong
 * in a tree that many machines share.
 */
const FINISHING_TOUCHES: readonly string[] = [
  // The boot image brings its own initrd; this one would be a seventh of the tree.
  'rm -f "$1"/boot/initrd.img* "$1"/initrd.img* "$1"/vmlinuz*',
  // One per machine, made on first use.
  'rm -f "$1"/etc/ssh/ssh_host_*; : > "$1"/etc/machine-id; rm -f "$1"/var/lib/dbus/machine-id',
  'rm -f "$1"/etc/resolv.conf "$1"/etc/hostname; echo localhost > "$1"/etc/hostname',
  'rm -rf "$1"/var/log/*.log "$1"/var/log/apt "$1"/var/cache/ldconfig/aux-cache',
  // Host keys are made at boot, not only on what systemd takes for a first boot; RSA would take seconds.
  `mkdir -p "$1"/etc/systemd/system/sshd-keygen.service.d
cat > "$1"/etc/systemd/system/sshd-keygen.service.d/thimble.conf <<'END'
[Unit]
ConditionFirstBoot=
ConditionPathIsReadWrite=/etc/ssh
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
ExecStart=
ExecStart=ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
END`,
  // The network is up before the tree is there: taken over, never taken down.
  `cat > "$1"/etc/systemd/network/80-thimble.network <<'END'
[Match]
Type=ether
Kind=!*

[Network]
DHCP=yes
KeepConfiguration=dynamic

[DHCPv4]
UseDNS=yes
END`,
  'chroot "$1" systemctl enable systemd-networkd.service',
  // Updates come as revisions; and what walks the whole tree at night would fetch all of it.
  'chroot "$1" systemctl disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer',
  'chroot "$1" systemctl mask systemd-networkd-wait-online.service',
  // Last: says that caches made from /usr, such as that of ldconfig, are up to date. Without it each boot makes them anew,
  // and reads every library to do so.
  'chroot "$1" /usr/lib/systemd/systemd-update-done',
];

/** Throws NOT_FOUND without mmdebstrap, STORAGE when it fails. */
export async function buildDebianTree(options: DebianTreeOptions): Promise<void> {
  const kernel = KERNEL_PACKAGES[process.arch];
  if (kernel === undefined) {
    throw new ThimbleError(
      'UNSUPPORTED',
      `Cannot build a tree: there is no kernel package for ${process.arch}`,
    );
  }
  const mirrors = await debianMirrors(options.suite);
  const args = [
    '--variant=minbase',
    `--include=${[...options.packages, kernel].join(',')}`,
    '--aptopt=APT::Install-Recommends "false"',
    // Never asks for a password, and no initrd is wanted.
    ...FINISHING_TOUCHES.map((command) => `--customize-hook=${command}`),
    options.suite,
    options.output,
    ...mirrors,
  ];
  const env = { ...process.env, LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive', INITRD: 'No' };
  await run('mmdebstrap', args, env, options.onProgress ?? (() => {}));
}

async function run(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  onLine: (line: string) => void,
): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
  const lines: string[] = [];
  let rest = '';
  child.stderr.on('data', (chunk: Buffer) => {
    const pieces = (rest + String(chunk)).split(/[\r\n]+/);
    rest = pieces.pop() ?? '';
    for (const line of pieces) {
      if (line.startsWith('I: ')) onLine(line.slice(3));
      lines.push(line);
    }
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new ThimbleError('NOT_FOUND', `Cannot run ${program}: ${error.code}`, {
          hint: `install it with: apt-get install ${program}`,
        }),
      ),
    );
    child.once('close', resolve);
  });
  if (status === 0) return;
  lines.push(rest);
  const why = lines.filter((line) => /^E: |error|failed/i.test(line)).slice(-3);
  throw new ThimbleError(
    'STORAGE',
    `Cannot build the tree: ${program} ended with status ${status}: ${why.join('; ')}`,
    {
      hint: 'it needs root, or user namespaces, and a Debian mirror that can be reached',
    },
  );
}
