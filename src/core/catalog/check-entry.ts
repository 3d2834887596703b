/**
 * What each row of a catalog has to keep to (docs/manual/check.md has the table in words): rules that look at one row, and
 * rules that look at one directory. A rule answers what is wrong, or nothing.
 */

import type { ByteString } from '../bytes/byte-string.ts';
import { encodeHex } from '../bytes/hex.ts';
import { DIGEST_BYTES } from '../content-hash.ts';
import { messageOf } from '../errors.ts';
import type { PathKey } from '../path-key.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../vfs.ts';
import type { CatalogRow } from './catalog-reader.ts';
import {
  compressionOfFlags,
  FLAG_BIND_MOUNTPOINT,
  FLAG_CHUNKED,
  FLAG_DIRECT_IO,
  FLAG_DIRECTORY,
  FLAG_EXTERNAL,
  FLAG_FILE,
  FLAG_NESTED_MOUNTPOINT,
  FLAG_NESTED_ROOT,
  FLAG_SPECIAL,
  FLAG_SYMLINK,
  hashAlgorithmOfFlags,
  kindFlags,
} from './flags.ts';

export interface CheckedEntry {
  readonly row: CatalogRow;
  /** Keys that belong to the entry's path, and to that of its directory. */
  readonly key: PathKey;
  readonly parentKey: PathKey;
  /** The directory that the catalog begins with. */
  readonly isCatalogRoot: boolean;
  /** Of the whole repository: it alone has no name. */
  readonly isRepositoryRoot: boolean;
  readonly schemaRevision: number;
}

export type EntryRule = (entry: CheckedEntry) => string | undefined;

/** A name that Linux takes; longer ones cannot be listed. */
const MAX_NAME_BYTES = 255;
/** Older catalogs do not tell devices from files by a flag. */
const SPECIAL_SINCE = 5;
const KIND_FLAGS = FLAG_DIRECTORY | FLAG_FILE | FLAG_SYMLINK | FLAG_SPECIAL;
const CATALOG_FLAGS = FLAG_NESTED_MOUNTPOINT | FLAG_NESTED_ROOT | FLAG_BIND_MOUNTPOINT;

const kindOf = (row: CatalogRow) => row.mode & S_IFMT;
const isRegular = (row: CatalogRow) => kindOf(row) === S_IFREG;
const has = (row: CatalogRow, flag: number) => (row.flags & flag) !== 0;

export const ENTRY_RULES = {
  'path-key': ({ row, key }) => (hasKey(row, key) ? undefined : 'its key is not that of its path'),

  'parent-key': ({ row, parentKey }) =>
    row.hasParent(parentKey) ? undefined : 'its parent key is not that of its directory',

  name: ({ row, isRepositoryRoot }) => {
    const { name } = row;
    if (isRepositoryRoot) return name === '' ? undefined : 'the root directory has a name';
    if (name === '') return 'it has no name';
    if (name === '.' || name === '..' || /[/\0]/.test(name)) return 'no file can have this name';
    return name.length > MAX_NAME_BYTES ? `its name has ${name.length} bytes` : undefined;
  },

  'mode-flags': ({ row, schemaRevision }) => {
    const flags = row.flags & KIND_FLAGS;
    const wanted = kindFlags(row.mode);
    if (flags === wanted || (schemaRevision < SPECIAL_SINCE && flags === (wanted & ~FLAG_SPECIAL))) return;
    return `flags ${row.flags} do not go with mode ${row.mode.toString(8)}`;
  },

  'catalog-flags': ({ row, isCatalogRoot, isRepositoryRoot }) => {
    const flags = row.flags & CATALOG_FLAGS;
    if ((flags & (flags - 1)) !== 0)
      return 'it is more than one of mount point, catalog root, bind mount point';
    if (flags !== 0 && kindOf(row) !== S_IFDIR) return 'it has flags of nested catalogs, and is no directory';
    const wanted = isCatalogRoot && !isRepositoryRoot;
    if (has(row, FLAG_NESTED_ROOT) === wanted) return;
    return wanted ? 'it is the root of a nested catalog without the flag' : 'it is flagged as a catalog root';
  },

  'file-flags': ({ row }) =>
    has(row, FLAG_CHUNKED | FLAG_EXTERNAL | FLAG_DIRECT_IO) && !isRegular(row)
      ? 'only regular files are chunked, external or read directly'
      : undefined,

  encoding: ({ row }) => {
    if (!isRegular(row)) return;
    return failureOf(() => {
      hashAlgorithmOfFlags(row.flags);
      compressionOfFlags(row.flags);
    });
  },

  'content-hash': ({ row }) => {
    if (isRegular(row)) {
      const { digest } = row;
      if (digest === undefined) return has(row, FLAG_CHUNKED) ? undefined : 'it is a file without a hash';
      return digest.length === DIGEST_BYTES ? undefined : `its hash has ${digest.length} bytes`;
    }
    return row.digest !== undefined && kindOf(row) !== S_IFDIR
      ? 'it has a hash, and is no regular file'
      : undefined;
  },

  size: ({ row }) => (isRegular(row) && !(row.sizeBytes >= 0) ? `its size is ${row.sizeBytes}` : undefined),

  'symlink-target': ({ row }) => {
    // The reference client crashes on it.
    if (!row.hasSymlink) return 'its symlink column is NULL';
    if (kindOf(row) === S_IFLNK) return row.symlink === '' ? 'it is a symlink to nothing' : undefined;
    return row.symlink === '' ? undefined : 'it has a target, and is no symlink';
  },

  'link-count': ({ row }) => (row.linkCount > 0 ? undefined : 'its link count is 0'),

  time: ({ row }) =>
    row.mtimeNs >= 0 && row.mtimeNs < 1e9 ? undefined : `its time has ${row.mtimeNs} nanoseconds`,

  xattrs: ({ row }) => failureOf(() => row.xattrs),
} as const satisfies Record<string, EntryRule>;

