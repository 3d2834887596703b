/**
 * The mounts of this machine and how they are, without touching any of them: whoever looks into a mount that hangs, hangs
 * too. What is mounted says the mount table; what it is doing, its control socket and /proc.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type ErrorCode, errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import { MOUNT_TYPE, unescapeMountinfo } from '../node/fuse-mount.ts';
import { identityOf } from '../node/process-identity.ts';
import { callControlJson } from './control-client.ts';
import { STATE_FILES, stateFolderOf, stateRoot } from './state-folder.ts';
import type { MountStatus } from './status.ts';

/** What a process that serves a mount writes down about itself, for whoever finds it dead. */
export interface ServerRecord {
  readonly pid: number;
  /** Of `identityOf`: process ids are used again. */
  readonly identity: string | undefined;
  readonly fqrn: string;
  readonly mountpoint: string;
  readonly cacheFolder: string | undefined;
  readonly logFile: string | undefined;
  readonly servers: readonly string[];
  readonly proxies: readonly string[];
  readonly keyFiles: readonly string[];
}

export const SERVER_RECORD = 'server.json';

/**
 * - `alive`: it answers;
 * - `hung`: its process is there and does not answer;
 * - `dead`: it is mounted, and no process serves it;
 * - `closed`: it may not be asked by this user, or has no control socket;
 * - `gone`: its state is left, and it is not mounted.
 */
export type MountState = 'alive' | 'hung' | 'dead' | 'closed' | 'gone';

export interface MountReport {
  readonly mountpoint: string;
  readonly fqrn: string;
  readonly state: MountState;
  /** What is wrong, in a sentence; nothing where it is alive. */
  readonly problem?: string;
  readonly hint?: string;
  readonly server?: ServerRecord;
  /** The letter of proc(5), where there is a process: `T` is stopped, `D` waits in the kernel. */
  readonly processState?: string;
  /** Requests that the kernel waits for, where it tells. */
  readonly kernelWaits?: number;
  readonly status?: MountStatus;
}

export interface FoundMount {
  readonly mountpoint: string;
  readonly fqrn: string;
  readonly deviceMinor: number;
}

/** A mount that does not answer within this hangs. */
export const ANSWER_TIMEOUT_MS = 1200;

/** What is mounted, by the mount table; of several at one place the one on top. */
export function findMounts(mountinfo = readFileSync('/proc/self/mountinfo', 'utf8')): FoundMount[] {
  const found = new Map<string, FoundMount>();
  for (const line of mountinfo.split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const [, , device = '', , path = ''] = left.split(' ');
    const [type, source = ''] = right.split(' ');
    const mountpoint = unescapeMountinfo(path);
    // A mount on top of another hides it.
    found.delete(mountpoint);
    if (type !== MOUNT_TYPE) continue;
    const deviceMinor = Number(device.split(':')[1]);
    found.set(mountpoint, { mountpoint, fqrn: unescapeMountinfo(source), deviceMinor });
  }
  return [...found.values()];
}

/** How all mounts are, or the one at a mount point or below it. Throws NOT_FOUND where nothing of ours is mounted there. */
export async function reportMounts(folder?: string): Promise<MountReport[]> {
  const mounts = findMounts();
  if (folder === undefined) {
    const reports = await Promise.all(mounts.map(reportMount));
    return [...reports, ...leftovers(mounts)];
  }
  const at = mountOf(folder, mounts);
  if (at !== undefined) return [await reportMount(at)];
  const left = leftovers(mounts).filter(({ mountpoint }) => mountpoint === resolve(folder));
  if (left.length > 0) return left;
  throw noMount(folder, mounts);
}

/** What is mounted at a folder, or above it. Throws NOT_FOUND. */
export function mountAt(folder: string): FoundMount {
  const mounts = findMounts();
  const mount = mountOf(folder, mounts);
  if (mount === undefined) throw noMount(folder, mounts);
  return mount;
}

/** The control socket of what is mounted at a folder, or above it. Throws NOT_FOUND. */
export function controlSocketOf(folder: string): string {
  return join(stateFolderOf(mountAt(folder).mountpoint), STATE_FILES.control);
}

/** By its name alone: `realpath` could hang. */
function mountOf(folder: string, mounts: readonly FoundMount[]): FoundMount | undefined {
  const path = resolve(folder);
  return mounts
    .filter(({ mountpoint }) => path === mountpoint || path.startsWith(`${mountpoint}/`))
    .sort((a, b) => b.mountpoint.length - a.mountpoint.length)[0];
}

function noMount(folder: string, mounts: readonly FoundMount[]): ThimbleError {
  const known = mounts.map(({ mountpoint }) => mountpoint).join(', ');
  return new ThimbleError(
    'NOT_FOUND',
    `Cannot find a mount at ${folder}: no Thimble file system is mounted there`,
    {
      hint: known === '' ? 'nothing is mounted; see: thimble mount --help' : `mounted are: ${known}`,
    },
  );
}

