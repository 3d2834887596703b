/** An entry of a tree that is about to be published, and what is known of it from the revision before. */

import { type ByteString, compareByteStrings, equalBytes } from '../core/bytes/byte-string.ts';
import type { NestedReference } from '../core/catalog/catalog-reader.ts';
import type { Xattrs } from '../core/catalog/xattrs.ts';
import { baseName } from '../core/path-key.ts';
import type { TreeEntry } from '../core/tree.ts';
import { S_IFDIR, S_IFMT } from '../core/vfs.ts';
import type { StoredContent } from './content-store.ts';

export type EntryMetadata = Omit<TreeEntry, 'content' | 'path' | 'linkKey'>;

/** What a catalog says of an entry, apart from its place. */
interface EntryState {
  metadata: EntryMetadata;
  /** Set for regular files before catalogs are made. */
  content: StoredContent | undefined;
  /** Names of this file in its directory. */
  linkCount: number;
  /** The first of these names if there are several. */
  linkedTo: ByteString | undefined;
  /** Bits of the `flags` column that no tree knows of: hidden, direct I/O, and what later versions may add. */
  keptFlags: number;
}

export interface TreeNode extends EntryState {
  readonly path: ByteString;
  readonly name: ByteString;
  /** Directories only. */
  readonly children: Map<ByteString, TreeNode> | undefined;
  /** Informative, of directories: what the publisher of the entry found there. */
  directoryBytes: number;
  /** Entries with the same key are one file. */
  linkKey: string | undefined;
  /** The nested catalog of this directory as long as nobody has looked into it; `children` is empty until then. */
  unread: NestedReference | undefined;
  /** The root catalog of another revision that is shown here. */
  bind: NestedReference | undefined;
  /** As it is published now; missing for what is new. */
  published: Readonly<EntryState> | undefined;
  /** Something that was published in this directory is there no more. */
  hasLost: boolean;
  /** The tree that is published has named it. */
  isSeen: boolean;
}

/** Directories have no size of their own in a repository; this is what the reference writes. */
const DIRECTORY_BYTES = 4096;

export function makeNode(path: ByteString, metadata: EntryMetadata): TreeNode {
  return {
    path,
    name: baseName(path),
    metadata,
    content: undefined,
    children: (metadata.mode & S_IFMT) === S_IFDIR ? new Map() : undefined,
    directoryBytes: DIRECTORY_BYTES,
    linkKey: undefined,
    linkCount: 1,
    linkedTo: undefined,
    keptFlags: 0,
    unread: undefined,
    bind: undefined,
    published: undefined,
    hasLost: false,
    isSeen: false,
  };
}

/** True unless the catalog that has this entry can stay as it is. */
export function isChanged(node: TreeNode): boolean {
  const { published } = node;
  if (published === undefined || node.hasLost) return true;
  return (
    node.metadata !== published.metadata ||
    node.linkCount !== published.linkCount ||
    node.linkedTo !== published.linkedTo ||
    node.keptFlags !== published.keptFlags ||
    !isSameContent(node.content, published.content)
  );
}

export function isSameMetadata(a: EntryMetadata, b: EntryMetadata): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.mtimeSeconds === b.mtimeSeconds &&
    a.mtimeNs === b.mtimeNs &&
    a.symlink === b.symlink &&
    a.rdev === b.rdev &&
    isSameXattrs(a.xattrs, b.xattrs)
  );
}

function isSameXattrs(a: Xattrs, b: Xattrs): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [name, value] of a) {
    const other = b.get(name);
    if (other === undefined || !equalBytes(value, other)) return false;
  }
  return true;
}

function isSameContent(a: StoredContent | undefined, b: StoredContent | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return (
    a.sizeBytes === b.sizeBytes &&
    a.hash === b.hash &&
    a.compression === b.compression &&
    a.isExternal === b.isExternal &&
    a.chunks.length === b.chunks.length &&
    a.chunks.every((chunk, i) => chunk.hash === b.chunks[i]!.hash && chunk.offset === b.chunks[i]!.offset)
  );
}

/** The children of a directory in byte order of their names. */
export function sortedChildren(directory: TreeNode): TreeNode[] {
  return [...directory.children!.values()].sort((a, b) => compareByteStrings(a.name, b.name));
}

/** Hard links are one inode only within a directory: catalogs know no others (docs/format.md#hard-links). */
export function countLinks(directory: TreeNode): void {
  let groups: Map<string, TreeNode[]> | undefined;
  for (const child of directory.children!.values()) {
    if (child.linkKey === undefined) continue;
    groups ??= new Map();
    const members = groups.get(child.linkKey);
    if (members === undefined) groups.set(child.linkKey, [child]);
    else members.push(child);
  }
  for (const members of groups?.values() ?? []) {
    const first = members.map(({ name }) => name).sort(compareByteStrings)[0];
    for (const member of members) {
      member.linkCount = members.length;
      member.linkedTo = members.length > 1 ? first : undefined;
    }
  }
}
