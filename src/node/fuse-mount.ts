/**
 * Mounting without native code: `/dev/fuse` is opened here and handed to mount(8) as its descriptor 3; the kernel then
 * answers on it (docs/adr/0002-fuse-in-typescript.md).
 */

import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ThimbleError } from '../core/errors.ts';

export interface MountOptions {
  readonly mountpoint: string;
  /** Shown as the source in mount tables. */
  readonly name: string;
  /** Honour set-user-id bits and file capabilities: for trusted trees, such as a root file system. */
  readonly suid?: boolean;
  /** Honour device nodes. */
  readonly dev?: boolean;
  /** The kernel checks modes and owners; so it is unless this is `false`. */
  readonly checkPermissions?: boolean;
  /** Let programs be run; so it is unless this is `false`. */
  readonly exec?: boolean;
  /** The mount program; busybox in the virtual machine. */
  readonly command?: readonly string[];
  /** `/dev/fuse`, opened by whoever keeps it; opened here if it is not given. */
  readonly fd?: number | undefined;
}

/** The type that mount tables show. */
export const MOUNT_TYPE = 'fuse.thimble';

/** What the kernel reads ahead, far above the 128 kB that the protocol can ask for. */
const READ_AHEAD_KB = 1024;
const MAX_READ_BYTES = 1024 * 1024;

/** Mounts and returns the descriptor to serve. Throws STORAGE, USAGE. */
export function mountFuse(options: MountOptions): number {
  const mountpoint = resolve(options.mountpoint);
  const fd = options.fd ?? openDevice();
  const flags = [
    'fd=3',
    'rootmode=40000',
    'user_id=0',
    'group_id=0',
    'allow_other',
    ...(options.checkPermissions === false ? [] : ['default_permissions']),
    `max_read=${MAX_READ_BYTES}`,
    'ro',
    options.suid ? 'suid' : 'nosuid',
    options.dev ? 'dev' : 'nodev',
    options.exec === false ? 'noexec' : 'exec',
  ];
  const [program = 'mount', ...rest] = options.command ?? [];
  const result = spawnSync(
    program,
    [...rest, '-i', '-t', MOUNT_TYPE, '-o', flags.join(','), options.name, mountpoint],
    // The kernel sends its first request when mounted; nobody needs to answer before this returns.
    { stdio: ['ignore', 'pipe', 'pipe', fd], encoding: 'utf8' },
  );
  if (result.status !== 0) {
    if (options.fd === undefined) closeSync(fd);
    const why = result.error?.message ?? result.stderr.trim();
    throw new ThimbleError('STORAGE', `Cannot mount on ${mountpoint}: ${why}`, {
      hint: 'mounting needs root, and a folder to mount on',
    });
  }
  setReadAhead(mountpoint);
  return fd;
}

function openDevice(): number {
  try {
    return openSync('/dev/fuse', constants.O_RDWR);
  } catch (error) {
    throw new ThimbleError('STORAGE', 'Cannot open /dev/fuse', {
      hint: 'load the kernel module with "modprobe fuse", and run as root',
      cause: error,
    });
  }
}

/** The line of the mount table for a mount point; `undefined` if nothing is mounted there. */
export function findMount(mountpoint: string): { device: string; type: string; source: string } | undefined {
  const wanted = resolve(mountpoint);
  let found: { device: string; type: string; source: string } | undefined;
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const [, , device = '', , path = ''] = left.split(' ');
    const [type = '', source = ''] = right.split(' ');
    if (unescapeMountinfo(path) === wanted) found = { device, type, source };
  }
  return found;
}

/**
 * Unmounts; a busy mount disappears when its last user is gone, as one does that is to be unmounted lazily. Throws USAGE if nothing of
 * ours is mounted there, STORAGE.
 */
export function unmountFuse(mountpoint: string, isLazy = false): { lazily: boolean } {
  const mount = findMount(mountpoint);
  if (mount === undefined || mount.type !== MOUNT_TYPE) {
    throw new ThimbleError('USAGE', `Cannot unmount ${mountpoint}: no Thimble file system is mounted there`);
  }
  if (!isLazy && spawnSync('umount', [resolve(mountpoint)]).status === 0) return { lazily: false };
  const lazy = spawnSync('umount', ['-l', resolve(mountpoint)], { encoding: 'utf8' });
  if (lazy.status !== 0)
    throw new ThimbleError('STORAGE', `Cannot unmount ${mountpoint}: ${lazy.stderr.trim()}`);
  return { lazily: true };
}

function setReadAhead(mountpoint: string): void {
  const device = findMount(mountpoint)?.device;
  if (device === undefined) return;
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(READ_AHEAD_KB));
  } catch {
    // Slower sequential reads are all that is lost, for instance where /sys is read-only.
  }
}

export function unescapeMountinfo(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
