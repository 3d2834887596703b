/** The rows of a catalog as they will stand in its tables. */

import { type Bytes, bytesOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { Chunk, NestedReference } from '../core/catalog/catalog-reader.ts';
import { type CatalogCounters, type Counters, zeroCounters } from '../core/catalog/counters.ts';
import {
  compressionFlags,
  FLAG_BIND_MOUNTPOINT,
  FLAG_CHUNKED,
  FLAG_DIRECTORY,
  FLAG_EXTERNAL,
  FLAG_NESTED_MOUNTPOINT,
  FLAG_NESTED_ROOT,
  FLAG_SPECIAL,
  FLAG_SYMLINK,
  hashAlgorithmFlags,
  kindFlags,
} from '../core/catalog/flags.ts';
import { encodeXattrs } from '../core/catalog/xattrs.ts';
import { algorithmOf, type ContentHash, digestOf } from '../core/content-hash.ts';
import { assert, errorCodeOf, ThimbleError } from '../core/errors.ts';
import { NO_PARENT, type PathKey, parentPath, pathKeyOf } from '../core/path-key.ts';
import type { Hashing } from '../core/ports.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { type CatalogPlan, isNestedRoot } from './catalog-plan.ts';
import type { StoredContent } from './content-store.ts';
import type { TreeNode } from './tree-node.ts';

export interface RowValues {
  readonly key: PathKey;
  readonly parent: PathKey;
  readonly hardlinkGroup: number;
  readonly linkCount: number;
  readonly hash: ContentHash | undefined;
  readonly sizeBytes: number;
  readonly mode: number;
  readonly mtimeSeconds: number;
  readonly mtimeNs: number;
  readonly flags: number;
  readonly name: Bytes;
  readonly symlink: Bytes;
  readonly uid: number;
  readonly gid: number;
  readonly xattr: Bytes | undefined;
  readonly chunks: readonly Chunk[];
}

export interface CatalogContents {
  readonly rows: readonly RowValues[];
  readonly nested: readonly NestedReference[];
  readonly bindMountpoints: readonly NestedReference[];
  readonly counters: CatalogCounters;
}

/** `subtree` are the counters of all that is nested below. Throws LIMIT, FORMAT for attributes that cannot be stored. */
export function catalogContents(
  plan: CatalogPlan,
  nested: readonly NestedReference[],
  subtree: Counters,
  hashing: Hashing,
): CatalogContents {
  const builder = new RowBuilder(hashing);
  const isNested = plan.root.path !== '';
  const rows = [builder.row(plan.root, FLAG_DIRECTORY | (isNested ? FLAG_NESTED_ROOT : 0))];
  const bindMountpoints: NestedReference[] = [];
  for (const node of plan.nodes) {
    let flags = kindFlags(node.metadata.mode);
    if (node.bind !== undefined) {
      flags |= FLAG_BIND_MOUNTPOINT;
      bindMountpoints.push({ ...node.bind, path: node.path });
    } else if (isNestedRoot(node)) flags |= FLAG_NESTED_MOUNTPOINT;
    rows.push(builder.row(node, flags));
  }
  return { rows, nested, bindMountpoints, counters: { self: count(rows, nested.length), subtree } };
}

class RowBuilder {
  readonly #hashing: Hashing;
  readonly #groups = new Map<string, number>();

  constructor(hashing: Hashing) {
    this.#hashing = hashing;
  }

  row(node: TreeNode, flags: number): RowValues {
    const { metadata, path, content } = node;
    const parent = parentPath(path);
    return {
      key: pathKeyOf(this.#hashing, path),
      parent: path === '' ? NO_PARENT : pathKeyOf(this.#hashing, parent),
      hardlinkGroup: node.linkedTo === undefined ? 0 : this.#group(parent, node),
      linkCount: linkCountOf(node),
      hash: content?.hash,
      sizeBytes: sizeOf(node),
      mode: metadata.mode,
      mtimeSeconds: metadata.mtimeSeconds,
      mtimeNs: metadata.mtimeNs,
      flags: flags | node.keptFlags | contentFlags(content),
      name: bytesOf(node.name),
      symlink: bytesOf(metadata.symlink),
      uid: metadata.uid,
      gid: metadata.gid,
      xattr: this.#xattrs(node),
      chunks: content?.chunks ?? [],
    };
  }

  /** Numbers count from 1 in each catalog, in the order of first names. */
  #group(parent: string, node: TreeNode): number {
    const key = `${parent}\0${node.linkKey}`;
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = this.#groups.size + 1;
      this.#groups.set(key, group);
    }
    return group;
  }

  #xattrs(node: TreeNode): Bytes | undefined {
    try {
      return encodeXattrs(node.metadata.xattrs);
    } catch (error) {
      throw new ThimbleError(errorCodeOf(error), `Cannot publish ${displayBytes(node.path)}`, {
        cause: error,
      });
    }
  }
}

function contentFlags(content: StoredContent | undefined): number {
  if (content === undefined) return 0;
  const { hash, chunks, compression, isExternal } = content;
  const algorithm = algorithmOf((hash ?? chunks[0]?.hash)!);
  return (
    hashAlgorithmFlags(algorithm) |
    compressionFlags(compression) |
    (chunks.length > 0 ? FLAG_CHUNKED : 0) |
    (isExternal ? FLAG_EXTERNAL : 0)
  );
}

function sizeOf(node: TreeNode): number {
  switch (node.metadata.mode & S_IFMT) {
    case S_IFDIR:
      return node.directoryBytes;
    case S_IFREG:
      assert(node.content !== undefined, 'contents are stored before catalogs are made');
      return node.content.sizeBytes;
    case S_IFLNK:
      return node.metadata.symlink.length;
    default:
      return node.metadata.rdev;
  }
}

/** Of a directory that nobody looked into, what it was. */
function linkCountOf({ children, linkCount, unread, bind }: TreeNode): number {
  if (children === undefined || unread !== undefined || bind !== undefined) return linkCount;
  let subdirectories = 0;
  for (const child of children.values()) if (child.children !== undefined) subdirectories++;
  return 2 + subdirectories;
}

function count(rows: readonly RowValues[], nested: number): Counters {
  const self = zeroCounters();
  for (const { flags, sizeBytes, chunks, xattr } of rows) {
    if ((flags & FLAG_DIRECTORY) !== 0) self.dir++;
    else if ((flags & FLAG_SYMLINK) !== 0) self.symlink++;
    else if ((flags & FLAG_SPECIAL) !== 0) self.special++;
    else {
      self.regular++;
      self.file_size += sizeBytes;
      if ((flags & FLAG_CHUNKED) !== 0) {
        self.chunked++;
        self.chunked_size += sizeBytes;
        self.chunks += chunks.length;
      }
      if ((flags & FLAG_EXTERNAL) !== 0) {
        self.external++;
        self.external_file_size += sizeBytes;
      }
    }
    if (xattr !== undefined) self.xattr++;
  }
  self.nested = nested;
  return self;
}

/** Raw digest for the `hash` column. */
export function hashColumn(hash: ContentHash | undefined): Bytes | null {
  return hash === undefined ? null : digestOf(hash);
}
