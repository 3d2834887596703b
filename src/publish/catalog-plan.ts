/** Divides a tree into catalogs (docs/format.md#nested-catalogs): where markers say so, and where a part is too large. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { NestedReference } from '../core/catalog/catalog-reader.ts';
import { ThimbleError } from '../core/errors.ts';
import type { TreeEntry } from '../core/tree.ts';
import { S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { StoredContent } from './content-store.ts';
import { makeNode, sortedChildren, type TreeNode } from './tree-node.ts';

/** A directory with this file is the root of a nested catalog. */
export const CATALOG_MARKER = '.cvmfscatalog' as ByteString;
/** Beside the marker where the publisher, not the user, wanted the catalog. */
export const AUTOMATIC_MARKER = '.cvmfsautocatalog' as ByteString;

const MARKERS = [CATALOG_MARKER, AUTOMATIC_MARKER];

export interface CatalogPlan {
  readonly root: TreeNode;
  /** Everything below the root that belongs to this catalog: parents first, siblings together and in byte order. */
  readonly nodes: readonly TreeNode[];
  /** In path order; their roots are among `nodes`, as transition points. Those that nobody entered stay as they are. */
  readonly nested: readonly (CatalogPlan | NestedReference)[];
}

export interface SplitLimits {
  /** A catalog with more entries is split. */
  readonly maxEntries: number;
  /** No part with fewer entries becomes a catalog of its own, and none that was made automatically stays one. */
  readonly minEntries: number;
}

/**
 * Decides on catalogs, and puts markers into directories that become one automatically. `emptyFile` is the stored content
 * of the markers. Throws USAGE for a marker in the root directory.
 */
export function planCatalogs(root: TreeNode, limits: SplitLimits, emptyFile: StoredContent): CatalogPlan {
  if (root.children!.has(CATALOG_MARKER)) {
    throw new ThimbleError(
      'USAGE',
      `Cannot publish: ${CATALOG_MARKER} is not allowed in the root directory`,
      {
        hint: 'remove it; the root directory always is the root of a catalog',
      },
    );
  }
  balance(root, limits, emptyFile);
  return gather(root);
}

/** True if an entry of the plan has exactly this content. */
export function isUsed(content: StoredContent, { nodes, nested }: CatalogPlan): boolean {
  if (nodes.some((node) => node.content === content)) return true;
  return nested.some((part) => 'root' in part && isUsed(content, part));
}

export function isNestedRoot(node: TreeNode): boolean {
  return node.unread !== undefined || (node.children?.has(CATALOG_MARKER) ?? false);
}

/** Splits and merges from the leaves up. Returns the entries that `directory` adds to the catalog it belongs to. */
function balance(directory: TreeNode, limits: SplitLimits, emptyFile: StoredContent): number {
  if (directory.unread !== undefined) return 1;
  const parts: { directory: TreeNode; entries: number }[] = [];
  let entries = 1;
  for (const child of directory.children!.values()) {
    if (child.children === undefined) entries++;
    else {
      const below = balance(child, limits, emptyFile);
      entries += below;
      if (!isNestedRoot(child)) parts.push({ directory: child, entries: below });
    }
  }
  if (entries > limits.maxEntries) {
    // Heaviest first; of equals the one that sorts first, so that the same tree is always split in the same way.
    parts.sort((a, b) => b.entries - a.entries || (a.directory.name < b.directory.name ? -1 : 1));
    for (const part of parts) {
      if (entries <= limits.maxEntries / 2 || part.entries < limits.minEntries) break;
      mark(part.directory, emptyFile);
      entries -= part.entries - 1;
    }
  }
  const ownEntries = entries - MARKERS.length;
  if (MARKERS.every((name) => directory.children!.has(name)) && ownEntries < limits.minEntries) {
    unmark(directory);
    return ownEntries;
  }
  return isNestedRoot(directory) ? 1 : entries;
}

/** A file that makes a directory the root of a nested catalog, or says who wanted that. */
export function markerOf({ path, metadata }: TreeNode, name: ByteString): TreeEntry {
  return {
    ...metadata,
    path: `${path}/${name}` as ByteString,
    mode: S_IFREG | 0o600,
    xattrs: new Map(),
    linkKey: undefined,
    content: undefined,
  };
}

function mark(directory: TreeNode, emptyFile: StoredContent): void {
  for (const name of MARKERS) {
    const { path, linkKey: _key, content: _content, ...metadata } = markerOf(directory, name);
    const marker = makeNode(path, metadata);
    marker.content = emptyFile;
    directory.children!.set(name, marker);
  }
}

function unmark(directory: TreeNode): void {
  for (const name of MARKERS) {
    if (directory.children!.get(name)!.published !== undefined) directory.hasLost = true;
    directory.children!.delete(name);
  }
}

function gather(root: TreeNode): CatalogPlan {
  const marker = root.children!.get(CATALOG_MARKER);
  if (marker !== undefined && (marker.metadata.mode & S_IFMT) !== S_IFREG) {
    throw new ThimbleError(
      'USAGE',
      `Cannot publish ${displayBytes(marker.path)}: it has to be a regular file`,
    );
  }
  const nodes: TreeNode[] = [];
  const nested: (CatalogPlan | NestedReference)[] = [];
  const visit = (directory: TreeNode) => {
    const children = sortedChildren(directory);
    // Siblings first, then what is below them: readers list a directory without jumping.
    for (const child of children) nodes.push(child);
    for (const child of children) {
      if (child.children === undefined) continue;
      if (child.unread !== undefined) nested.push(child.unread);
      else if (isNestedRoot(child)) nested.push(gather(child));
      else visit(child);
    }
  };
  visit(root);
  return { root, nodes, nested };
}
