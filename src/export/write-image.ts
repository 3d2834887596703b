/** File system images of a tree, made by the programs of Debian's squashfs-tools and erofs-utils. */

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { assert, ThimbleError } from '../core/errors.ts';
import { baseName } from '../core/path-key.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { S_IFMT } from '../core/vfs.ts';
import type { Losses } from './losses.ts';
import { writeFolder } from './write-folder.ts';
import { tarOf } from './write-tar.ts';

/** Squashfs has seconds since 1970, in 32 bits; mkfs.erofs is asked to keep what is in the same range. */
const MAX_SECONDS = 0xffff_ffff;
const MAX_OLD_EROFS_NAME_BYTES = 254;
const SQUASHFS_XATTRS = /^(user|trusted|security)\./;

/** Makes the file `image`. Throws NOT_FOUND without mksquashfs, STORAGE when it fails, and what the tree throws. */
export async function writeSquashfs(tree: Tree, image: string, losses: Losses): Promise<void> {
  const [, major, minor] =
    /version (\d+)\.(\d+)/.exec(outputOf('mksquashfs', 'squashfs-tools', '-version')) ?? [];
  const entries = tree.entries()[Symbol.asyncIterator]();
  const first = await entries.next();
  assert(!first.done && first.value.path === '', 'a snapshot begins with its root');
  const { mode, uid, gid, mtimeSeconds } = asSquashfsHasIt(first.value, losses);
  if (Number(major) * 1000 + Number(minor) < 4006) noteRootLosses(first.value, losses);
  const rest = changed(
    { name: tree.name, entries: () => ({ [Symbol.asyncIterator]: () => entries }) },
    (entry) => asSquashfsHasIt(entry, losses),
  );
  // The root is not taken from the archive.
  const root = ['-root-mode', (mode & ~S_IFMT).toString(8), '-root-uid', `${uid}`, '-root-gid', `${gid}`];
  const times = ['-root-time', `${mtimeSeconds}`, '-mkfs-time', `${mtimeSeconds}`];
  const args = ['-', image, '-tar', '-no-progress', '-quiet', ...root, ...times];
  await run('mksquashfs', 'squashfs-tools', args, tarOf(rest, losses));
}

/** Older versions take the options for the root, and use its mode only. */
function noteRootLosses({ path, uid, gid }: TreeEntry, losses: Losses): void {
  losses.note('time', path, 'mksquashfs before 4.6 gives the root the time of day');
  if (uid === process.getuid?.() && gid === process.getgid?.()) return;
  losses.note('owner', path, 'mksquashfs before 4.6 gives the root to whoever runs it');
}

function asSquashfsHasIt(entry: TreeEntry, losses: Losses): TreeEntry {
  const { path, xattrs } = entry;
  if (entry.mtimeNs !== 0) losses.note('time', path, 'squashfs has whole seconds from 1970 to 2106');
  const kept = path === '' ? [] : [...xattrs].filter(([name]) => SQUASHFS_XATTRS.test(name));
  if (kept.length !== xattrs.size) {
    losses.note('xattr', path, 'mksquashfs takes user, trusted and security ones, and none of the root');
  }
  return { ...withinSeconds(entry, losses), mtimeNs: 0, xattrs: new Map(kept) };
}

function withinSeconds(entry: TreeEntry, losses: Losses): TreeEntry {
  const mtimeSeconds = Math.min(Math.max(entry.mtimeSeconds, 0), MAX_SECONDS);
  if (mtimeSeconds === entry.mtimeSeconds) return entry;
  losses.note('time', entry.path, 'the image has times from 1970 to 2106');
  return { ...entry, mtimeSeconds, mtimeNs: 0 };
}

function changed({ name, entries }: Tree, change: (entry: TreeEntry) => TreeEntry): Tree {
  return {
    name,
    async *entries() {
      for await (const entry of entries()) yield change(entry);
    },
  };
}

