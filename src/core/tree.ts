/**
 * A tree of files as builders hand it to the publisher: an ordered stream of entries, parents before children. `osrepo`,
 * archives and folders yield one; `publish` consumes one.
 */

import type { ByteString, Bytes } from './bytes/byte-string.ts';
import type { Xattrs } from './catalog/xattrs.ts';

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
}