async function reportMount(mount: FoundMount): Promise<MountReport> {
  const { mountpoint, fqrn, deviceMinor } = mount;
  const folder = stateFolderOf(mountpoint);
  const call = { method: 'GET', path: '/status', timeoutMs: ANSWER_TIMEOUT_MS } as const;
  const asked = callControlJson<MountStatus>(join(folder, STATE_FILES.control), call);
  const status = await asked.catch((error: unknown) => ({ error }));
  // Afterwards: a process that has just begun writes it before it listens.
  const server = readServerRecord(folder);
  const waits = kernelWaits(deviceMinor);
  return {
    mountpoint,
    fqrn,
    ...(server === undefined ? {} : { server }),
    ...(waits === undefined ? {} : { kernelWaits: waits }),
    ...('error' in status ? silenceOf(status.error, server) : { state: 'alive', status }),
  };
}

/** Why a mount gives no answer. */
function silenceOf(
  error: unknown,
  server: ServerRecord | undefined,
): Omit<MountReport, 'mountpoint' | 'fqrn'> {
  const processState = server === undefined ? undefined : processStateOf(server);
  if (processState !== undefined && errorCodeOf(error) === 'CANCELLED') {
    return { state: 'hung', processState, ...hungWords(processState, server!.pid) };
  }
  if (server !== undefined && processState === undefined) {
    return {
      state: 'dead',
      problem: `process ${server.pid} that served it has ended`,
      hint: 'mount it again; readers get ENOTCONN until then',
    };
  }
  const state = errorCodeOf(error) === 'CANCELLED' ? 'hung' : 'closed';
  return {
    state,
    ...(SILENT[errorCodeOf(error)] ?? { problem: messageOf(error) }),
    ...(processState === undefined ? {} : { processState }),
  };
}

const SILENT: Readonly<Partial<Record<ErrorCode, { readonly problem: string; readonly hint: string }>>> = {
  CANCELLED: { problem: 'it does not answer', hint: 'look at its process' },
  USAGE: { problem: 'it may not be asked', hint: 'ask as root, or as the user who mounted it' },
  NOT_FOUND: {
    problem: 'it has no control socket here',
    hint: 'another program serves it, or its THIMBLE_STATE is another one',
  },
};

function hungWords(processState: string, pid: number): { problem: string; hint: string } {
  switch (processState) {
    case 'T':
      return { problem: `its process ${pid} is stopped`, hint: `let it go on with: kill -CONT ${pid}` };
    case 't':
      return { problem: `its process ${pid} is held by a debugger`, hint: 'let the debugger go on' };
    case 'D':
      return {
        problem: `its process ${pid} waits for the kernel, most likely for a disk`,
        hint: `look at the disk of the cache folder, and at: cat /proc/${pid}/stack`,
      };
    default:
      return {
        problem: `its process ${pid} does not answer`,
        hint: `see what it does with: top -H -p ${pid}; after kill -9 ${pid} another goes on with the mount`,
      };
  }
}

/** State folders of what is not mounted any more. */
function leftovers(mounts: readonly FoundMount[]): MountReport[] {
  const mounted = new Set(mounts.map(({ mountpoint }) => mountpoint));
  return stateFolders().flatMap((folder): MountReport[] => {
    const server = readServerRecord(folder);
    if (server === undefined || mounted.has(server.mountpoint)) return [];
    const { mountpoint, fqrn, pid } = server;
    const processState = processStateOf(server);
    const running = {
      problem: `it is not mounted here; process ${pid} still serves it to others`,
      hint: 'another mount namespace has it, or an open file; it ends with the last of them',
    };
    const ended = {
      problem: `it was not unmounted: process ${pid} has ended`,
      hint: 'nothing is lost; the next mount there clears this away',
    };
    return [
      {
        mountpoint,
        fqrn,
        state: 'gone',
        server,
        ...(processState === undefined ? ended : { processState, ...running }),
      },
    ];
  });
}

function stateFolders(): string[] {
  try {
    return readdirSync(stateRoot()).map((name) => join(stateRoot(), name));
  } catch {
    // Nothing has been mounted yet, or by others.
    return [];
  }
}

function readServerRecord(folder: string): ServerRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, SERVER_RECORD), 'utf8')) as ServerRecord;
  } catch {
    // It may belong to another user, or be just made.
    return undefined;
  }
}

/** `undefined` if the process has ended, or another has its number now. */
function processStateOf({ pid, identity }: ServerRecord): string | undefined {
  if (identity === undefined || identityOf(pid) !== identity) return undefined;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2)[0];
  } catch {
    return undefined;
  }
}

/** The kernel's own count, where its control file system is mounted. */
function kernelWaits(deviceMinor: number): number | undefined {
  try {
    return Number(readFileSync(`/sys/fs/fuse/connections/${deviceMinor}/waiting`, 'latin1'));
  } catch {
    return undefined;
  }
}
