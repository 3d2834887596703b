/**
 * The tree that will be the next revision: what is published now, read catalog by catalog where a change goes, with the
 * changes applied. What nobody touches is never read.
 */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { FLAG_HIDDEN } from '../core/catalog/flags.ts';
import { ThimbleError } from '../core/errors.ts';
import { baseName, parentPath } from '../core/path-key.ts';
import type { TreeEntry } from '../core/tree.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { AUTOMATIC_MARKER, CATALOG_MARKER } from './catalog-plan.ts';
import type { PublishedCatalogs } from './published-catalogs.ts';
import { countLinks, type EntryMetadata, isSameMetadata, makeNode, type TreeNode } from './tree-node.ts';

export const MAX_NAME_BYTES = 255;
/** What a system call takes, less the zero byte. */
export const MAX_PATH_BYTES = 4095;

export class DraftTree {
  readonly root: TreeNode;
  readonly published: PublishedCatalogs;
  /** The directory that the changes are all of: in it, directories that they leave out are made up anew. */
  readonly #whole: ByteString | undefined;
  readonly #directories = new Map<ByteString, TreeNode>();
  /** The first name of each file that may have more. */
  readonly #linked = new Map<string, TreeNode>();
  /** Published entries that were taken away, as long as they have not come back. */
  readonly #lost = new Map<ByteString, TreeNode>();

  /** `root` is the root directory as published. */
  constructor(root: TreeNode, published: PublishedCatalogs, whole: ByteString | undefined) {
    this.root = root;
    this.published = published;
    this.#whole = whole;
    this.#register(root);
  }

  /**
   * Adds an entry, or replaces the one of this path; a directory that stays one keeps what is in it. Throws FORMAT, LIMIT,
   * and as `PublishedCatalogs.enter` does.
   */
  async put(entry: TreeEntry): Promise<TreeNode> {
    const { path, linkKey: _key, content: _content, ...metadata } = entry;
    checkPath(path);
    const node = path === '' ? this.root : await this.#place(path, metadata);
    setMetadata(node, metadata);
    // The root of a nested catalog stands in that catalog, too.
    if (node.metadata !== node.published?.metadata) await this.enter(node);
    node.isSeen = true;
    this.#link(node, entry);
    return node;
  }

  /** Takes an entry away, with all below it; nothing happens if it is not there. */
  async remove(path: ByteString): Promise<void> {
    const node = path === '' ? undefined : await this.find(path);
    if (node === undefined) return;
    this.#detach(this.#directories.get(parentPath(path))!, node);
  }

  /** Takes away all that is below a directory. */
  async clear(path: ByteString): Promise<void> {
    const node = await this.find(path);
    if (node?.children === undefined) return;
    // A catalog that nobody entered loses what nobody knows.
    if (node.unread !== undefined) node.hasLost = true;
    node.unread = undefined;
    for (const child of node.children.values()) this.#detach(node, child);
  }

  /** The entry of a path, entering catalogs on the way; `undefined` if there is none. */
  async find(path: ByteString): Promise<TreeNode | undefined> {
    const known = this.#directories.get(path);
    if (known !== undefined) return known;
    const parent = await this.find(parentPath(path));
    if (parent?.children === undefined) return undefined;
    await this.enter(parent);
    return parent.children.get(baseName(path));
  }

  /** Makes sure that the children of a directory are there. */
  async enter(directory: TreeNode): Promise<void> {
    if (directory.unread === undefined) return;
    await this.published.enter(directory);
    for (const child of directory.children!.values()) this.#register(child);
  }

  /** Removes what nobody named below a directory; what the publisher itself maintains stays. */
  async removeUnseen(path: ByteString): Promise<void> {
    const directory = await this.find(path);
    if (directory?.children !== undefined) await this.#removeUnseenIn(directory);
  }

