/** Whether an entry is the same in two revisions: then it keeps its node, and with it what the kernel knows of it. */

import type { Bytes } from '../core/bytes/byte-string.ts';
import type { CatalogReader, CatalogRow } from '../core/catalog/catalog-reader.ts';
import { FLAG_CHUNKED } from '../core/catalog/flags.ts';
import { S_IFDIR, S_IFMT } from '../core/vfs.ts';

/** Compares the rows that two catalogs show, both of the same path. A directory is the same as long as it is one. */
export function isSameEntry(a: CatalogReader, b: CatalogReader): boolean {
  const isDirectory = (a.row.mode & S_IFMT) === S_IFDIR;
  if (isDirectory || (b.row.mode & S_IFMT) === S_IFDIR) return (a.row.mode & b.row.mode & S_IFMT) === S_IFDIR;
  return (
    isSameAttributes(a.row, b.row) &&
    a.row.flags === b.row.flags &&
    a.row.symlink === b.row.symlink &&
    a.row.compression === b.row.compression &&
    isSameBytes(a.row.digest, b.row.digest) &&
    ((a.row.flags & FLAG_CHUNKED) === 0 || chunksOf(a) === chunksOf(b))
  );
}

/** What stat(2) and getxattr(2) tell, node and type aside. */
export function isSameAttributes(a: CatalogRow, b: CatalogRow): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.sizeBytes === b.sizeBytes &&
    a.mtimeSeconds === b.mtimeSeconds &&
    a.mtimeNs === b.mtimeNs &&
    a.linkCount === b.linkCount &&
    // Groups are numbered anew from revision to revision.
    a.hardlinkGroup > 0 === b.hardlinkGroup > 0 &&
    isSameBytes(a.xattrBlob, b.xattrBlob)
  );
}

function chunksOf(reader: CatalogReader): string {
  const { row } = reader;
  const chunks = reader.chunks(row.key(new Int32Array(4)), row.sizeBytes, row.flags);
  return chunks.map(({ offset, hash }) => `${offset} ${hash}`).join();
}

function isSameBytes(a: Bytes | undefined, b: Bytes | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
