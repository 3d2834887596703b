/** Which processes use a mount: what a busy mount is blamed on. */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { resolve } from 'node:path';

export interface MountUser {
  readonly pid: number;
  /** Short name of its program. */
  readonly command: string;
  /** One of the paths that it uses. */
  readonly path: string;
  readonly isWriting: boolean;
}

const O_ACCMODE = 3;

/** Processes with a working folder, program or open file at or below a mount point; those with files open for writing first. */
export function usersOf(mountpoint: string): MountUser[] {
  const top = resolve(mountpoint);
  const users: MountUser[] = [];
  for (const name of list('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const user = userOf(pid, (path) => path === top || path.startsWith(`${top}/`));
    if (user !== undefined) users.push(user);
  }
  return users.sort((a, b) => Number(b.isWriting) - Number(a.isWriting) || a.pid - b.pid);
}

/** `bash (4711), vi (4712)`. */
export function formatUsers(users: readonly MountUser[]): string {
  return users.map(({ command, pid }) => `${command} (${pid})`).join(', ');
}

function userOf(pid: number, isInside: (path: string) => boolean): MountUser | undefined {
  const folder = `/proc/${pid}`;
  const open = list(`${folder}/fd`)
    .map((fd) => ({ fd, path: link(`${folder}/fd/${fd}`) }))
    .filter(({ path }) => isInside(path));
  const written = open.find(({ fd }) => isOpenForWriting(`${folder}/fdinfo/${fd}`));
  const paths = [
    written?.path,
    ...['cwd', 'root', 'exe'].map((name) => link(`${folder}/${name}`)),
    open[0]?.path,
  ];
  const path = paths.find((one) => one !== undefined && isInside(one));
  if (path === undefined) return undefined;
  return { pid, command: text(`${folder}/comm`).trim(), path, isWriting: written !== undefined };
}

function isOpenForWriting(fdinfo: string): boolean {
  const flags = /^flags:\s*([0-7]+)/m.exec(text(fdinfo))?.[1] ?? '0';
  return (Number.parseInt(flags, 8) & O_ACCMODE) !== 0;
}

// Processes end, and those of others cannot be read: then there is nothing to tell about them.

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
