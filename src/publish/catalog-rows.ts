/** The rows of a catalog as they will stand in its tables, and whether a catalog already has them. */

import { type Bytes, bytesOf, equalBytes } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { CatalogReader, CatalogRow, Chunk, NestedReference } from '../core/catalog/catalog-reader.ts';
import { addCounters, type CatalogCounters, COUNTER_NAMES, zeroCounters } from '../core/catalog/counters.ts';
import {
  compressionFlags,
  FLAG_CHUNKED,
  FLAG_DIRECTORY,
  FLAG_NESTED_MOUNTPOINT,
  FLAG_NESTED_ROOT,
  FLAG_SPECIAL,
  FLAG_SYMLINK,
  hashAlgorithmFlags,
  kindFlags,
} from '../core/catalog/flags.ts';
import { encodeXattrs } from '../core/catalog/xattrs.ts';
import { type ContentHash, digestOf } from '../core/content-hash.ts';
import { assert, errorCodeOf, ThimbleError } from '../core/errors.ts';
import { NO_PARENT, type PathKey, parentPath, pathKeyOf } from '../core/path-key.ts';
import type { Hashing } from '../core/ports.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { CatalogPlan } from './catalog-plan.ts';
import type { StoreSettings } from './content-store.ts';
import type { TreeNode } from './tree-index.ts';

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

/** What a nested catalog turned out to be, once it is stored. */
export interface StoredCatalog extends NestedReference {
  readonly counters: CatalogCounters;
}

export interface CatalogContents {
  readonly rows: readonly RowValues[];
  readonly nested: readonly StoredCatalog[];
  readonly counters: CatalogCounters;
}

/** Directories have no size of their own in a repository; this is what the reference writes. */
const DIRECTORY_BYTES = 4096;

export function catalogContents(
  plan: CatalogPlan,
  nested: readonly StoredCatalog[],
  hashing: Hashing,
  settings: StoreSettings,
): CatalogContents {
  const builder = new RowBuilder(hashing, settings);
  const isNested = plan.root.path !== '';
  const rows = [builder.row(plan.root, FLAG_DIRECTORY | (isNested ? FLAG_NESTED_ROOT : 0))];
  const transitions = new Set(plan.nested.map(({ root }) => root));
  for (const node of plan.nodes) {
    rows.push(
      builder.row(node, kindFlags(node.metadata.mode) | (transitions.has(node) ? FLAG_NESTED_MOUNTPOINT : 0)),
    );
  }
  return { rows, nested, counters: count(rows, nested) };
}

/** True if a catalog holds exactly these rows and nested catalogs: then it can be used as it is. */
export function hasContents(reader: CatalogReader, { rows, nested }: CatalogContents): boolean {
  if (reader.nested.length !== nested.length || reader.bindMountpoints.length > 0) return false;
  const known = new Map(reader.nested.map((reference) => [reference.path, reference]));
  if (!nested.every(({ path, hash, sizeBytes }) => same(known.get(path), { hash, sizeBytes }))) return false;
  const chunked: RowValues[] = [];
  let index = 0;
  let equal = true;
  reader.entries((row) => {
    const values = rows[index++];
    equal &&= values !== undefined && isSameRow(row, values);
    if (values !== undefined && values.chunks.length > 0) chunked.push(values);
  });
  if (!equal || index !== rows.length) return false;
  return chunked.every(({ key, sizeBytes, flags, chunks }) => {
    const stored = reader.chunks(key, sizeBytes, flags);
    return (
      stored.length === chunks.length &&
      stored.every((chunk, i) => chunk.hash === chunks[i]!.hash && chunk.sizeBytes === chunks[i]!.sizeBytes)
    );
  });
}

class RowBuilder {
  readonly #hashing: Hashing;
  readonly #settings: StoreSettings;
  readonly #groups = new Map<string, number>();

  constructor(hashing: Hashing, settings: StoreSettings) {
    this.#hashing = hashing;
    this.#settings = settings;
  }

  row(node: TreeNode, flags: number): RowValues {
    const { metadata, path, content } = node;
    const parent = parentPath(path);
    const isChunked = content !== undefined && content.chunks.length > 0;
    let allFlags = flags;
    if (content !== undefined) {
      allFlags |=
        hashAlgorithmFlags(this.#settings.hashAlgorithm) | compressionFlags(this.#settings.compression);
    }
    if (isChunked) allFlags |= FLAG_CHUNKED;
    return {
      key: pathKeyOf(this.#hashing, path),
      parent: path === '' ? NO_PARENT : pathKeyOf(this.#hashing, parent),
      hardlinkGroup: node.linkCount > 1 ? this.#group(parent, node) : 0,
      linkCount: node.children === undefined ? node.linkCount : 2 + subdirectories(node),
      hash: content?.hash,
      sizeBytes: sizeOf(node),
      mode: metadata.mode,
      mtimeSeconds: metadata.mtimeSeconds,
      mtimeNs: metadata.mtimeNs,
      flags: allFlags,
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

function sizeOf(node: TreeNode): number {
  switch (node.metadata.mode & S_IFMT) {
    case S_IFDIR:
      return DIRECTORY_BYTES;
    case S_IFREG:
      assert(node.content !== undefined, 'contents are stored before catalogs are made');
      return node.content.sizeBytes;
    case S_IFLNK:
      return node.metadata.symlink.length;
    default:
      return node.metadata.rdev;
  }
}

function subdirectories(node: TreeNode): number {
  let count = 0;
  for (const child of node.children!.values()) if (child.children !== undefined) count++;
  return count;
}

function count(rows: readonly RowValues[], nested: readonly StoredCatalog[]): CatalogCounters {
  const self = zeroCounters();
  const subtree = zeroCounters();
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
    }
    if (xattr !== undefined) self.xattr++;
  }
  self.nested = nested.length;
  for (const { counters } of nested) {
    addCounters(subtree, counters.self);
    addCounters(subtree, counters.subtree);
  }
  assert(
    COUNTER_NAMES.every((name) => Number.isSafeInteger(subtree[name])),
    'counters are sums of sizes',
  );
  return { self, subtree };
}

const scratch: PathKey = new Int32Array(4);

function isSameRow(row: CatalogRow, values: RowValues): boolean {
  return (
    sameKey(row.key(scratch), values.key) &&
    sameKey(row.parentKey(scratch), values.parent) &&
    row.flags === values.flags &&
    row.mode === values.mode &&
    row.sizeBytes === values.sizeBytes &&
    row.mtimeSeconds === values.mtimeSeconds &&
    row.hasMtimeNs &&
    row.mtimeNs === values.mtimeNs &&
    row.uid === values.uid &&
    row.gid === values.gid &&
    row.linkCount === values.linkCount &&
    row.hardlinkGroup === values.hardlinkGroup &&
    row.hash === values.hash &&
    equalBytes(bytesOf(row.symlink), values.symlink) &&
    equalOptional(row.xattrBlob, values.xattr)
  );
}

function sameKey(a: PathKey, b: PathKey): boolean {
  return a.every((half, i) => half === b[i]);
}

function equalOptional(a: Bytes | undefined, b: Bytes | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equalBytes(a, b);
}

function same(a: NestedReference | undefined, b: Omit<NestedReference, 'path'>): boolean {
  return a !== undefined && a.hash === b.hash && a.sizeBytes === b.sizeBytes;
}

/** Raw digest for the `hash` column. */
export function hashColumn(hash: ContentHash | undefined): Bytes | null {
  return hash === undefined ? null : digestOf(hash);
}
