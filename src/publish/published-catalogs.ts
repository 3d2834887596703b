/** The revision that is published now, as far as a change needs it: catalogs become nodes when somebody enters them. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { CatalogReader, CatalogRow, Chunk, NestedReference } from '../core/catalog/catalog-reader.ts';
import type { CatalogCounters } from '../core/catalog/counters.ts';
import {
  FLAG_BIND_MOUNTPOINT,
  FLAG_CHUNKED,
  FLAG_DIRECT_IO,
  FLAG_EXTERNAL,
  FLAG_HIDDEN,
  FLAG_NESTED_MOUNTPOINT,
} from '../core/catalog/flags.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { type PathKey, pathKeyOf } from '../core/path-key.ts';
import type { Hashing } from '../core/ports.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { StoredCatalogFile, StoredObjects } from '../storage/stored-objects.ts';
import type { StoredContent } from './content-store.ts';
import { countLinks, type EntryMetadata, makeNode, type TreeNode } from './tree-node.ts';

/** A catalog that was entered. */
export interface PublishedCatalog {
  readonly hash: ContentHash;
  readonly sizeBytes: number;
  readonly revision: number;
  readonly counters: CatalogCounters;
  readonly nested: readonly NestedReference[];
}

/** Bits from 17 on are of versions to come; such an entry keeps them. */
const KEPT_FLAGS = FLAG_HIDDEN | FLAG_DIRECT_IO | ~0x1_ffff;

const NO_XATTRS: EntryMetadata['xattrs'] = new Map();

export class PublishedCatalogs {
  readonly #objects: StoredObjects;
  readonly #hashing: Hashing;
  readonly #catalogs = new Map<ByteString, PublishedCatalog>();

  constructor(objects: StoredObjects, hashing: Hashing) {
    this.#objects = objects;
    this.#hashing = hashing;
  }

  /** The catalog of a directory, if it has one that was entered. */
  at(path: ByteString): PublishedCatalog | undefined {
    return this.#catalogs.get(path);
  }

  /** Counters of a catalog, entered or not. Throws as `StoredObjects.openCatalog` does. */
  async countersOf({ path, hash }: NestedReference): Promise<CatalogCounters> {
    const entered = this.#catalogs.get(path);
    if (entered?.hash === hash) return entered.counters;
    return (await this.#objects.openCatalog(hash)).reader.counters();
  }

  /** The root directory with what the root catalog holds. Throws FORMAT, INTEGRITY, NOT_FOUND, STORAGE. */
  async openRoot(hash: ContentHash): Promise<TreeNode> {
    const file = await this.#objects.openCatalog(hash);
    const root = this.#rootNode(file);
    root.published = { ...root };
    this.#fill(root, file);
    return root;
  }

  /** The root directory of any revision, without what is in it. Throws as `openRoot` does. */
  async rootOf(hash: ContentHash): Promise<TreeNode> {
    return this.#rootNode(await this.#objects.openCatalog(hash));
  }

  #rootNode({ hash, reader }: StoredCatalogFile): TreeNode {
    if (!reader.find(pathKeyOf(this.#hashing, '' as ByteString))) {
      throw new ThimbleError('FORMAT', `Cannot publish: catalog ${hash} has no root directory`);
    }
    return nodeOf(reader, reader.row, '' as ByteString, '');
  }

  /** Enters the nested catalog of a directory. Throws as `openRoot` does. */
  async enter(directory: TreeNode): Promise<void> {
    const { unread } = directory;
    if (unread === undefined) return;
    const file = await this.#objects.openCatalog(unread.hash);
    if (file.reader.rootPrefix !== directory.path) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot publish: catalog ${unread.hash} is of ${displayBytes(file.reader.rootPrefix)}, not of ${displayBytes(directory.path)}`,
      );
    }
    directory.unread = undefined;
    this.#fill(directory, file);
  }

  #fill(mount: TreeNode, { hash, sizeBytes, reader }: StoredCatalogFile): void {
    const { nested } = reader;
    this.#catalogs.set(mount.path, {
      hash,
      sizeBytes,
      revision: Number(reader.properties.get('revision' as ByteString) ?? 0),
      counters: reader.counters(),
      nested,
    });
    const transitions = new Map([...nested, ...reader.bindMountpoints].map((one) => [one.path, one]));
    const pending: { directory: TreeNode; key: PathKey }[] = [
      { directory: mount, key: pathKeyOf(this.#hashing, mount.path) },
    ];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { directory, key } = next;
      reader.children(key, 0, (row) => {
        const node = nodeOf(reader, row, `${directory.path}/${row.name}` as ByteString, mount.path);
        directory.children!.set(node.name, node);
        if (node.children === undefined) return true;
        if ((row.flags & (FLAG_NESTED_MOUNTPOINT | FLAG_BIND_MOUNTPOINT)) === 0) {
          pending.push({ directory: node, key: row.key(new Int32Array(4)) });
        } else {
          setTransition(node, row.flags, transitions.get(node.path));
        }
        return true;
      });
      countLinks(directory);
      for (const child of directory.children!.values()) {
        const { metadata, content, linkCount, linkedTo, keptFlags } = child;
        child.published = { metadata, content, linkCount, linkedTo, keptFlags };
      }
    }
  }
}

function setTransition(node: TreeNode, flags: number, reference: NestedReference | undefined): void {
  if (reference === undefined) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot publish: the catalog of ${displayBytes(node.path)} is not registered`,
    );
  }
  if ((flags & FLAG_BIND_MOUNTPOINT) !== 0) node.bind = reference;
  else node.unread = reference;
}

function nodeOf(reader: CatalogReader, row: CatalogRow, path: ByteString, catalog: string): TreeNode {
  const { mode, sizeBytes, flags, hardlinkGroup } = row;
  const kind = mode & S_IFMT;
  const isSpecial = kind !== S_IFREG && kind !== S_IFDIR && kind !== S_IFLNK;
  const node = makeNode(path, {
    mode,
    uid: row.uid,
    gid: row.gid,
    mtimeSeconds: row.mtimeSeconds,
    mtimeNs: row.mtimeNs,
    symlink: kind === S_IFLNK ? row.symlink : ('' as ByteString),
    rdev: isSpecial ? sizeBytes : 0,
    xattrs: row.hasXattrs ? row.xattrs : NO_XATTRS,
  });
  node.keptFlags = flags & KEPT_FLAGS;
  node.linkCount = row.linkCount;
  if (kind === S_IFDIR) node.directoryBytes = sizeBytes;
  if (kind === S_IFREG) {
    node.content = contentOf(reader, row);
    if (hardlinkGroup > 0) node.linkKey = `${catalog}\0${hardlinkGroup}`;
  }
  return node;
}

function contentOf(reader: CatalogReader, row: CatalogRow): StoredContent {
  const { sizeBytes, flags, hash, compression } = row;
  const isChunked = (flags & FLAG_CHUNKED) !== 0;
  const chunks: Chunk[] = isChunked ? reader.chunks(row.key(new Int32Array(4)), sizeBytes, flags) : [];
  return { sizeBytes, hash, chunks, compression, isExternal: (flags & FLAG_EXTERNAL) !== 0 };
}
