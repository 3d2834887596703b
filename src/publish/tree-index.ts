/** Collects the entries of a tree into directories, and finds out what only the whole tree tells: hard links. */

import { type ByteString, compareByteStrings } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { baseName, parentPath } from '../core/path-key.ts';
import type { TreeEntry } from '../core/tree.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { StoredContent } from './content-store.ts';

export type EntryMetadata = Omit<TreeEntry, 'content' | 'path' | 'linkKey'>;

export interface TreeNode {
  readonly path: ByteString;
  readonly name: ByteString;
  metadata: EntryMetadata;
  /** Set for regular files before the tree is used. */
  content: StoredContent | undefined;
  /** Directories only. */
  readonly children: Map<ByteString, TreeNode> | undefined;
  linkKey: string | undefined;
  /** Names of this file in its directory; more than one makes a hard-link group. */
  linkCount: number;
}

export const MAX_NAME_BYTES = 255;
/** What a system call takes, less the zero byte. */
export const MAX_PATH_BYTES = 4095;

export class TreeIndex {
  readonly root: TreeNode;
  readonly #directories = new Map<ByteString, TreeNode>();
  /** The first name of each file that may have more. */
  readonly #linked = new Map<string, TreeNode>();
  entries = 0;

  constructor() {
    this.root = this.#node('' as ByteString, {
      mode: S_IFDIR | 0o755,
      uid: 0,
      gid: 0,
      mtimeSeconds: 0,
      mtimeNs: 0,
      symlink: '' as ByteString,
      rdev: 0,
      xattrs: new Map(),
    });
  }

  /** Adds an entry; a later one replaces an earlier one of the same path. Throws FORMAT, LIMIT. */
  add(entry: TreeEntry): TreeNode {
    const { path, linkKey, content: _, ...metadata } = entry;
    if (path === '') {
      this.root.metadata = metadata;
      return this.root;
    }
    checkPath(path);
    const parent = this.#directory(parentPath(path), metadata);
    const existing = this.#directories.get(path);
    if (existing !== undefined && (metadata.mode & S_IFMT) === S_IFDIR) {
      existing.metadata = metadata;
      return existing;
    }
    if (existing !== undefined) this.#forget(existing);
    const node = this.#node(path, metadata);
    this.#link(node, entry);
    parent.children!.set(node.name, node);
    return node;
  }

  /** Completes link counts. Call once, when every entry is there. */
  finish(): void {
    for (const directory of this.#directories.values()) countLinks(directory);
  }

  #node(path: ByteString, metadata: EntryMetadata): TreeNode {
    const isDirectory = (metadata.mode & S_IFMT) === S_IFDIR;
    const node: TreeNode = {
      path,
      name: baseName(path),
      metadata,
      content: undefined,
      children: isDirectory ? new Map() : undefined,
      linkKey: undefined,
      linkCount: 1,
    };
    if (isDirectory) this.#directories.set(path, node);
    this.entries++;
    return node;
  }

  #link(node: TreeNode, { linkKey, content }: TreeEntry): void {
    if (linkKey === undefined || (node.metadata.mode & S_IFMT) !== S_IFREG) return;
    const first = this.#linked.get(linkKey);
    if (first === undefined || content !== undefined) {
      // A stream that comes again is another file: names of the one before stay with that.
      const isAnother = first !== undefined && content?.kind === 'stream';
      node.linkKey = isAnother ? `${first.linkKey}\0` : linkKey;
      this.#linked.set(linkKey, node);
    } else {
      node.linkKey = first.linkKey;
      // Archives repeat the attributes with each name, and not always the same ones.
      node.metadata = first.metadata;
    }
  }

  /** A directory by its path; those that an archive leaves out are made up. */
  #directory(path: ByteString, child: EntryMetadata): TreeNode {
    const known = this.#directories.get(path);
    if (known !== undefined) return known;
    const parent = this.#directory(parentPath(path), child);
    if (parent.children!.has(baseName(path))) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot publish what is below ${displayBytes(path)}: the tree has it as something else than a folder`,
      );
    }
    const node = this.#node(path, {
      mode: S_IFDIR | 0o755,
      uid: 0,
      gid: 0,
      mtimeSeconds: child.mtimeSeconds,
      mtimeNs: child.mtimeNs,
      symlink: '' as ByteString,
      rdev: 0,
      xattrs: new Map(),
    });
    parent.children!.set(node.name, node);
    return node;
  }

  #forget(directory: TreeNode): void {
    this.#directories.delete(directory.path);
    for (const child of directory.children!.values()) if (child.children !== undefined) this.#forget(child);
  }
}

/** The children of a directory in byte order of their names. */
export function sortedChildren(directory: TreeNode): TreeNode[] {
  return [...directory.children!.values()].sort((a, b) => compareByteStrings(a.name, b.name));
}

/** Hard links are one inode only within a directory: catalogs know no others (docs/format.md#hard-links). */
function countLinks(directory: TreeNode): void {
  const names = new Map<string, TreeNode[]>();
  for (const child of directory.children!.values()) {
    if (child.linkKey === undefined) continue;
    const members = names.get(child.linkKey);
    if (members === undefined) names.set(child.linkKey, [child]);
    else members.push(child);
  }
  for (const members of names.values()) for (const member of members) member.linkCount = members.length;
}

/** Throws FORMAT, LIMIT. */
function checkPath(path: ByteString): void {
  if (path.length > MAX_PATH_BYTES) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot publish ${displayBytes(path.slice(0, 80))}...: a path has ${path.length} bytes, at most ${MAX_PATH_BYTES} are possible`,
    );
  }
  const names = path.split('/');
  const bad = names
    .slice(1)
    .find((name) => name === '' || name === '.' || name === '..' || name.includes('\0'));
  if (names[0] !== '' || bad !== undefined) {
    throw new ThimbleError('FORMAT', `Cannot publish ${displayBytes(path)}: it is not a clean absolute path`);
  }
  const long = names.find((name) => name.length > MAX_NAME_BYTES);
  if (long !== undefined) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot publish ${displayBytes(path)}: a name has ${long.length} bytes, at most ${MAX_NAME_BYTES} are possible`,
    );
  }
}
