/**
 * A tree of files as builders hand it to the publisher: an ordered stream of entries, parents before children. `osrepo`,
 * archives and folders yield one; `publish` consumes one.
 */

import type { ByteString, Bytes } from './bytes/byte-string.ts';
import type { Xattrs } from './catalog/xattrs.ts';
import type { ContentHash } from './content-hash.ts';

export interface TreeEntry {
  /** Absolute, no `.` or `..`; the root is the empty string. */
  readonly path: ByteString;
  /** `st_mode`, type bits included. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly mtimeNs: number;
  /** Target of a symlink, else empty. */
  readonly symlink: ByteString;
  /** `st_rdev` of a device, as Linux encodes it, else 0. */
  readonly rdev: number;
  readonly xattrs: Xattrs;
  /** Entries with the same key are hard links of one file; `undefined` for a file with one name. */
  readonly linkKey: string | undefined;
  /** Content of a regular file; `undefined` for later names of a hard-linked file, and for everything else. */
  readonly content: TreeContent | undefined;
}

export type TreeContent =
  | { readonly kind: 'file'; readonly hostPath: ByteString; readonly sizeBytes: number }
  /** To be read to its end before the next entry is asked for. */
  | { readonly kind: 'stream'; readonly sizeBytes: number; readonly chunks: AsyncIterable<Bytes> };

/** An ordered stream of entries. */
export interface Tree {
  /** For messages. */
  readonly name: string;
  entries(): AsyncIterable<TreeEntry>;
  /** What has changed since the tree was published as this snapshot; `undefined` if it does not remember what it was then. */
  changesSince?(snapshot: ContentHash): AsyncIterable<TreeChange> | undefined;
  /** The entries as they were last read are published in this snapshot: a chance to remember them. */
  remember?(snapshot: ContentHash): void;
}

/** One step from the tree that is published to the next one. */
export type TreeChange =
  /** Adds or replaces an entry. A directory that stays a directory keeps what is below it. */
  | { readonly kind: 'put'; readonly entry: TreeEntry }
  /** Takes an entry away with all below it; nothing happens if it is not there. */
  | { readonly kind: 'remove'; readonly path: ByteString }
  /** Takes away all that is below a directory, and leaves the directory. */
  | { readonly kind: 'clear'; readonly path: ByteString };

/** An ordered stream of changes; what they do not name stays as it is. */
export interface TreeChanges {
  /** For messages. */
  readonly name: string;
  changes(): AsyncIterable<TreeChange>;
}
