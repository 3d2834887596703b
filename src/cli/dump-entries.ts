/**
 * The textual dump of a snapshot: one line for each entry, in a form that can be compared with `diff`. Field names of the
 * JSON form are those of `stat`; a path or target that is not UTF-8 stands in `path_b64`, `target_b64`.
 */

import { createHash } from 'node:crypto';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import { readFileContent, type WalkedEntry, type WalkOptions, walkSnapshot } from '../client/walk.ts';
import { type ByteString, bytesOf } from '../core/bytes/byte-string.ts';
import { decodeUtf8, displayBytes } from '../core/bytes/utf8.ts';
import { type Compression, FLAG_EXTERNAL, FLAG_HIDDEN } from '../core/catalog/flags.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { errorCodeOf, messageOf } from '../core/errors.ts';
import {
  type NodeId,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../core/vfs.ts';

const TYPES: Readonly<Record<number, string>> = {
  [S_IFDIR]: 'dir',
  [S_IFREG]: 'file',
  [S_IFLNK]: 'symlink',
  [S_IFCHR]: 'chardev',
  [S_IFBLK]: 'blockdev',
  [S_IFIFO]: 'fifo',
  [S_IFSOCK]: 'socket',
};

const READ_BYTES = 4 * 1024 * 1024;

export interface DumpedChunk {
  readonly offset: number;
  readonly size: number;
  readonly hash: ContentHash;
}

export interface DumpedEntry {
  readonly path?: string;
  readonly path_b64?: string;
  readonly type: string;
  /** Four octal digits. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  /** The same number on all names of one file; counted from 1 in the order of paths. */
  readonly hardlink_group?: number;
  readonly mtime: number;
  readonly mtime_nsec: number;
  readonly size?: number;
  /** As a mount shows it, variables replaced; `rawlink` is as published, where that differs. */
  readonly target?: string;
  readonly target_b64?: string;
  readonly rawlink?: string;
  /** `major:minor`. */
  readonly rdev?: string;
  readonly xattrs_b64?: Readonly<Record<string, string>>;
  /** Of the stored object; a chunked file has `chunks` instead, or besides. */
  readonly hash?: ContentHash;
  readonly compression?: Compression;
  readonly chunks?: readonly DumpedChunk[];
  /** The content is on an external server. */
  readonly external?: true;
  /** Why nobody can read the content: it is stored in a way that this version does not know. */
  readonly unreadable?: string;
  /** Content of the file, only on request. */
  readonly sha256?: string;
  /** A nested catalog takes over here. */
  readonly catalog?: ContentHash;
  /** Another revision is here, with this root catalog. */
  readonly bind?: ContentHash;
  /** It is reached by name alone. */
  readonly hidden?: true;
}

/** Which files are read for their SHA-256: none, those whose content is in the repository, or external ones too. */
export type DumpedContents = 'none' | 'own' | 'all';

/** All entries of a snapshot, parents first, siblings in byte order. */
export async function* dumpEntries(
  mounted: MountedSnapshot,
  contents: DumpedContents,
  options: WalkOptions = {},
): AsyncGenerator<DumpedEntry> {
  const groups = new Map<NodeId, number>();
  for await (const entry of walkSnapshot(mounted, undefined, options)) {
    const described = describeEntry(mounted, entry, groups);
    const canRead = described.type === 'file' && described.unreadable === undefined;
    const isRead = canRead && contents !== 'none' && !(described.external && contents === 'own');
    yield isRead ? { ...described, sha256: await sha256Of(mounted, entry) } : described;
  }
}

/** `groups` numbers the hard-link groups that have been met. */
export function describeEntry(
  mounted: MountedSnapshot,
  { path, node, attributes }: WalkedEntry,
  groups: Map<NodeId, number>,
): DumpedEntry {
  const { vfs } = mounted;
  const { mode, uid, gid, linkCount, mtimeSeconds, mtimeNs, sizeBytes, rdev } = attributes;
  const kind = mode & S_IFMT;
  const isDevice = kind === S_IFCHR || kind === S_IFBLK;
  const catalog = kind === S_IFDIR ? vfs.nestedCatalogOf(node) : undefined;
  const isHidden = (vfs.rowOf(node)!.flags & FLAG_HIDDEN) !== 0;
  return {
    ...textOrBase64('path', path === '' ? '/' : path),
    type: TYPES[kind] ?? 'unknown',
    mode: (mode & 0o7777).toString(8).padStart(4, '0'),
    uid,
    gid,
    nlink: linkCount,
    ...(kind !== S_IFDIR && linkCount > 1 ? { hardlink_group: groupOf(node, groups) } : {}),
    mtime: mtimeSeconds,
    mtime_nsec: mtimeNs,
    ...(kind === S_IFREG || kind === S_IFLNK ? { size: sizeBytes } : {}),
    ...(kind === S_IFLNK ? describeTarget(mounted, node) : {}),
    ...(isDevice ? { rdev: formatDevice(rdev) } : {}),
    ...describeXattrs(mounted, node),
    ...(kind === S_IFREG ? describeContent(mounted, node) : {}),
    ...(catalog === undefined ? {} : { [vfs.isBindMountpoint(node) ? 'bind' : 'catalog']: catalog }),
    ...(isHidden ? { hidden: true as const } : {}),
  };
}

function groupOf(node: NodeId, groups: Map<NodeId, number>): number {
  const known = groups.get(node);
  if (known !== undefined) return known;
  groups.set(node, groups.size + 1);
  return groups.size;
}

function describeTarget({ vfs }: MountedSnapshot, node: NodeId): Partial<DumpedEntry> {
  const target = vfs.readlink(node) ?? '';
  const raw = vfs.rowOf(node)?.symlink ?? '';
  return { ...textOrBase64('target', target), ...(raw === target ? {} : { rawlink: displayBytes(raw) }) };
}

function describeXattrs({ vfs }: MountedSnapshot, node: NodeId): Partial<DumpedEntry> {
  const names = [...vfs.listxattr(node)].sort();
  if (names.length === 0) return {};
  const pairs = names.map((name) => [displayBytes(name), base64(vfs.getxattr(node, name)!)]);
  return { xattrs_b64: Object.fromEntries(pairs) as Record<string, string> };
}

function describeContent(mounted: MountedSnapshot, node: NodeId): Partial<DumpedEntry> {
  try {
    return describeStoredContent(mounted, node);
  } catch (error) {
    if (errorCodeOf(error) !== 'UNSUPPORTED') throw error;
    return { unreadable: messageOf(error) };
  }
}

function describeStoredContent({ vfs }: MountedSnapshot, node: NodeId): Partial<DumpedEntry> {
  const { hash, compression, flags } = vfs.rowOf(node)!;
  const chunks = vfs.chunksOf(node).map((chunk) => ({
    offset: chunk.offset,
    size: chunk.sizeBytes,
    hash: chunk.hash,
  }));
  const isChunked = chunks.length !== 1 || chunks[0]?.hash !== hash;
  return {
    ...(hash === undefined ? {} : { hash }),
    compression,
    ...(isChunked ? { chunks } : {}),
    ...((flags & FLAG_EXTERNAL) === 0 ? {} : { external: true }),
  };
}

async function sha256Of(mounted: MountedSnapshot, { node, attributes }: WalkedEntry): Promise<string> {
  const sha256 = createHash('sha256');
  for (let offset = 0; offset < attributes.sizeBytes; offset += READ_BYTES) {
    sha256.update(await readFileContent(mounted, node, offset, READ_BYTES));
  }
  return sha256.digest('hex');
}

/** One line; fields that say nothing are left out. */
export function formatEntry(entry: DumpedEntry): string {
  const fields = [
    quote(entry.path ?? bytesText(entry.path_b64!)),
    entry.type,
    entry.mode,
    `${entry.uid}:${entry.gid}`,
    `mtime=${entry.mtime}.${String(entry.mtime_nsec).padStart(9, '0')}`,
  ];
  const { size, rdev, hash, compression, sha256, catalog } = entry;
  if (entry.type === 'dir') fields.push(`links=${entry.nlink}`);
  else if (entry.nlink > 1) fields.push(`links=${entry.nlink}`, `group=${entry.hardlink_group}`);
  if (entry.type === 'file') fields.push(`size=${size}`);
  if (entry.type === 'symlink') {
    fields.push(`target=${quote(entry.rawlink ?? entry.target ?? bytesText(entry.target_b64!))}`);
  }
  if (rdev !== undefined) fields.push(`device=${rdev}`);
  for (const [name, value] of Object.entries(entry.xattrs_b64 ?? {}))
    fields.push(`xattr:${quote(name)}=${value}`);
  if (hash !== undefined) fields.push(`hash=${hash}`);
  if (compression === 'none') fields.push('compression=none');
  if (entry.chunks !== undefined) {
    fields.push(
      `chunks=${entry.chunks.map((chunk) => `${chunk.offset}+${chunk.size}:${chunk.hash}`).join(',')}`,
    );
  }
  if (entry.external) fields.push('external');
  if (entry.unreadable !== undefined) fields.push(`unreadable=${quote(entry.unreadable)}`);
  if (sha256 !== undefined) fields.push(`sha256=${sha256}`);
  if (catalog !== undefined) fields.push(`catalog=${catalog}`);
  if (entry.bind !== undefined) fields.push(`bind=${entry.bind}`);
  if (entry.hidden) fields.push('hidden');
  return fields.join(' ');
}

function bytesText(encoded: string): string {
  return displayBytes(Buffer.from(encoded, 'base64').toString('latin1'));
}

/** An absolute path as text shows it. */
export function formatPath(path: ByteString): string {
  return quote(displayBytes(path === '' ? '/' : path));
}

/** Spaces and backslashes would be taken for something else; what is not printable is escaped already. */
function quote(text: string): string {
  return text.replace(/[ =]/g, (char) => `\\x${char.charCodeAt(0).toString(16)}`);
}

/** `path` or `target` where that is UTF-8, else `path_b64` or `target_b64`. */
export function textOrBase64(name: 'path' | 'target', bytes: string): Partial<DumpedEntry> {
  const text = decodeUtf8(bytes);
  return text === undefined ? { [`${name}_b64`]: base64(bytesOf(bytes as never)) } : { [name]: text };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

/** The kernel's 32-bit encoding: 12 bits of major number between the 8 low and 12 high bits of the minor. */
function formatDevice(rdev: number): string {
  return `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
}
