/**
 * A writable overlay over a read-only mount. System calls instead of programs: their errors are told apart by number, and
 * the command that publishes waits for none.
 */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import koffi from 'koffi';
import { ThimbleError } from '../core/errors.ts';
import { unescapeMountinfo } from './fuse-mount.ts';

export interface OverlayOptions {
  /** Has the folders `lower`, `upper` and `work`; `upper` and `work` lie on one file system that keeps attributes. */
  readonly folder: string;
  readonly mountpoint: string;
  /** Shown as the source in mount tables. */
  readonly name: string;
}

/**
 * No redirects and no copies of attributes alone: what is in `upper` is then all that a reader of it needs. The index keeps
 * the names of a hard-linked file together when one of them is written to.
 */
const OPTIONS = 'index=on,xino=on,redirect_dir=off,metacopy=off';
/** Named from the folder itself: no path has to be escaped. */
const LAYERS = 'lowerdir=lower,upperdir=upper,workdir=work';

const EBUSY = 16;
const MS_RDONLY = 1;
const MS_REMOUNT = 32;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

const libc = koffi.load('libc.so.6');
const mount = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const umount2 = libc.func('int umount2(const char *target, int flags)');

/** Mounts. Throws STORAGE, UNSUPPORTED where the folder cannot be written through an overlay. */
export function mountOverlay({ folder, mountpoint, name }: OverlayOptions): void {
  const { status, stderr, error } = spawnSync(
    'mount',
    ['-i', '-t', 'overlay', '-o', `${LAYERS},${OPTIONS}`, name, resolve(mountpoint)],
    { cwd: folder, encoding: 'utf8' },
  );
  if (status !== 0) {
    throw new ThimbleError(
      'STORAGE',
      `Cannot mount an overlay on ${mountpoint}: ${error?.message ?? stderr.trim()}`,
      { hint: SCRATCH_HINT },
    );
  }
  // The kernel mounts without an index where it cannot have one, and says so in its log only.
  if (overlayAt(mountpoint)?.options.includes('index=on')) return;
  unmount(mountpoint);
  throw new ThimbleError(
    'UNSUPPORTED',
    `Cannot keep changes in ${folder}: its file system cannot hold the index of an overlay`,
    {
      hint: SCRATCH_HINT,
    },
  );
}

const SCRATCH_HINT =
  'changes are kept on ext4, xfs, btrfs or tmpfs, not on an overlay or a network; choose a folder there with --scratch DIR';

/** The overlay that is mounted at a path now; `undefined` if something else or nothing is. */
export function overlayAt(
  mountpoint: string,
): { readonly source: string; readonly options: readonly string[] } | undefined {
  const wanted = resolve(mountpoint);
  let found: { type: string; source: string; options: string[] } | undefined;
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const [type = '', source = '', options = ''] = right.split(' ');
    if (unescapeMountinfo(left.split(' ')[4] ?? '') === wanted)
      found = { type, source, options: options.split(',') };
  }
  return found?.type === 'overlay' ? found : undefined;
}

/**
 * Makes the overlay read-only, everywhere it is mounted, or writable again. False if files are open for writing. Throws
 * STORAGE.
 */
export function remountOverlay(mountpoint: string, access: 'read-only' | 'writable'): boolean {
  const flags = MS_REMOUNT | (access === 'read-only' ? MS_RDONLY : 0);
  return call(mount(null, resolve(mountpoint), null, flags, null), `remount ${mountpoint}`);
}

/** Unmounts; false if somebody uses it. `lazily` it goes when its last user does. Throws STORAGE. */
export function unmount(mountpoint: string, how: 'now' | 'lazily' = 'now'): boolean {
  const flags = UMOUNT_NOFOLLOW | (how === 'lazily' ? MNT_DETACH : 0);
  return call(umount2(resolve(mountpoint), flags), `unmount ${mountpoint}`);
}

function call(result: number, what: string): boolean {
  if (result === 0) return true;
  const errno = koffi.errno();
  if (errno === EBUSY) return false;
  throw new ThimbleError('STORAGE', `Cannot ${what}: errno ${errno}`);
}
