/** What a transaction has changed so far, for people: compared with the snapshot it started from, contents unread. */

import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import { listDirectory, lookupChild, rootOf, type WalkedEntry } from '../client/walk.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { TreeChanges, TreeEntry } from '../core/tree.ts';
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT } from '../core/vfs.ts';
import { formatPath, textOrBase64 } from './dump-entries.ts';

export interface ListedChange {
  /** `emptied`: all that a directory had is gone; what it has now is listed behind. */
  readonly change: 'added' | 'changed' | 'removed' | 'emptied';
  readonly path: ByteString;
  /** Only of what has changed: type, size, target, device, mode, owner, mtime; nothing for a file that was only opened. */
  readonly fields: readonly string[];
}

/** Throws as `TreeChanges.changes` and `MountedSnapshot.fulfil` do. */
export async function* listChanges(
  changes: TreeChanges,
  base: MountedSnapshot,
): AsyncGenerator<ListedChange> {
  for await (const change of changes.changes()) {
    const path = change.kind === 'put' ? change.entry.path : change.path;
    const before = await find(base, path);
    if (change.kind === 'put') {
      if (before === undefined) yield { change: 'added', path, fields: [] };
      else {
        const fields = differentFields(base, before, change.entry);
        // Directories are there for what is in them.
        if (fields.length > 0 || kindOf(change.entry.mode) !== S_IFDIR)
          yield { change: 'changed', path, fields };
      }
    } else if (change.kind === 'remove') {
      if (before !== undefined) yield { change: 'removed', path, fields: [] };
    } else if (
      change.kind === 'clear' &&
      before !== undefined &&
      kindOf(before.attributes.mode) === S_IFDIR
    ) {
      if ((await listDirectory(base, before)).length > 0) yield { change: 'emptied', path, fields: [] };
    }
  }
}

const MARKS = { added: '+', removed: '-', emptied: '-' } as const;

/** `+ PATH`, `- PATH`, `- PATH/*`, `M FIELD,FIELD PATH`. */
export function formatListedChange({ change, path, fields }: ListedChange): string {
  if (change === 'changed') return `M ${fields.length === 0 ? 'opened' : fields.join()} ${formatPath(path)}`;
  return `${MARKS[change]} ${formatPath(path)}${change === 'emptied' ? '/*' : ''}`;
}

export function jsonListedChange({ change, path, fields }: ListedChange): object {
  return {
    change,
    ...textOrBase64('path', path === '' ? '/' : path),
    ...(change === 'changed' ? { fields } : {}),
  };
}

async function find(base: MountedSnapshot, path: ByteString): Promise<WalkedEntry | undefined> {
  let entry: WalkedEntry | undefined = rootOf(base);
  for (const name of path.split('/').slice(1)) {
    if (entry === undefined) return undefined;
    entry = await lookupChild(base, entry, name as ByteString);
  }
  return entry;
}

function differentFields(
  base: MountedSnapshot,
  { node, attributes }: WalkedEntry,
  entry: TreeEntry,
): string[] {
  const kind = kindOf(entry.mode);
  if (kind !== kindOf(attributes.mode)) return ['type'];
  const isDevice = kind === S_IFCHR || kind === S_IFBLK;
  const different: Readonly<Record<string, boolean>> = {
    size: entry.content !== undefined && entry.content.sizeBytes !== attributes.sizeBytes,
    target: kind === S_IFLNK && entry.symlink !== base.vfs.readlink(node),
    device: isDevice && entry.rdev !== attributes.rdev,
    mode: entry.mode !== attributes.mode,
    owner: entry.uid !== attributes.uid || entry.gid !== attributes.gid,
    mtime: entry.mtimeSeconds !== attributes.mtimeSeconds || entry.mtimeNs !== attributes.mtimeNs,
  };
  return Object.keys(different).filter((field) => different[field]);
}

function kindOf(mode: number): number {
  return mode & S_IFMT;
}
