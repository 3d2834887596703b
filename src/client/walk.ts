/** Walks a whole snapshot, fetching catalogs as it comes to them. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { byteStringOf, bytesOf, compareByteStrings } from '../core/bytes/byte-string.ts';
import {
  type Attributes,
  type DirectoryVisitor,
  type NodeId,
  NotYet,
  ROOT_NODE,
  S_IFDIR,
  S_IFMT,
} from '../core/vfs.ts';
import type { MountedSnapshot } from './mounted-snapshot.ts';

export interface WalkedEntry {
  /** Absolute; the root is the empty string. */
  readonly path: ByteString;
  readonly node: NodeId;
  /** A copy of its own. */
  readonly attributes: Readonly<Attributes>;
}

export interface WalkOptions {
  /** Also what is reached by name alone, such as `/.cvmfs`. */
  readonly withHidden?: boolean;
  /** Also what is below bind mount points: other revisions. Those within them are not followed once more. */
  readonly withBindMounts?: boolean;
}

/**
 * Visits every entry once, parents before children, siblings in byte order. Of a bind mount point, the directory alone is
 * visited where nothing else is asked for: what is below is another tree, in which there may be more of them.
 */
export async function* walkSnapshot(
  mounted: MountedSnapshot,
  from: WalkedEntry = rootOf(mounted),
  { withHidden = false, withBindMounts = false }: WalkOptions = {},
): AsyncGenerator<WalkedEntry> {
  const pending = [{ entry: from, isElsewhere: false }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { entry } = next;
    yield entry;
    if ((entry.attributes.mode & S_IFMT) !== S_IFDIR) continue;
    const isBind = mounted.vfs.isBindMountpoint(entry.node);
    if (isBind && (next.isElsewhere || !withBindMounts)) continue;
    const isElsewhere = next.isElsewhere || isBind;
    const children = await listDirectory(mounted, entry, withHidden);
    // The stack gives the last one first.
    children.sort((a, b) => compareByteStrings(b.path, a.path));
    for (const child of children) pending.push({ entry: child, isElsewhere });
  }
}

/** The entries of a directory, in the order of its catalog. */
export async function listDirectory(
  mounted: MountedSnapshot,
  directory: WalkedEntry,
  withHidden = false,
): Promise<WalkedEntry[]> {
  for (;;) {
    const children: WalkedEntry[] = [];
    const visit: DirectoryVisitor = (bytes, start, length, attributes) => {
      const name = byteStringOf(bytes, start, start + length);
      const path = `${directory.path}/${name}` as ByteString;
      children.push({ path, node: attributes.node, attributes: { ...attributes } });
      return true;
    };
    const answer = mounted.vfs.readdir(directory.node, 0, visit, withHidden);
    if (!(answer instanceof NotYet)) return children;
    await mounted.fulfil(answer.need);
  }
}

/** An entry of a directory by its name; `undefined` if there is none. Symlinks are not followed. */
export async function lookupChild(
  mounted: MountedSnapshot,
  directory: WalkedEntry,
  name: ByteString,
): Promise<WalkedEntry | undefined> {
  for (;;) {
    const found = mounted.vfs.lookup(directory.node, bytesOf(name));
    if (found === undefined) return undefined;
    if (!(found instanceof NotYet)) {
      return { path: `${directory.path}/${name}` as ByteString, node: found.node, attributes: { ...found } };
    }
    await mounted.fulfil(found.need);
  }
}

/** The content of a regular file, from `offset`, at most `length` bytes. */
export async function readFileContent(
  mounted: MountedSnapshot,
  node: NodeId,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const buffer = new Uint8Array(length);
  for (;;) {
    const count = mounted.vfs.read(node, offset, length, buffer, 0);
    if (!(count instanceof NotYet)) return buffer.subarray(0, count);
    await mounted.fulfil(count.need);
  }
}

export function rootOf(mounted: MountedSnapshot): WalkedEntry {
  const attributes = mounted.vfs.getattr(ROOT_NODE)!;
  return { path: '' as ByteString, node: ROOT_NODE, attributes: { ...attributes } };
}
