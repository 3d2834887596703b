/** What the kernel has to forget when a mounted file system moves to another revision. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import type { CatalogReader, CatalogRow } from '../core/catalog/catalog-reader.ts';
import { FLAG_BIND_MOUNTPOINT, FLAG_NESTED_MOUNTPOINT } from '../core/catalog/flags.ts';
import type { PathKey } from '../core/path-key.ts';
import { type NodeId, S_IFDIR, S_IFMT } from '../core/vfs.ts';
import type { Slot } from './catalog-tree.ts';
import { isSameAttributes, isSameEntry } from './same-entry.ts';

/** Directories whose attributes or listing have changed, with the names in them that lead elsewhere now. */
export type RevisionChanges = ReadonlyMap<NodeId, ReadonlySet<ByteString>>;

/** A catalog of the revision shown, and the one that takes its place. */
export interface CatalogChange {
  readonly before: Slot;
  readonly after: Slot;
  /** Of the directory that both are mounted on. */
  readonly rootNode: NodeId;
}

/** `nodeOf` tells the node that the kernel knows a row by which a catalog of the revision shown points at. */
export function changesOf(
  catalogs: readonly CatalogChange[],
  nodeOf: (slot: Slot) => NodeId,
): RevisionChanges {
  const changes = new Map<NodeId, Set<ByteString>>();
  for (const change of catalogs) collect(change, nodeOf, changes);
  return changes;
}

function collect(
  { before, after, rootNode }: CatalogChange,
  nodeOf: (slot: Slot) => NodeId,
  changes: Map<NodeId, Set<ByteString>>,
): void {
  const key: PathKey = new Int32Array(4);
  const parentKey: PathKey = new Int32Array(4);
  /** Nothing is known of what is in directories that are new. */
  const parentNode = (row: CatalogRow): NodeId | undefined => {
    if (isSame(row.parentKey(parentKey), before.rootKey)) return rootNode;
    return before.reader.find(parentKey) ? nodeOf(before) : undefined;
  };
  const touch = (node: NodeId | undefined, name?: ByteString) => {
    if (node === undefined) return;
    const names = changes.get(node) ?? new Set();
    changes.set(node, names);
    if (name !== undefined) names.add(name);
  };
  after.reader.entries((row) => {
    const name = row.name;
    const isRoot = isSame(row.key(key), after.rootKey);
    const isOld = before.reader.find(key);
    if (isRoot) {
      if (isOld && !isSameAttributes(before.reader.row, row)) touch(rootNode);
    } else if (!isOld || !leadsToTheSame(before.reader, after.reader)) {
      touch(parentNode(row), name);
    } else if (isDirectory(row) && !isSameAttributes(before.reader.row, row)) {
      touch(nodeOf(before));
    }
  });
  const removed: { readonly rowid: number; readonly name: ByteString }[] = [];
  before.reader.entries((row) => {
    if (!after.reader.find(row.key(key))) removed.push({ rowid: row.rowid, name: row.name });
  });
  // Not before: looking for a parent would lead the walk elsewhere.
  for (const { rowid, name } of removed) {
    if (before.reader.seek(rowid)) touch(parentNode(before.reader.row), name);
  }
}

const TRANSITION = FLAG_NESTED_MOUNTPOINT | FLAG_BIND_MOUNTPOINT;

/** A directory that becomes the root of another catalog, or none any more, is looked up again with all that is in it. */
function leadsToTheSame(before: CatalogReader, after: CatalogReader): boolean {
  return isSameEntry(before, after) && (before.row.flags & TRANSITION) === (after.row.flags & TRANSITION);
}

function isDirectory(row: CatalogRow): boolean {
  return (row.mode & S_IFMT) === S_IFDIR;
}

function isSame(a: PathKey, b: PathKey): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}
