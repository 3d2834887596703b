/**
 * A snapshot as a file system: the catalogs of one root hash, answering the questions of the kernel.
 *
 * Nothing is kept per file. A node id is the position of a row: `slot * 2^32 + rowid + 1`, where each attached catalog
 * has a slot; node 1 is the root. So a million listed files cost no memory, and FORGET has nothing to forget.
 */

import { type ByteString, type Bytes, byteStringOf, bytesOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { CatalogReader, CatalogRow, NestedReference } from '../core/catalog/catalog-reader.ts';
import { entriesOf } from '../core/catalog/counters.ts';
import {
  FLAG_BIND_MOUNTPOINT,
  FLAG_DIRECT_IO,
  FLAG_HIDDEN,
  FLAG_NESTED_MOUNTPOINT,
} from '../core/catalog/flags.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { assert, ThimbleError } from '../core/errors.ts';
import { type PathKey, pathKeyOf, pathKeyOfDigest } from '../core/path-key.ts';
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
import { chunkAt, type StoredChunk, type StoredFile, storedFileOf } from './stored-file.ts';

export interface SnapshotVfsOptions {
  readonly hashing: Hashing;
  readonly cache: Pick<ObjectCache, 'read'>;
  /** Values for `$(NAME)` in symlinks; `undefined` shows symlinks as they were published. */
  readonly variable?: ((name: string) => ByteString | undefined) | undefined;
}

/** A catalog to attach, as one thread hands it to another. */
export interface Attachment {
  /** The transition point in the parent catalog; `undefined` for the root catalog. */
  readonly node: NodeId | undefined;
  readonly hash: ContentHash;
  readonly reader: CatalogReader;
}

interface Slot {
  readonly index: number;
  readonly hash: ContentHash;
  readonly reader: CatalogReader;
  readonly rootKey: PathKey;
  /** The directory it is mounted on, as seen by the parent catalog. */
  readonly node: NodeId;
  readonly inodeHigh: number;
  /** Nested catalogs and bind mount points by path; paths are those of this catalog. */
  readonly references: ReadonlyMap<ByteString, NestedReference>;
  /** Hard-link group to the row that stands for its inode. */
  readonly groups: Map<number, number>;
}

interface Directory {
  readonly slot: Slot;
  /** Path as keys of this catalog are made from; below a bind mount point it starts there. */
  readonly path: Bytes;
  readonly key: PathKey;
}

const SLOT = 0x1_0000_0000;
/** Node ids must stay below 2^53. */
const MAX_SLOTS = 2 ** 21;
const MAX_ROWID = SLOT - 2;
/** Entries of the two look-aside tables; a full table is dropped and fills again. */
const MAX_REMEMBERED = 16_384;
const MAX_PATH_BYTES = 64 * 1024;

export class SnapshotVfs implements Vfs {
  readonly #hashing: Hashing;
  readonly #cache: Pick<ObjectCache, 'read'>;
  readonly #variable: ((name: string) => ByteString | undefined) | undefined;
  readonly #slots: Slot[] = [];
  readonly #slotOfNode = new Map<NodeId, Slot>();
  readonly #inodeHighs = new Set<number>();
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
    this.#cache = options.cache;
    this.#variable = options.variable;
  }

  /** Catalogs attached so far. */
  get catalogs(): number {
    return this.#slots.length;
  }

  /** True if the nested catalog of a transition point is here. */
  isAttached(node: NodeId): boolean {
    return this.#slotOfNode.has(node);
  }

  /**
   * Attaches a catalog; the root catalog first. Two instances that attach the same catalogs in the same order agree on
   * every node id. Attaching again at the same node changes nothing.
   */
  attach({ node, hash, reader }: Attachment): void {
    const at = node ?? ROOT_NODE;
    if (this.#slotOfNode.has(at)) return;
    assert(node !== undefined || this.#slots.length === 0, 'the root catalog comes first');
    if (this.#slots.length === MAX_SLOTS) {
      throw new ThimbleError('LIMIT', `Cannot attach catalog ${hash}: ${MAX_SLOTS} are attached already`);
    }
    const slot: Slot = {
      index: this.#slots.length,
      hash,
      reader,
      rootKey: pathKeyOf(this.#hashing, reader.rootPrefix),
      node: at,
      inodeHigh: node === undefined ? 0 : this.#claimInodeHigh(this.#pathOfNode(node)),
      references: new Map(
        [...reader.nested, ...reader.bindMountpoints].map((nested) => [nested.path, nested]),
      ),
      groups: new Map(),
    };
    if (node === undefined && !reader.find(slot.rootKey)) {
      throw new ThimbleError('FORMAT', `Cannot use catalog ${hash}: it has no root entry`);
    }
    this.#slots.push(slot);
    this.#slotOfNode.set(at, slot);
    this.#directories.delete(at);
  }

  lookup(parent: NodeId, name: Bytes): Attributes | undefined | NotYet {
    const directory = this.#directory(parent);
    // Not for files: what Linux makes of a file handle alone it takes for stale when it comes by again (since 6.16), and
    // overlayfs passes that on as ESTALE. It does well without.
    if (directory === undefined || directory instanceof NotYet) return directory;
    // Only for file handles: NFS and overlayfs find their way back by these.
    if (name[0] === 0x2e && name.length === 1) return this.getattr(parent);
    if (name[0] === 0x2e && name[1] === 0x2e && name.length === 2) return this.#parent(directory, parent);
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
    const slot = this.#seek(node);
    return slot === undefined ? undefined : this.#show(slot, slot.reader.row);
  }

  /** With `withHidden`, also what is reached by name alone. */
  readdir(node: NodeId, afterCookie: number, visit: DirectoryVisitor, withHidden = false): boolean | NotYet {
    const directory = this.#directory(node);
    if (directory === undefined) return false;
    if (directory instanceof NotYet) return directory;
    const { slot, key } = directory;
    slot.reader.children(key, afterCookie, (row) => {
      if ((row.flags & FLAG_HIDDEN) !== 0 && !withHidden) return true;
      const { record, rowid, nameStart, nameLength } = row;
      if (!isFileName(record.bytes, nameStart, nameLength)) {
        const name = JSON.stringify(displayBytes(row.name));
        throw new ThimbleError('FORMAT', `Cannot list directory: catalog ${slot.hash} has an entry ${name}`);
      }
      return visit(record.bytes, nameStart, nameLength, this.#show(slot, row), rowid);
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
      if (got === undefined) return new NotYet(chunk.need);
      if (got !== count) {
        throw new ThimbleError(
          'INTEGRITY',
          `Cannot read ${chunk.need.label}: cached object ${chunk.hash} is too short`,
        );
      }
      filled += count;
    }
    return filled;
  }

  readsDirectly(node: NodeId): boolean {
    const row = this.#seek(node)?.reader.row;
    return row !== undefined && (row.flags & FLAG_DIRECT_IO) !== 0;
  }

  getxattr(node: NodeId, name: ByteString): Bytes | undefined {
    const row = this.#seek(node)?.reader.row;
    return row?.hasXattrs ? row.xattrs.get(name) : undefined;
  }

  listxattr(node: NodeId): readonly ByteString[] {
    const row = this.#seek(node)?.reader.row;
    return row?.hasXattrs ? [...row.xattrs.keys()] : [];
  }

  statfs(): FileSystemStatistics {
    const counters = this.#slots[0]!.reader.counters();
    const blockSizeBytes = 4096;
    const bytes = counters.self.file_size + counters.subtree.file_size;
    return { blockSizeBytes, blocks: Math.ceil(bytes / blockSizeBytes), files: entriesOf(counters) };
  }

  /** Absolute path of a node, for messages and tools. */
  pathOf(node: NodeId): ByteString {
    return byteStringOf(this.#pathOfNode(node));
  }

  /** The catalog row behind a node, valid until the next call; `undefined` if there is no such node. */
  rowOf(node: NodeId): CatalogRow | undefined {
    return this.#seek(node)?.reader.row;
  }

  /** True where the root catalog of another revision takes over. */
  isBindMountpoint(node: NodeId): boolean {
    return ((this.rowOf(node)?.flags ?? 0) & FLAG_BIND_MOUNTPOINT) !== 0;
  }

  /** The pieces that a file is stored in: its chunks, or one object. Throws as `read` does. */
  chunksOf(node: NodeId): readonly StoredChunk[] {
    return this.#content(node).chunks;
  }

  /** The nested catalog or bind mount point that takes over at a directory; `undefined` if none does. */
  nestedCatalogOf(node: NodeId): ContentHash | undefined {
    const slot = this.#seek(node);
    if (slot === undefined || !isTransition(slot.reader.row)) return undefined;
    return slot.references.get(this.#walkUp(slot, slot.reader.row))?.hash;
  }

  // ---- nodes ----

  #nodeOf(slot: Slot, rowid: number): NodeId {
    if (rowid > MAX_ROWID)
      throw new ThimbleError('LIMIT', `Cannot use catalog ${slot.hash}: row id ${rowid} is too large`);
    return (slot.index * SLOT + rowid + 1) as NodeId;
  }

  /** Points the reader of the node's catalog at its row. */
  #seek(node: NodeId): Slot | undefined {
    if (node === ROOT_NODE) {
      const root = this.#slots[0];
      return root?.reader.find(root.rootKey) ? root : undefined;
    }
    const slot = this.#slots[Math.floor(node / SLOT)];
    return slot?.reader.seek((node % SLOT) - 1) ? slot : undefined;
  }

  /** Shows a row as attributes, in the one reused object. */
  #show(slot: Slot, row: CatalogRow): Attributes {
    const attributes = this.#attributes;
    const rowid = row.hardlinkGroup > 0 ? this.#firstOfGroup(slot, row) : row.rowid;
    const isRoot = slot.index === 0 && row.nameLength === 0;
    attributes.node = isRoot ? ROOT_NODE : this.#nodeOf(slot, rowid);
    attributes.inodeHigh = slot.inodeHigh;
    attributes.inodeLow = isRoot ? ROOT_NODE : rowid + 1;
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
    const slot = this.#seek(node);
    if (slot === undefined) return undefined;
    const row = slot.reader.row;
    if ((row.mode & S_IFMT) !== S_IFDIR) return undefined;
    let directory: Directory;
    if (isTransition(row)) {
      const child = this.#slotOfNode.get(node);
      const path = this.#walkUp(slot, row);
      if (child === undefined) return this.#needCatalog(slot, node, path);
      directory = { slot: child, path: bytesOf(child.reader.rootPrefix), key: child.rootKey };
    } else {
      const key = row.key(new Int32Array(4));
      directory = { slot, path: bytesOf(this.#walkUp(slot, row)), key };
    }
    if (this.#directories.size === MAX_REMEMBERED) this.#directories.clear();
    this.#directories.set(node, directory);
    return directory;
  }

  #needCatalog(slot: Slot, node: NodeId, path: ByteString): NotYet {
    const reference = slot.references.get(path);
    if (reference === undefined) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot list ${path}: catalog ${slot.hash} does not name its nested catalog`,
      );
    }
    return new NotYet({
      kind: 'catalog',
      node,
      hash: reference.hash,
      sizeBytes: reference.sizeBytes,
      mountpoint: path,
    });
  }

  /** The path of a row within the name space of its catalog, by following parent keys up to the catalog's root. */
  #walkUp(slot: Slot, row: CatalogRow): ByteString {
    const { reader, rootKey } = slot;
    const key = row.key(this.#key);
    let path = '';
    while (!sameKey(key, rootKey)) {
      path = `/${row.name}${path}`;
      row.parentKey(key);
      if (path.length > MAX_PATH_BYTES || !reader.find(key)) {
        throw new ThimbleError('FORMAT', `Cannot use catalog ${slot.hash}: entry ${path} hangs in the air`);
      }
    }
    return (reader.rootPrefix + path) as ByteString;
  }

  #pathOfNode(node: NodeId): Bytes {
    const slot = this.#seek(node);
    if (slot === undefined) throw new ThimbleError('INTERNAL', `Node ${node} does not exist`);
    const within = bytesOf(this.#walkUp(slot, slot.reader.row));
    if (slot.index === 0 || slot.reader.rootPrefix !== '') return within;
    // Below a bind mount point, paths of the catalog start at the mount point.
    const outer = this.#pathOfNode(slot.node);
    const path = new Uint8Array(outer.length + within.length);
    path.set(outer);
    path.set(within, outer.length);
    return path;
  }

  #parent(directory: Directory, node: NodeId): Attributes | undefined {
    if (node === ROOT_NODE) return this.getattr(ROOT_NODE);
    const slot = this.#seek(node)!;
    const key = slot.reader.row.parentKey(this.#key);
    // A directory right below a nested root has that root's transition point as parent.
    if (sameKey(key, slot.rootKey)) return this.getattr(slot.node);
    return directory && slot.reader.find(key) ? this.#show(slot, slot.reader.row) : undefined;
  }

  /** The upper half of inode numbers of a catalog: from its path, so that it is the same on every mount. */
  #claimInodeHigh(path: Bytes): number {
    const digest = this.#hashing.digest('md5', path);
    let high = ((digest[0]! << 24) | (digest[1]! << 16) | (digest[2]! << 8) | digest[3]!) & 0x7fff_ffff;
    while (high === 0 || this.#inodeHighs.has(high)) high = (high + 1) & 0x7fff_ffff;
    this.#inodeHighs.add(high);
    return high;
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
    const path = this.#walkUp(slot, row);
    // That has moved the row.
    this.#seek(node);
    const content = storedFileOf(slot.reader, path);
    if (this.#contents.size === MAX_REMEMBERED) this.#contents.clear();
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

function isTransition(row: CatalogRow): boolean {
  return (row.flags & (FLAG_NESTED_MOUNTPOINT | FLAG_BIND_MOUNTPOINT)) !== 0;
}

function sameKey(a: PathKey, b: PathKey): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2] && a[3] === b[3];
}