/** A directory after all of its entries in this catalog have been seen. */
export interface CheckedDirectory {
  /** Those of before schema 2.4 say nothing. */
  readonly hasLinkCounts: boolean;
  readonly linkCount: number;
  readonly isNestedRoot: boolean;
  readonly isRepositoryRoot: boolean;
  /** What is below it stands in another catalog. */
  readonly isElsewhere: boolean;
  readonly entries: number;
  readonly subdirectories: number;
  /** `.cvmfscatalog` is among its entries, as a regular file. */
  readonly hasMarker: boolean;
  readonly repeatedNames: readonly ByteString[];
  readonly groups: ReadonlyMap<number, HardlinkGroup>;
}

export interface HardlinkGroup {
  readonly first: EntryFacts;
  count: number;
  /** Names of fields in which a member differs from the first. */
  readonly differences: Set<string>;
  /** Another directory of the catalog has members, too. */
  readonly isElsewhere: boolean;
}

export type DirectoryRule = (directory: CheckedDirectory) => string | undefined;

export const MARKER_NAME = '.cvmfscatalog';

export const DIRECTORY_RULES = {
  'unique-names': ({ repeatedNames: [name] }) =>
    name === undefined ? undefined : `more than one entry has the name ${JSON.stringify(name)}`,

  'directory-link-count': ({ hasLinkCounts, isElsewhere, linkCount, subdirectories }) =>
    !hasLinkCounts || isElsewhere || linkCount === 2 + subdirectories
      ? undefined
      : `its link count is ${linkCount}, and it has ${subdirectories} directories`,

  'hardlink-groups': ({ groups }) => {
    for (const [id, { first, count, differences, isElsewhere }] of groups) {
      if (isElsewhere) return `hard-link group ${id} has members in other directories`;
      if (differences.size > 0)
        return `members of hard-link group ${id} differ in ${[...differences].join(', ')}`;
      if (count !== first.linkCount)
        return `hard-link group ${id} has ${count} members, and link count ${first.linkCount}`;
    }
    return undefined;
  },

  'catalog-marker': ({ isElsewhere, isNestedRoot, isRepositoryRoot, hasMarker }) => {
    if (isElsewhere || isRepositoryRoot || hasMarker === isNestedRoot) return;
    return hasMarker ? `it has a ${MARKER_NAME}, and no catalog` : `it is a catalog without a ${MARKER_NAME}`;
  },

  'transition-empty': ({ isElsewhere, entries }) =>
    isElsewhere && entries > 0 ? `${entries} entries are in front of its nested catalog` : undefined,
} as const satisfies Record<string, DirectoryRule>;

/** All of an entry that has to be the same where it stands twice. */
export type EntryFacts = ReturnType<typeof factsOf>;

export function factsOf(row: CatalogRow) {
  return {
    mode: row.mode,
    uid: row.uid,
    gid: row.gid,
    sizeBytes: row.sizeBytes,
    mtimeSeconds: row.mtimeSeconds,
    mtimeNs: row.mtimeNs,
    linkCount: row.linkCount,
    flags: row.flags & ~CATALOG_FLAGS,
    hash: row.digest === undefined ? undefined : encodeHex(row.digest),
    symlink: row.symlink,
    xattrs: row.xattrBlob === undefined ? undefined : encodeHex(row.xattrBlob),
  } as const;
}

/** Names of the fields that differ. */
export function differencesOf(a: EntryFacts, b: EntryFacts): string[] {
  return (Object.keys(a) as (keyof EntryFacts)[]).filter((field) => a[field] !== b[field]);
}

const scratch: PathKey = new Int32Array(4);

function hasKey(row: CatalogRow, key: PathKey): boolean {
  const actual = row.key(scratch);
  return actual[0] === key[0] && actual[1] === key[1] && actual[2] === key[2] && actual[3] === key[3];
}

function failureOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
