/**
 * What differs between two snapshots of a repository. Both are walked side by side; where a nested catalog is the same on
 * both sides, neither is fetched.
 */

import { type ByteString, byteStringOf, compareByteStrings } from '../core/bytes/byte-string.ts';
import type { Xattrs } from '../core/catalog/xattrs.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { type NodeId, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { MountedSnapshot } from './mounted-snapshot.ts';
import type { StoredChunk } from './stored-file.ts';
import { listDirectory, rootOf, type WalkedEntry } from './walk.ts';

/** `links`: the link count, or which names of the directory are the same file. */
export type DifferentField = keyof Facts;

export interface Difference {
  readonly path: ByteString;
  /** `undefined` for what was added. */
  readonly from: WalkedEntry | undefined;
  /** `undefined` for what was removed. */
  readonly to: WalkedEntry | undefined;
  /** Empty unless both are there. */
  readonly fields: readonly DifferentField[];
}

export interface DiffSummary {
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
  /**
   * Content, before compression, of added and changed files that the compared directories of the first snapshot do not
   * have: what a client that has read all of the first has to download to read all of the second. Catalogs come on top.
   */
  readonly newContentBytes: number;
}

/** An entry and what stands for its inode: the first of its names in the directory. */
type Listed = WalkedEntry & { readonly linkedTo: ByteString };

interface Pair {
  readonly from: Listed | undefined;
  readonly to: Listed | undefined;
}

/**
 * Yields each entry that differs once, parents before children, siblings in byte order; returns the totals. Throws as
 * `MountedSnapshot.fulfil` does.
 */
export async function* diffSnapshots(
  from: MountedSnapshot,
  to: MountedSnapshot,
): AsyncGenerator<Difference, DiffSummary> {
  const counts = { added: 0, removed: 0, changed: 0 };
  const oldContent = new Set<ContentHash>();
  const newContent = new Map<ContentHash, number>();
  const isSame = from.snapshot.rootCatalog === to.snapshot.rootCatalog;
  const pending: Pair[] = isSame ? [] : [{ from: listedRoot(from), to: listedRoot(to) }];
  for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
    const { from: old, to: now } = pair;
    const oldChunks = old === undefined ? [] : chunksOf(from, old);
    const newChunks = now === undefined ? [] : chunksOf(to, now);
    for (const { hash } of oldChunks) oldContent.add(hash);
    const fields =
      old === undefined || now === undefined
        ? []
        : differentFields(factsOf(from, old, oldChunks), factsOf(to, now, newChunks));
    const change = old === undefined ? 'added' : now === undefined ? 'removed' : 'changed';
    if (change !== 'changed' || fields.length > 0) {
      counts[change]++;
      for (const { hash, sizeBytes } of newChunks) newContent.set(hash, sizeBytes);
      yield { path: (old ?? now)!.path, from: old, to: now, fields };
    }
    if (old !== undefined && now !== undefined && isSameCatalog(from, old, to, now)) continue;
    const [before, after] = await Promise.all([childrenOf(from, old), childrenOf(to, now)]);
    const pairs = pairsOf(before, after);
    // The stack gives the last one first.
    for (let i = pairs.length - 1; i >= 0; i--) pending.push(pairs[i]!);
  }
  for (const hash of oldContent) newContent.delete(hash);
  let newContentBytes = 0;
  for (const sizeBytes of newContent.values()) newContentBytes += sizeBytes;
  return { ...counts, newContentBytes };
}

function listedRoot(mounted: MountedSnapshot): Listed {
  const root = rootOf(mounted);
  return { ...root, linkedTo: root.path };
}

/** In byte order; none of what is no directory. */
async function childrenOf(mounted: MountedSnapshot, entry: Listed | undefined): Promise<Listed[]> {
  if (entry === undefined || kindOf(entry) !== S_IFDIR) return [];
  const children = await listDirectory(mounted, entry);
  children.sort((a, b) => compareByteStrings(a.path, b.path));
  const firstNames = new Map<NodeId, ByteString>();
  return children.map((child) => {
    const linkedTo = firstNames.get(child.node) ?? child.path;
    firstNames.set(child.node, linkedTo);
    return { ...child, linkedTo };
  });
}

/** Entries of the same path side by side. */
function pairsOf(before: readonly Listed[], after: readonly Listed[]): Pair[] {
  const pairs: Pair[] = [];
  for (let i = 0, j = 0; i < before.length || j < after.length; ) {
    const from = before[i];
    const to = after[j];
    const order = from === undefined ? 1 : to === undefined ? -1 : compareByteStrings(from.path, to.path);
    if (order <= 0) i++;
    if (order >= 0) j++;
    pairs.push({ from: order <= 0 ? from : undefined, to: order >= 0 ? to : undefined });
  }
  return pairs;
}

function isSameCatalog(from: MountedSnapshot, old: Listed, to: MountedSnapshot, now: Listed): boolean {
  const hash = from.vfs.nestedCatalogOf(old.node);
  return hash !== undefined && hash === to.vfs.nestedCatalogOf(now.node);
}

/** All that two entries are compared by; equal facts are equal strings or numbers. */
interface Facts {
  readonly type: number;
  readonly content: string;
  readonly target: string;
  readonly device: number;
  readonly mode: number;
  readonly owner: string;
  readonly mtime: string;
  readonly xattrs: string;
  readonly links: string;
}

/** What only some types have: when the type changes, this goes without saying. */
const OF_A_TYPE: readonly DifferentField[] = ['content', 'target', 'device', 'links'];

function differentFields(a: Facts, b: Facts): DifferentField[] {
  const different = (Object.keys(a) as DifferentField[]).filter((field) => a[field] !== b[field]);
  return a.type === b.type ? different : different.filter((field) => !OF_A_TYPE.includes(field));
}

function factsOf({ vfs }: MountedSnapshot, entry: Listed, chunks: readonly StoredChunk[]): Facts {
  const { mode, uid, gid, rdev, mtimeSeconds, mtimeNs, linkCount } = entry.attributes;
  const type = kindOf(entry);
  const row = vfs.rowOf(entry.node)!;
  return {
    type,
    content: chunks.map(describeChunk).join(),
    // As published: variables are the reader's affair.
    target: type === S_IFLNK ? row.symlink : '',
    device: rdev,
    mode: mode & ~S_IFMT,
    owner: `${uid}:${gid}`,
    mtime: `${mtimeSeconds}.${mtimeNs}`,
    xattrs: row.hasXattrs ? describeXattrs(row.xattrs) : '',
    links: `${linkCount} ${entry.linkedTo}`,
  };
}

function describeChunk({ offset, hash, need }: StoredChunk): string {
  return `${offset}:${hash}:${need.compression}:${need.external === undefined ? '' : 'external'}`;
}

function describeXattrs(xattrs: Xattrs): string {
  return JSON.stringify([...xattrs].map(([name, value]) => [name, byteStringOf(value)]).sort());
}

function kindOf({ attributes }: WalkedEntry): number {
  return attributes.mode & S_IFMT;
}

function chunksOf({ vfs }: MountedSnapshot, entry: WalkedEntry): readonly StoredChunk[] {
  return kindOf(entry) === S_IFREG ? vfs.chunksOf(entry.node) : [];
}
