/**
 * A snapshot as a file system: its catalogs, answering the questions of the kernel.
 *
 * Nothing is kept per file. A node id is the position of a row: `slot * 2^32 + rowid + 1`, where each attached catalog
 * has a slot; node 1 is the root. So a million listed files cost no memory, and FORGET has nothing to forget.
 *
 * When the file system moves to another revision, an entry that is the same keeps the node of the catalog where it was first
 * seen. A directory is the same as long as its path is one; anything else as long as nothing of it has changed. So open files
 * keep their content, and processes the directory they are in.
 */

import { type ByteString, type Bytes, byteStringOf, bytesOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { CatalogRow } from '../core/catalog/catalog-reader.ts';
import { entriesOf } from '../core/catalog/counters.ts';
import {
  FLAG_BIND_MOUNTPOINT,
  FLAG_DIRECT_IO,
  FLAG_HIDDEN,
  FLAG_NESTED_MOUNTPOINT,
} from '../core/catalog/flags.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { type PathKey, parentPath, pathKeyOfDigest } from '../core/path-key.ts';
import type { Hashing } from '../core/ports.ts';
import { expandSymlink } from '../core/symlink-variables.ts';
import {
  type Attributes,
  type DirectoryVisitor,
  type FileSystemStatistics,
  type NodeId,
  NotYet,
  ROOT_NODE,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  type Vfs,
} from '../core/vfs.ts';
import { cacheIdOf, type ObjectCache } from './cache.ts';
import { CatalogTree, type Slot } from './catalog-tree.ts';
import { isSameEntry } from './same-entry.ts';
import { chunkAt, type StoredChunk, type StoredFile, storedFileOf } from './stored-file.ts';

export interface SnapshotVfsOptions {
  readonly hashing: Hashing;
  readonly cache: Pick<ObjectCache, 'read' | 'discard'>;
  /** Values for `$(NAME)` in symlinks; `undefined` shows symlinks as they were published. */
  readonly variable?: ((name: string) => ByteString | undefined) | undefined;
}

interface Directory {
  readonly slot: Slot;
  /** Path as keys of this catalog are made from; below a bind mount point it starts there. */
  readonly path: Bytes;
  readonly key: PathKey;
}

const SLOT = 0x1_0000_0000;
const MAX_ROWID = SLOT - 2;
/** Cookies of each version of a catalog; those of a snapshot that never moves stay below this. */
const COOKIES = SLOT;
/** Entries of the two look-aside tables; a full table is dropped and fills again. What is not in there costs some microseconds. */
const MAX_DIRECTORIES = 8_192;
const MAX_CONTENTS = 1_024;
const MAX_PATH_BYTES = 64 * 1024;
/** For files behind another. */
const MAX_ROWS_LOOKED_AT = 256;

export class SnapshotVfs implements Vfs {
  readonly #hashing: Hashing;
  readonly #cache: Pick<ObjectCache, 'read' | 'discard'>;
  readonly #variable: ((name: string) => ByteString | undefined) | undefined;
  readonly #catalogs: CatalogTree;
  readonly #directories = new Map<NodeId, Directory>();
  readonly #contents = new Map<NodeId, StoredFile>();
  readonly #attributes: Attributes = {
    node: ROOT_NODE,
    inodeHigh: 0,
    inodeLow: 0,
    mode: 0,
    linkCount: 0,
    uid: 0,
    gid: 0,
    sizeBytes: 0,
    rdev: 0,
    mtimeSeconds: 0,
    mtimeNs: 0,
  };
  readonly #key: PathKey = new Int32Array(4);
  #path = new Uint8Array(1024);

  constructor(options: SnapshotVfsOptions) {
    this.#hashing = options.hashing;
    this.#catalogs = new CatalogTree(options.hashing);
    this.#cache = options.cache;
    this.#variable = options.variable;
  }

  /** The catalogs that are attached, and those who attach others. */
  get catalogs(): CatalogTree {
    return this.#catalogs;
  }

  /**
   * Shows another revision, whose root catalog is attached already. Directories keep their nodes, and so does what has not changed;
   * other nodes go on to be what they were.
   */
  moveTo(rootCatalog: ContentHash): void {
    this.#catalogs.moveTo(rootCatalog);
    this.#directories.clear();
  }

  lookup(parent: NodeId, name: Bytes): Attributes | undefined | NotYet {
    const directory = this.#directory(parent);
    // Not for files: what Linux makes of a file handle alone it takes for stale when it comes by again (since 6.16), and
    // overlayfs passes that on as ESTALE. It does well without.
    if (directory === undefined || directory instanceof NotYet) return directory;
    // Only for file handles: NFS and overlayfs find their way back by these.
    if (name[0] === 0x2e && name.length === 1) return this.getattr(parent);
    if (name[0] === 0x2e && name[1] === 0x2e && name.length === 2) return this.#parent(directory);
    const { slot, path } = directory;
    const length = path.length + 1 + name.length;
    if (length > this.#path.length) {
      if (length > MAX_PATH_BYTES) return undefined;
      this.#path = new Uint8Array(2 * length);
    }
    this.#path.set(path);
    this.#path[path.length] = 0x2f;
    this.#path.set(name, path.length + 1);
    const key = pathKeyOfDigest(this.#hashing.digest('md5', this.#path.subarray(0, length)));
    return slot.reader.find(key) ? this.#show(slot, slot.reader.row) : undefined;
  }

  getattr(node: NodeId): Attributes | undefined {
    const slot = this.#seekShown(node);
    return slot === undefined ? undefined : this.#show(slot, slot.reader.row, node);
  }

  /** With `withHidden`, also what is reached by name alone. */
  readdir(node: NodeId, afterCookie: number, visit: DirectoryVisitor, withHidden = false): boolean | NotYet {
    const directory = this.#directory(node);
    if (directory === undefined) return false;
    if (directory instanceof NotYet) return directory;
    const { key } = directory;
    const slot = this.#listedSlot(directory.slot, afterCookie);
    const version = slot.version * COOKIES;
    slot.reader.children(key, afterCookie % COOKIES, (row) => {
      if ((row.flags & FLAG_HIDDEN) !== 0 && !withHidden) return true;
      const { record, rowid, nameStart, nameLength } = row;
      if (!isFileName(record.bytes, nameStart, nameLength)) {
        const name = JSON.stringify(displayBytes(row.name));
        throw new ThimbleError('FORMAT', `Cannot list directory: catalog ${slot.hash} has an entry ${name}`);
      }
      return visit(record.bytes, nameStart, nameLength, this.#show(slot, row), version + rowid);
    });
    return true;
  }

  readlink(node: NodeId): ByteString | undefined {
    const row = this.#seek(node)?.reader.row;
    if (row === undefined || (row.mode & S_IFMT) !== S_IFLNK) return undefined;
    return this.#target(row);
  }

  read(node: NodeId, offset: number, length: number, into: Bytes, at: number): number | NotYet {
    const content = this.#content(node);
    const end = Math.min(offset + length, content.sizeBytes);
    let filled = 0;
    for (let i = chunkAt(content.chunks, offset); offset + filled < end; i++) {
      const chunk = content.chunks[i]!;
      const within = offset + filled - chunk.offset;
      const count = Math.min(chunk.sizeBytes - within, end - offset - filled);
      const id = cacheIdOf(chunk.hash, chunk.need.compression);
      const got = this.#cache.read(id, within, count, into, at + filled);
      // A cached object that has lost its end is fetched again, as one that is not here.
      if (got !== undefined && got < count) this.#cache.discard?.(id);
      if (got !== count) return notYet(chunk, node, i);
      filled += count;
    }
    return filled;
  }

  readsDirectly(node: NodeId): boolean {
    const row = this.#seek(node)?.reader.row;
    return row !== undefined && (row.flags & FLAG_DIRECT_IO) !== 0;
  }

  getxattr(node: NodeId, name: ByteString): Bytes | undefined {
    const row = this.rowOf(node);
    return row?.hasXattrs ? row.xattrs.get(name) : undefined;
  }

  listxattr(node: NodeId): readonly ByteString[] {
    const row = this.rowOf(node);
    return row?.hasXattrs ? [...row.xattrs.keys()] : [];
  }

  statfs(): FileSystemStatistics {
    const counters = this.#catalogs.root.reader.counters();
    const blockSizeBytes = 4096;
    const bytes = counters.self.file_size + counters.subtree.file_size;
    return { blockSizeBytes, blocks: Math.ceil(bytes / blockSizeBytes), files: entriesOf(counters) };
  }

  /** Absolute path of a node. Throws NOT_FOUND if there is no such node. */
  pathOf(node: NodeId): ByteString {
    const slot = this.#seek(node);
    if (slot !== undefined) return this.#walkUp(slot, slot.reader.row);
    throw new ThimbleError('NOT_FOUND', `Cannot tell the path of node ${node}: there is no such node`);
  }

  /** The catalog row behind a node, valid until the next call; `undefined` if there is no such node. */
  rowOf(node: NodeId): CatalogRow | undefined {
    return this.#seekShown(node)?.reader.row;
  }

  /** True where the root catalog of another revision takes over. */
  isBindMountpoint(node: NodeId): boolean {
    return ((this.rowOf(node)?.flags ?? 0) & FLAG_BIND_MOUNTPOINT) !== 0;
  }

  /** The pieces that a file is stored in: its chunks, or one object. Throws as `read` does. */
  chunksOf(node: NodeId): readonly StoredChunk[] {
    return this.#content(node).chunks;
  }

  /** The files behind one in the listing of its directory, at most `count`; those without content are passed over. */
  filesBehind(node: NodeId, count: number): NodeId[] {
    const slot = this.#seek(node);
    if (slot === undefined) return [];
    const { row } = slot.reader;
    const files: NodeId[] = [];
    let looked = 0;
    slot.reader.children(row.parentKey(new Int32Array(4)), row.rowid, (next) => {
      if ((next.mode & S_IFMT) === S_IFREG && next.sizeBytes > 0) files.push(this.#nodeAt(slot, next.rowid));
      return files.length < count && ++looked < MAX_ROWS_LOOKED_AT;
    });
    return files;
  }

  /** The files behind one in the order of its catalog's rows, whatever their directories: that in which most trees are read. */
  filesBehindInCatalog(node: NodeId, count: number): NodeId[] {
    const slot = this.#seek(node);
    if (slot === undefined) return [];
    const files: NodeId[] = [];
    let looked = 0;
    slot.reader.entriesBehind(slot.reader.row.rowid, (next) => {
      if ((next.mode & S_IFMT) === S_IFREG && next.sizeBytes > 0) files.push(this.#nodeAt(slot, next.rowid));
      return files.length < count && ++looked < MAX_ROWS_LOOKED_AT;
    });
    return files;
  }

  /** The nested catalog or bind mount point that takes over at a directory; `undefined` if none does. */
  nestedCatalogOf(node: NodeId): ContentHash | undefined {
    const slot = this.#seekShown(node);
    if (slot === undefined || !isTransition(slot.reader.row)) return undefined;
    const path = this.#walkUp(slot, slot.reader.row);
    return slot.references.get(path.slice(slot.base.length) as ByteString)?.hash;
  }

  /** The node of the row that a catalog shows. */
  nodeOf(slot: Slot): NodeId {
    this.#identify(this.#attributes, slot, slot.reader.row);
    return this.#attributes.node;
  }

  /** True if the nested catalog of a transition point is here. */
  isAttached(node: NodeId): boolean {
    const hash = this.nestedCatalogOf(node);
    return hash !== undefined && this.#catalogs.find(this.pathOf(node), hash) !== undefined;
  }

  // ---- nodes ----

  #nodeAt(slot: Slot, rowid: number): NodeId {
    if (rowid > MAX_ROWID)
      throw new ThimbleError('LIMIT', `Cannot use catalog ${slot.hash}: row id ${rowid} is too large`);
    return (slot.index * SLOT + rowid + 1) as NodeId;
  }

  /** Points the reader of the node's catalog at its row: that of the revision in which the node was first seen. */
  #seek(node: NodeId): Slot | undefined {
    if (node === ROOT_NODE) {
      const { root } = this.#catalogs;
      return root.reader.find(root.rootKey) ? root : undefined;
    }
    const slot = this.#catalogs.slot(Math.floor(node / SLOT));
    return slot?.reader.seek((node % SLOT) - 1) ? slot : undefined;
  }

  /** The same, but a directory is seen as it is in the revision shown, as long as it is there. */
  #seekShown(node: NodeId): Slot | undefined {
    const slot = this.#seek(node);
    if (slot === undefined || this.#catalogs.isCurrent(slot) || !isDirectory(slot.reader.row)) return slot;
    const path = this.#walkUp(slot, slot.reader.row);
    const shown = this.#catalogs.slotFor(path, false);
    const isThere =
      !(shown instanceof NotYet) && this.#catalogs.seekPath(shown, path) && isDirectory(shown.reader.row);
    return isThere ? shown : this.#seek(node);
  }

  /** Shows a row as attributes, in the one reused object; under the node that asks, where one does. */
  #show(slot: Slot, row: CatalogRow, node?: NodeId): Attributes {
    const attributes = this.#attributes;
    this.#identify(attributes, slot, row);
    if (node !== undefined) attributes.node = node;
    attributes.mode = row.mode;
    attributes.linkCount = row.linkCount;
    attributes.uid = row.uid;
    attributes.gid = row.gid;
    attributes.mtimeSeconds = row.mtimeSeconds;
    attributes.mtimeNs = row.mtimeNs;
    attributes.rdev = 0;
    attributes.sizeBytes = 0;
    switch (row.mode & S_IFMT) {
      case S_IFREG:
      case S_IFDIR:
        attributes.sizeBytes = row.sizeBytes;
        break;
      case S_IFLNK:
        attributes.sizeBytes = this.#target(row).length;
        break;
      case S_IFCHR:
      case S_IFBLK:
        // The kernel's 32-bit encoding is the low half of the C library's.
        attributes.rdev = row.sizeBytes % SLOT;
        break;
    }
    return attributes;
  }

  /** Node and inode of a row: those of the first revision that had the same here. */
  #identify(attributes: Attributes, slot: Slot, row: CatalogRow): void {
    let first = slot;
    let firstRow = row;
    for (const earlier of slot.versions) {
      if (earlier === slot) break;
      if (!earlier.reader.find(row.key(this.#key)) || !isSameEntry(earlier.reader, slot.reader)) continue;
      first = earlier;
      firstRow = earlier.reader.row;
      break;
    }
    const rowid = firstRow.hardlinkGroup > 0 ? this.#firstOfGroup(first, firstRow) : firstRow.rowid;
    const isRoot = slot.mountpoint === '' && row.nameLength === 0;
    attributes.node = isRoot ? ROOT_NODE : this.#nodeAt(first, rowid);
    attributes.inodeHigh = isRoot ? 0 : first.inodeHigh;
    attributes.inodeLow = isRoot ? ROOT_NODE : rowid + 1;
  }

  #target({ symlink }: CatalogRow): ByteString {
    return this.#variable === undefined ? symlink : expandSymlink(symlink, this.#variable);
  }

  /** The member of a hard-link group that stands for all of them: the one with the lowest row id in its directory. */
  #firstOfGroup(slot: Slot, row: CatalogRow): number {
    const group = row.hardlinkGroup;
    const known = slot.groups.get(group);
    if (known !== undefined) return known;
    const siblings = slot.reader.hardlinkGroups(row.parentKey(new Int32Array(4)));
    for (const [other, rowid] of siblings) if (!slot.groups.has(other)) slot.groups.set(other, rowid);
    return slot.groups.get(group) ?? row.rowid;
  }

  // ---- directories ----

  /** Where the entries of a directory are; `undefined` if the node is not a directory. */
  #directory(node: NodeId): Directory | NotYet | undefined {
    const known = this.#directories.get(node);
    if (known !== undefined) return known;
    const slot = this.#seekShown(node);
    if (slot === undefined || !isDirectory(slot.reader.row)) return undefined;
    const { reader } = slot;
    const isPlain = !isTransition(reader.row);
    const key = reader.row.key(new Int32Array(4));
    const path = this.#walkUp(slot, reader.row);
    const inside = isPlain ? slot : this.#insideOf(slot, path);
    if (inside instanceof NotYet) return inside;
    const directory: Directory = {
      slot: inside,
      path: bytesOf(path.slice(inside.base.length) as ByteString),
      key: isPlain ? key : inside.rootKey,
    };
    if (this.#directories.size === MAX_DIRECTORIES) this.#directories.clear();
    this.#directories.set(node, directory);
    return directory;
  }

  /** The catalog that takes over at a transition point, whose row is in `slot`. */
  #insideOf(slot: Slot, path: ByteString): Slot | NotYet {
    const reference = slot.references.get(path.slice(slot.base.length) as ByteString);
    if (reference === undefined) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot list ${displayBytes(path)}: catalog ${slot.hash} does not name its nested catalog`,
      );
    }
    const { hash, sizeBytes } = reference;
    return (
      this.#catalogs.find(path, hash) ?? new NotYet({ kind: 'catalog', mountpoint: path, hash, sizeBytes })
    );
  }

  /** A listing that was begun in an earlier revision is finished there: its cookies are row ids. */
  #listedSlot(slot: Slot, afterCookie: number): Slot {
    if (afterCookie === 0) return slot;
    const version = Math.floor(afterCookie / COOKIES);
    return slot.versions.find((other) => other.version === version) ?? slot;
  }

  /** The absolute path of a row, by following parent keys up to the root of its catalog. */
  #walkUp({ reader, rootKey, hash, mountpoint }: Slot, row: CatalogRow): ByteString {
    const key = row.key(this.#key);
    let path = '';
    while (!sameKey(key, rootKey)) {
      path = `/${row.name}${path}`;
      row.parentKey(key);
      if (path.length > MAX_PATH_BYTES || !reader.find(key)) {
        throw new ThimbleError('FORMAT', `Cannot use catalog ${hash}: entry ${path} hangs in the air`);
      }
    }
    return (mountpoint + path) as ByteString;
  }

  /** `..`, for file handles alone. */
  #parent(directory: Directory): Attributes | undefined {
    const path = (directory.slot.base + byteStringOf(directory.path)) as ByteString;
    if (path === '') return this.getattr(ROOT_NODE);
    const parent = parentPath(path);
    const slot = this.#catalogs.slotFor(parent, false);
    if (slot instanceof NotYet || !this.#catalogs.seekPath(slot, parent)) return undefined;
    return this.#show(slot, slot.reader.row);
  }

  // ---- contents ----

  #content(node: NodeId): StoredFile {
    const known = this.#contents.get(node);
    if (known !== undefined) return known;
    const slot = this.#seek(node);
    const row = slot?.reader.row;
    if (slot === undefined || row === undefined || (row.mode & S_IFMT) !== S_IFREG) {
      throw new ThimbleError('USAGE', `Cannot read node ${node}: it is not a regular file`);
    }
    const content = storedFileOf(slot.reader, () => this.pathOf(node).slice(slot.base.length) as ByteString);
    if (this.#contents.size === MAX_CONTENTS) this.#contents.clear();
    this.#contents.set(node, content);
    return content;
  }
}

/** Whether bytes can be the name of a file: not empty, `.` or `..`, without slash and zero. */
function isFileName(bytes: Bytes, start: number, length: number): boolean {
  let dots = 0;
  for (let i = start; i < start + length; i++) {
    const byte = bytes[i]!;
    if (byte === 0x2f || byte === 0) return false;
    if (byte === 0x2e) dots++;
  }
  return length > 0 && !(dots === length && length <= 2);
}

/** Without the label: finding out the path takes longer than all the rest. */
function notYet({ need }: StoredChunk, node: NodeId, chunk: number): NotYet {
  const { kind, hash, type, compression, sizeBytes, external } = need;
  const where = external === undefined ? {} : { external };
  return new NotYet({ kind, hash, type, compression, sizeBytes, ...where, place: { node, chunk } });
}

function isTransition(row: CatalogRow): boolean {
  return (row.flags & (FLAG_NESTED_MOUNTPOINT | FLAG_BIND_MOUNTPOINT)) !== 0;
}

function isDirectory(row: CatalogRow): boolean {
  return (row.mode & S_IFMT) === S_IFDIR;
}

function sameKey(a: PathKey, b: PathKey): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}
