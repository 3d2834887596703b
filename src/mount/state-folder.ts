/**
 * The state folder of a mount: what the processes of one mount tell each other and whoever comes after them. It holds the
 * control socket, the journal of attached catalogs and the command that serves the mount.
 */

import {
  mkdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { crc32 } from 'node:zlib';
import { ThimbleError } from '../core/errors.ts';
import { findMount, MOUNT_TYPE } from '../node/fuse-mount.ts';
import { makeFolder } from '../node/make-folder.ts';

/** The path of a UNIX socket may have 107 bytes, and the folder's name is in it. */
const MAX_NAME_LENGTH = 56;

/** `THIMBLE_STATE`, `/run/thimble` for root, else the user's run-time folder. */
export function stateRoot(environment: NodeJS.ProcessEnv = process.env): string {
  if (environment['THIMBLE_STATE'] !== undefined) return resolve(environment['THIMBLE_STATE']);
  if (process.getuid?.() === 0) return '/run/thimble';
  return join(environment['XDG_RUNTIME_DIR'] ?? `/tmp/thimble-${process.getuid?.() ?? 0}`, 'thimble');
}

/** The state folder of what is mounted at `mountpoint`; it need not exist. */
export function stateFolderOf(mountpoint: string): string {
  return join(stateRoot(), escapedName(resolve(mountpoint)));
}

/** The names of files in a state folder. */
export const STATE_FILES = {
  /** A shell script of one command: what serves the mount. */
  command: 'command',
  /** The one before an upgrade, until the new one has served. */
  previousCommand: 'command.previous',
  /** The journal of `MountJournal`. */
  journal: 'journal',
  /** Process id of the supervisor, or of the server where there is none. */
  pid: 'pid',
  /** Process id of the server, once it answers the kernel. */
  served: 'served',
  /** What `OpenFiles` keeps. */
  openFiles: 'open-files',
  control: 'control.sock',
  /** Speaks the protocol of `cvmfs_talk`. */
  talk: 'talk.sock',
} as const;

/**
 * `/mnt/os` is `mnt-os`. What is not a plain letter is written as two hexadecimal digits behind `%`; the end of a long name
 * is replaced by a checksum of all of it.
 */
function escapedName(mountpoint: string): string {
  const name = mountpoint
    .slice(1)
    .replace(/[^A-Za-z0-9._/]/gu, (character) => Buffer.from(character).toString('hex').replace(/../g, '%$&'))
    .replaceAll('/', '-');
  if (name === '') return '-';
  if (name.length <= MAX_NAME_LENGTH) return name.replace(/^\./, '%2e');
  const hash = crc32(mountpoint).toString(16).padStart(8, '0');
  return `${name.slice(0, MAX_NAME_LENGTH - 9).replace(/^\./, '%2e')}~${hash}`;
}

/**
 * Makes the state folder of a mount that is to be, and makes it this process's working folder: that is how its owner is known.
 * One that a dead mount left behind is removed; one of a mount that was unmounted while in use is renamed, since its process goes
 * on. Throws CONFLICT if something of ours is mounted or being mounted there, STORAGE.
 */
export function claimStateFolder(mountpoint: string): string {
  const folder = stateFolderOf(mountpoint);
  const fresh = `${folder}.new-${process.pid}`;
  try {
    makeFolder(stateRoot(), 0o755);
    const owner = ownerOf(folder);
    if (owner === undefined) rmSync(folder, { recursive: true, force: true });
    else if (wasMounted(folder) && findMount(mountpoint)?.type !== MOUNT_TYPE)
      renameSync(folder, `${folder}.${owner}`);
    mkdirSync(fresh, { mode: 0o700 });
    writeFileSync(join(fresh, STATE_FILES.pid), `${process.pid}\n`);
    process.chdir(fresh);
    renameSync(fresh, folder);
    return folder;
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === 'rename' && (code === 'ENOTEMPTY' || code === 'EEXIST')) {
      throw new ThimbleError(
        'CONFLICT',
        `Cannot mount on ${mountpoint}: something is mounted there, or being mounted`,
        {
          hint: `unmount it with: thimble umount ${mountpoint}`,
        },
      );
    }
    throw new ThimbleError('STORAGE', `Cannot make state folder ${folder}`, {
      hint: 'name another place in THIMBLE_STATE',
      cause: error,
    });
  }
}

/** The process that a state folder belongs to: it works in there. `undefined` if it is gone. */
export function ownerOf(folder: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(folder, STATE_FILES.pid), 'latin1'));
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder) ? pid : undefined;
  } catch {
    // No folder, no process, or none of ours.
    return undefined;
  }
}

function wasMounted(folder: string): boolean {
  try {
    return readFileSync(join(folder, STATE_FILES.journal), 'utf8').includes('"event":"mounted"');
  } catch {
    return false;
  }
}

/** Where the process was put by whoever started it. */
export interface ServerPlace {
  /** Its working folder. */
  readonly stateFolder: string;
  readonly isSupervised: boolean;
  /** `/dev/fuse`, kept by the supervisor. */
  readonly fd: number | undefined;
  readonly failsLostRequests: boolean;
}

/** What a supervisor, or the command that started this process, says in its environment; `undefined` in any other process. */
export function serverPlace(environment: NodeJS.ProcessEnv): ServerPlace | undefined {
  const stateFolder = environment['THIMBLE_STATE_FOLDER'];
  if (stateFolder === undefined) return undefined;
  const fd = environment['THIMBLE_FUSE_FD'];
  return {
    stateFolder,
    isSupervised: environment['THIMBLE_SUPERVISED'] !== undefined,
    fd: fd === undefined ? undefined : Number(fd),
    failsLostRequests: environment['THIMBLE_LOST_REQUESTS'] === 'fail',
  };
}