/**
 * Makes the file `image`, by way of a folder in `scratch` where mkfs.erofs reads no archives (before 1.7). `identity` names
 * the file system: same text, same UUID. Throws NOT_FOUND without mkfs.erofs, UNSUPPORTED where the folder would need root,
 * STORAGE when it fails, and what the tree throws.
 */
export async function writeErofs(
  tree: Tree,
  image: string,
  scratch: string,
  identity: string,
  losses: Losses,
): Promise<void> {
  const uuid = createHash('sha256').update(identity).digest('hex').slice(0, 32);
  const dashed = uuid.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  const args = ['--quiet', '-zlz4hc', `-U${dashed}`];
  const timely = changed(tree, (entry) => withinSeconds(entry, losses));
  if (/--tar\b/.test(outputOf('mkfs.erofs', 'erofs-utils', '--help'))) {
    await run('mkfs.erofs', 'erofs-utils', [...args, '--tar=f', image], tarOf(timely, losses));
    return;
  }
  if (process.getuid?.() !== 0) {
    throw new ThimbleError('UNSUPPORTED', 'Cannot make an EROFS image: this mkfs.erofs reads no archives', {
      hint: 'run it as root, or with erofs-utils 1.7 or newer',
    });
  }
  const folder = join(scratch, 'tree');
  mkdirSync(folder, { mode: 0o700 });
  await writeFolder(changed(timely, withShortName), folder, losses);
  await run('mkfs.erofs', 'erofs-utils', [...args, image, folder], undefined);
}

/** Versions that read no archives fail on longer names, and do not say so. Throws UNSUPPORTED. */
function withShortName(entry: TreeEntry): TreeEntry {
  if (baseName(entry.path).length <= MAX_OLD_EROFS_NAME_BYTES) return entry;
  throw new ThimbleError(
    'UNSUPPORTED',
    `Cannot make an EROFS image: the name ${displayBytes(entry.path)} is too long for this mkfs.erofs`,
    { hint: 'use erofs-utils 1.7 or newer' },
  );
}

/** What a program says of itself. Throws NOT_FOUND. */
function outputOf(program: string, debianPackage: string, option: string): string {
  const { error, stdout, stderr } = spawnSync(program, [option], { encoding: 'utf8' });
  if (error !== undefined) throw notInstalled(program, debianPackage, error);
  return stdout + stderr;
}

/** Runs a program that reads `input` on its standard input. */
async function run(
  program: string,
  debianPackage: string,
  args: readonly string[],
  input: AsyncIterable<Bytes> | undefined,
): Promise<void> {
  const child = spawn(program, args, {
    stdio: [input === undefined ? 'ignore' : 'pipe', 'ignore', 'pipe'],
    // To mkfs.erofs: the time of the file system, which files keep theirs before. mksquashfs gets options instead.
    env: {
      ...process.env,
      LC_ALL: 'C',
      SOURCE_DATE_EPOCH: program === 'mkfs.erofs' ? `${MAX_SECONDS}` : undefined,
    },
  });
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => void (said = (said + text).slice(-4096)));
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) => reject(notInstalled(program, debianPackage, error)));
    child.once('close', resolve);
  });
  // Both ends are waited for, whichever fails first.
  const [fed, status] = await Promise.allSettled([
    input === undefined ? undefined : pipeline(input, child.stdin!),
    ended,
  ]);
  if (status.status === 'rejected') throw status.reason;
  // What went wrong with the tree tells more than what the program says of half an archive.
  if (fed.status === 'rejected' && fed.reason instanceof ThimbleError) throw fed.reason;
  if (status.value === 0 && fed.status === 'fulfilled') return;
  const why = said.trim().split('\n').slice(-2).join('; ');
  throw new ThimbleError(
    'STORAGE',
    `Cannot make the image: ${program} ended with status ${status.value}: ${why}`,
  );
}

function notInstalled(program: string, debianPackage: string, cause: unknown): ThimbleError {
  return new ThimbleError('NOT_FOUND', `Cannot make the image: ${program} is not installed`, {
    hint: `install it with: apt-get install --no-install-recommends ${debianPackage}`,
    cause,
  });
}
