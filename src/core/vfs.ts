/**
 * A read-only file system as the kernel asks for it. Every method answers at once from what is at hand; where something
 * has to be fetched first it answers `NotYet`, and the caller asks again when `need` is fulfilled. So one implementation
 * serves a blocking worker, an event loop, and an engine without threads.
 */

import type { ByteString, Bytes } from './bytes/byte-string.ts';
import type { Compression } from './catalog/flags.ts';
import type { ContentHash, ObjectType } from './content-hash.ts';

/** Opaque and stable while mounted; below 2^53. */
export type NodeId = number & { readonly __brand: 'NodeId' };

export const ROOT_NODE = 1 as NodeId;

export interface Attributes {
  node: NodeId;
  /** Inode number, stable over mounts of the same snapshot, as two 32-bit halves. */
  inodeHigh: number;
  inodeLow: number;
  /** `st_mode`, type bits included. */
  mode: number;
  linkCount: number;
  uid: number;
  gid: number;
  sizeBytes: number;
  /** Device number in the kernel's 32-bit encoding. */
  rdev: number;
  mtimeSeconds: number;
  mtimeNs: number;
}

export interface ObjectNeed {
  readonly kind: 'object';
  readonly hash: ContentHash;
  readonly type: ObjectType;
  readonly compression: Compression;
  /** Inflated bytes, known from the catalog. */
  readonly sizeBytes: number;
  /** What it is, for messages; where this is missing, `place` tells. */
  readonly label?: string | undefined;
  /** Where it is, if that is not the repository. */
  readonly external?: ExternalPlace;
  /** Which piece of which file somebody waits for. */
  readonly place?: { readonly node: NodeId; readonly chunk: number };
}

/** Content that lies on an external server under the path of its file. */
export interface ExternalPlace {
  /** Below the server's address, percent-encoded, without `/` at its start. */
  readonly path: string;
  /** Of the file there; `undefined` for all of it. */
  readonly range: ByteRange | undefined;
}

export interface ByteRange {
  readonly offset: number;
  /** Above 0. */
  readonly length: number;
}

export interface CatalogNeed {
  readonly kind: 'catalog';
  readonly hash: ContentHash;
  readonly sizeBytes: number;
  /** Absolute path of the directory that it is mounted on. */
  readonly mountpoint: ByteString;
}

export type Need = ObjectNeed | CatalogNeed;

/** The answer "ask again when this is here". */
export class NotYet {
  readonly need: Need;
  constructor(need: Need) {
    this.need = need;
  }
}

export interface FileSystemStatistics {
  readonly blockSizeBytes: number;
  readonly blocks: number;
  readonly files: number;
}

/** Called for each entry of a listing; the name is `bytes[start, start + length)`. False ends the listing. */
export type DirectoryVisitor = (
  bytes: Bytes,
  start: number,
  length: number,
  attributes: Attributes,
  cookie: number,
) => boolean;

/** Methods throw ThimbleError for damage; `Attributes` they answer with are reused by the next call. */
export interface Vfs {
  lookup(parent: NodeId, name: Bytes): Attributes | undefined | NotYet;
  getattr(node: NodeId): Attributes | undefined;
  /**
   * Visits the entries after the one with this cookie (0: from the start), in a stable order, without `.` and `..`.
   * Answers false if `node` is not a directory.
   */
  readdir(node: NodeId, afterCookie: number, visit: DirectoryVisitor): boolean | NotYet;
  readlink(node: NodeId): ByteString | undefined;
  /** Reads into `into` at `at`; answers the number of bytes, 0 at the end of the file. */
  read(node: NodeId, offset: number, length: number, into: Bytes, at: number): number | NotYet;
  /** Whether a file is to be read past the page cache of the kernel. */
  readsDirectly(node: NodeId): boolean;
  getxattr(node: NodeId, name: ByteString): Bytes | undefined;
  listxattr(node: NodeId): readonly ByteString[];
  statfs(): FileSystemStatistics;
}

export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
