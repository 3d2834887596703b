/** The statistics counters of a catalog (docs/format.md#statistics): what it holds itself, and its whole subtree. */

export const COUNTER_NAMES = [
  'regular',
  'symlink',
  'special',
  'dir',
  'nested',
  'chunked',
  'chunks',
  'file_size',
  'chunked_size',
  'xattr',
  'external',
  'external_file_size',
] as const;

export type CounterName = (typeof COUNTER_NAMES)[number];
export type Counters = Record<CounterName, number>;

export interface CatalogCounters {
  readonly self: Counters;
  /** Sum over all catalogs nested below, this one excluded. */
  readonly subtree: Counters;
}

export function zeroCounters(): Counters {
  return Object.fromEntries(COUNTER_NAMES.map((name) => [name, 0])) as Counters;
}

export function addCounters(into: Counters, more: Counters): void {
  for (const name of COUNTER_NAMES) into[name] += more[name];
}

export function subtractCounters(from: Counters, less: Counters): void {
  for (const name of COUNTER_NAMES) from[name] -= less[name];
}

/** Entries of a tree, each once: a transition point is counted by both of its catalogs. */
export function entriesOf({ self, subtree }: CatalogCounters): number {
  const total = (counters: Counters) => counters.regular + counters.symlink + counters.special + counters.dir;
  return total(self) + total(subtree) - self.nested - subtree.nested;
}
