/**
 * Trees of files for tests: written down as literals, made on disk, and read back from disk with all that a file system
 * tells about them.
 */

import { createHash } from 'node:crypto';
import {
  type BigIntStats,
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { readXattrs } from '../../src/node/xattrs.ts';

interface Common {
  readonly mode?: number;
  readonly mtimeSeconds?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export type Literal =
  | (Common & { readonly kind: 'dir'; readonly entries: Readonly<Record<string, Literal>> })
  | (Common & { readonly kind: 'file'; readonly content: string | Uint8Array })
  | (Common & { readonly kind: 'symlink'; readonly target: string })
  /** Another name for a file; `to` is relative to the top of the tree. */
  | { readonly kind: 'hardlink'; readonly to: string };

export const dir = (entries: Readonly<Record<string, Literal>>, more: Common = {}): Literal => ({
  kind: 'dir',
  entries,
  ...more,
});
export const file = (content: string | Uint8Array, more: Common = {}): Literal => ({
  kind: 'file',
  content,
  ...more,
});
export const symlink = (target: string): Literal => ({ kind: 'symlink', target });
export const hardlink = (to: string): Literal => ({ kind: 'hardlink', to });

const DEFAULT_MTIME_SECONDS = 1_700_000_000;

/** Makes the tree on disk; hard links last, times of folders after their content. */
export function makeTree(folder: string, tree: Literal): void {
  const later: (() => void)[] = [];
  makeEntry(folder, tree, folder, later);
  for (const step of later) step();
  setTimes(folder, tree);
}

function makeEntry(path: string, entry: Literal, top: string, later: (() => void)[]): void {
  if (entry.kind === 'hardlink') {
    later.push(() => linkSync(join(top, entry.to), path));
    return;
  }
  if (entry.kind === 'dir') {
    mkdirSync(path, { recursive: true });
    for (const [name, child] of Object.entries(entry.entries)) makeEntry(join(path, name), child, top, later);
  } else if (entry.kind === 'file') writeFileSync(path, entry.content);
  else symlinkSync(entry.target, path);
  if (entry.kind !== 'symlink') chmodSync(path, entry.mode ?? (entry.kind === 'dir' ? 0o755 : 0o644));
  if (entry.kind !== 'symlink' && (entry.uid !== undefined || entry.gid !== undefined)) {
    chownSync(path, entry.uid ?? 0, entry.gid ?? 0);
    chmodSync(path, entry.mode ?? (entry.kind === 'dir' ? 0o755 : 0o644));
  }
}

function setTimes(path: string, entry: Literal): void {
  if (entry.kind === 'hardlink') return;
  if (entry.kind === 'dir') {
    for (const [name, child] of Object.entries(entry.entries)) setTimes(join(path, name), child);
  }
  const seconds = entry.mtimeSeconds ?? DEFAULT_MTIME_SECONDS;
  lutimesSync(path, seconds, seconds);
}

/** All that must be the same when a tree is seen through a mount. */
export interface SeenEntry {
  readonly type: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly mtimeNs: string;
  readonly rdev: number;
  readonly target: string | undefined;
  readonly sha256: string | undefined;
  readonly xattrs: Readonly<Record<string, string>>;
  /** The first path of the same inode, where the file has more than one name. */
  readonly linkedTo: string | undefined;
}

const TYPE_MASK = 0o170000;
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;
const SYMLINK = 0o120000;

/** Reads a whole tree from disk; keys are paths as latin1, so that no name is lost. Sizes and link counts of folders are left out. */
export function readTree(folder: string): Map<string, SeenEntry> {
  const seen = new Map<string, SeenEntry>();
  const firstOfInode = new Map<bigint, string>();
  const visit = (path: string) => {
    const disk = Buffer.from(folder + path, 'latin1');
    const stats = lstatSync(disk, { bigint: true });
    seen.set(path, describe(disk, path, stats, firstOfInode));
    if ((Number(stats.mode) & TYPE_MASK) !== DIRECTORY) return;
    const names = readdirSync(disk, { encoding: 'buffer' }).map((name) => name.toString('latin1'));
    for (const name of names.sort()) visit(`${path}/${name}`);
  };
  visit('');
  return seen;
}

function describe(
  disk: Buffer,
  path: string,
  stats: BigIntStats,
  firstOfInode: Map<bigint, string>,
): SeenEntry {
  const mode = Number(stats.mode);
  const type = mode & TYPE_MASK;
  const isLinked = type !== DIRECTORY && stats.nlink > 1n;
  const first = firstOfInode.get(stats.ino);
  if (isLinked && first === undefined) firstOfInode.set(stats.ino, path);
  return {
    type,
    mode: mode & 0o7777,
    uid: Number(stats.uid),
    gid: Number(stats.gid),
    nlink: type === DIRECTORY ? 0 : Number(stats.nlink),
    size: type === DIRECTORY ? 0 : Number(stats.size),
    mtimeNs: String(stats.mtimeNs),
    rdev: Number(stats.rdev),
    target: type === SYMLINK ? readlinkSync(disk, 'latin1') : undefined,
    sha256: type === REGULAR ? createHash('sha256').update(readFileSync(disk)).digest('hex') : undefined,
    xattrs: xattrsOf(disk, type),
    linkedTo: isLinked ? (first ?? path) : undefined,
  };
}

function xattrsOf(disk: Buffer, type: number): Record<string, string> {
  if (type !== DIRECTORY && type !== REGULAR) return {};
  const xattrs = [...readXattrs(Buffer.concat([disk, Buffer.from([0])]))];
  return Object.fromEntries(
    xattrs.map(([name, value]) => [name as string, Buffer.from(value).toString('hex')]).sort(),
  );
}