  async #removeUnseenIn(directory: TreeNode): Promise<void> {
    await this.enter(directory);
    for (const child of directory.children!.values()) {
      if (isMaintained(child, directory)) continue;
      if (!child.isSeen) this.#detach(directory, child);
      else if (child.children !== undefined) await this.#removeUnseenIn(child);
    }
  }

  /** Finds out what only the whole tree tells. Call when every change is there. */
  complete(): void {
    for (const path of this.#lost.keys()) {
      const parent = this.#directories.get(parentPath(path));
      if (parent !== undefined) parent.hasLost = true;
    }
    for (const directory of this.#directories.values()) countLinks(directory);
  }

  /** The node at a path, made if what is there is something else; its directory is made up if nobody named it. */
  async #place(path: ByteString, metadata: EntryMetadata): Promise<TreeNode> {
    const parent = await this.#directory(parentPath(path), metadata);
    const existing = parent.children!.get(baseName(path));
    const isSameKind =
      existing !== undefined && (existing.metadata.mode & S_IFMT) === (metadata.mode & S_IFMT);
    if (isSameKind && existing.bind === undefined) return existing;
    if (existing !== undefined) this.#detach(parent, existing);
    const node = makeNode(path, metadata);
    const lost = this.#lost.get(path);
    if (lost !== undefined && (lost.metadata.mode & S_IFMT) === (metadata.mode & S_IFMT)) {
      node.published = lost.published;
      this.#lost.delete(path);
    }
    parent.children!.set(node.name, node);
    this.#register(node);
    return node;
  }

  /** A directory by its path; those that an archive leaves out are made up. */
  async #directory(path: ByteString, child: EntryMetadata): Promise<TreeNode> {
    const known = await this.find(path);
    if (known?.children !== undefined) {
      if (this.#isLeftOut(known)) await this.#imply(path, child);
      await this.enter(known);
      return known;
    }
    if (known !== undefined && !this.#isLeftOut(known)) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot publish what is below ${displayBytes(path)}: the tree has it as something else than a folder`,
      );
    }
    return this.#imply(path, child);
  }

  /** Nobody has named it so far, and it only stays if somebody does. */
  #isLeftOut({ path, isSeen }: TreeNode): boolean {
    const whole = this.#whole;
    return whole !== undefined && !isSeen && (path === whole || path.startsWith(`${whole}/`));
  }

  async #imply(path: ByteString, { mtimeSeconds, mtimeNs }: EntryMetadata): Promise<TreeNode> {
    return this.put({ ...IMPLIED_DIRECTORY, path, mtimeSeconds, mtimeNs });
  }

  #link(node: TreeNode, { linkKey, content }: TreeEntry): void {
    node.linkKey = undefined;
    if ((node.metadata.mode & S_IFMT) !== S_IFREG) return;
    node.linkCount = 1;
    node.linkedTo = undefined;
    if (linkKey === undefined) return;
    const first = this.#linked.get(linkKey);
    if (first === undefined || content !== undefined) {
      // A stream that comes again is another file: names of the one before stay with that.
      const isAnother = first !== undefined && content?.kind === 'stream';
      node.linkKey = isAnother ? `${first.linkKey}\0` : linkKey;
      this.#linked.set(linkKey, node);
    } else {
      node.linkKey = first.linkKey;
      // Archives repeat the attributes with each name, and not always the same ones.
      setMetadata(node, first.metadata);
    }
  }

  #register(node: TreeNode): void {
    if (node.children === undefined) return;
    this.#directories.set(node.path, node);
    for (const child of node.children.values()) this.#register(child);
  }

  #detach(parent: TreeNode, node: TreeNode): void {
    parent.children!.delete(node.name);
    this.#forget(node);
  }

  #forget(node: TreeNode): void {
    if (node.published !== undefined) this.#lost.set(node.path, node);
    if (node.children === undefined) return;
    this.#directories.delete(node.path);
    for (const child of node.children.values()) this.#forget(child);
  }
}

/** Hidden directories, and the markers of catalogs that nobody asked for. */
function isMaintained({ name, keptFlags }: TreeNode, { children }: TreeNode): boolean {
  if ((keptFlags & FLAG_HIDDEN) !== 0) return true;
  const isMarker = name === CATALOG_MARKER || name === AUTOMATIC_MARKER;
  return isMarker && children!.has(AUTOMATIC_MARKER) && children!.get(CATALOG_MARKER)?.isSeen === false;
}

const IMPLIED_DIRECTORY: Omit<TreeEntry, 'path' | 'mtimeSeconds' | 'mtimeNs'> = {
  mode: S_IFDIR | 0o755,
  uid: 0,
  gid: 0,
  symlink: '' as ByteString,
  rdev: 0,
  xattrs: new Map(),
  linkKey: undefined,
  content: undefined,
};

/** Metadata that is as published stays the same object: that is how changes are told. */
function setMetadata(node: TreeNode, metadata: EntryMetadata): void {
  const { published } = node;
  const isSame = published !== undefined && isSameMetadata(published.metadata, metadata);
  node.metadata = isSame ? published.metadata : metadata;
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
