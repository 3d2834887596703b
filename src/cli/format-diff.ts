/** The textual and the JSON form of a difference. Entries are described as dumps describe them. */

import type { Difference, DiffSummary } from '../client/diff.ts';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { WalkedEntry } from '../client/walk.ts';
import { type NodeId, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { type DumpedEntry, describeEntry, formatPath } from './dump-entries.ts';
import { formatCount } from './terminal.ts';

/** `+ PATH`, `- PATH` or `M FIELD,FIELD PATH`, with the sizes of a file. */
export function formatDifference({ path, from, to, fields }: Difference): string {
  const mark = from === undefined ? '+' : to === undefined ? '-' : `M ${fields.join(',')}`;
  const sizes = [from, to].filter((entry) => entry !== undefined).map(sizeOf);
  const text = sizes.includes(undefined) ? '' : ` size=${[...new Set(sizes)].join('->')}`;
  return `${mark} ${formatPath(path)}${text}`;
}

function sizeOf({ attributes }: WalkedEntry): number | undefined {
  return (attributes.mode & S_IFMT) === S_IFREG ? attributes.sizeBytes : undefined;
}

export function formatDiffSummary({ added, removed, changed, newContentBytes }: DiffSummary): string {
  const counts = `${formatCount(added)} added, ${formatCount(removed)} removed, ${formatCount(changed)} changed`;
  return `${counts}; ${formatCount(newContentBytes)} bytes of new content`;
}

export interface JsonDifference {
  readonly change: 'added' | 'removed' | 'changed';
  /** Only of what has changed. */
  readonly fields?: readonly string[];
  readonly from?: DumpedEntry;
  readonly to?: DumpedEntry;
}

/** Describes the differences of two snapshots, one after the other. */
export function jsonDifference(
  before: MountedSnapshot,
  after: MountedSnapshot,
): (difference: Difference) => JsonDifference {
  const groupsBefore = new Map<NodeId, number>();
  const groupsAfter = new Map<NodeId, number>();
  return ({ from, to, fields }) => ({
    change: from === undefined ? 'added' : to === undefined ? 'removed' : 'changed',
    ...(fields.length === 0 ? {} : { fields }),
    ...(from === undefined ? {} : { from: describeEntry(before, from, groupsBefore) }),
    ...(to === undefined ? {} : { to: describeEntry(after, to, groupsAfter) }),
  });
}
