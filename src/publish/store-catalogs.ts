/** Stores the catalogs of a plan, from the leaves up. Those in which nothing has changed are used again. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { MAX_CATALOG_BYTES, type NestedReference } from '../core/catalog/catalog-reader.ts';
import { checkCatalog } from '../core/catalog/check-catalog.ts';
import {
  addCounters,
  type CatalogCounters,
  type Counters,
  subtractCounters,
  zeroCounters,
} from '../core/catalog/counters.ts';
import { NULL_HASH } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Hashing } from '../core/ports.ts';
import type { CatalogPlan } from './catalog-plan.ts';
import { catalogContents } from './catalog-rows.ts';
import { encodeCatalog } from './catalog-writer.ts';
import type { ContentStore } from './content-store.ts';
import type { PublishedCatalog, PublishedCatalogs } from './published-catalogs.ts';
import { isChanged } from './tree-node.ts';

/** A catalog of the next revision, new or used again. */
export interface StoredCatalog extends NestedReference {
  readonly counters: CatalogCounters;
}

export interface CatalogsTarget {
  readonly published: PublishedCatalogs;
  readonly store: ContentStore;
  readonly hashing: Hashing;
  /** Of the root catalog, if it has changed. */
  readonly revision: number;
  readonly nowSeconds: number;
  readonly ttlSeconds: number;
  /** A path for temporary files. */
  readonly scratch: string;
}

/** Returns the root catalog. Throws STORAGE, LIMIT, and FORMAT if a new catalog would break a rule of the format. */
export async function storeCatalogs(plan: CatalogPlan, target: CatalogsTarget): Promise<StoredCatalog> {
  const { path } = plan.root;
  const nested: (StoredCatalog | NestedReference)[] = [];
  for (const part of plan.nested) nested.push('root' in part ? await storeCatalogs(part, target) : part);
  const published = target.published.at(path);
  if (published !== undefined && !isPlanChanged(plan, nested, published)) return { path, ...published };
  const subtree = await subtreeCounters(nested, published, target.published);
  const contents = catalogContents(plan, nested, subtree, target.hashing);
  const isRoot = path === '';
  const bytes = encodeCatalog(
    contents,
    {
      revision: isRoot ? target.revision : (published?.revision ?? 0) + 1,
      lastModifiedSeconds: target.nowSeconds,
      previousRevision: published?.hash ?? (isRoot ? '' : NULL_HASH),
      ...(isRoot ? { ttlSeconds: target.ttlSeconds } : { rootPrefix: path }),
    },
    target.scratch,
  );
  verifyCatalog(bytes, path, target.hashing);
  const hash = await target.store.putMetadata('C', bytes);
  return { path, hash, sizeBytes: bytes.length, counters: contents.counters };
}

function isPlanChanged(
  plan: CatalogPlan,
  nested: readonly NestedReference[],
  published: PublishedCatalog,
): boolean {
  if (isChanged(plan.root) || plan.nodes.some(isChanged)) return true;
  return nested.length !== published.nested.length || differing(nested, published.nested).length > 0;
}

/** Those of `some` that are not among `others`. */
function differing<T extends NestedReference>(some: readonly T[], others: readonly NestedReference[]): T[] {
  const known = new Map(others.map((one) => [one.path, one]));
  return some.filter(({ path, hash, sizeBytes }) => {
    const other = known.get(path);
    return other?.hash !== hash || other.sizeBytes !== sizeBytes;
  });
}

/** From what it was, less what is no longer nested here, more what is new: catalogs that stay are not read. */
async function subtreeCounters(
  nested: readonly (StoredCatalog | NestedReference)[],
  published: PublishedCatalog | undefined,
  catalogs: PublishedCatalogs,
): Promise<Counters> {
  const subtree = { ...(published?.counters.subtree ?? zeroCounters()) };
  const before = published?.nested ?? [];
  for (const reference of differing(before, nested)) {
    const { self, subtree: below } = await catalogs.countersOf(reference);
    subtractCounters(subtree, self);
    subtractCounters(subtree, below);
  }
  for (const reference of differing(nested, before)) {
    const { self, subtree: below } =
      'counters' in reference ? reference.counters : await catalogs.countersOf(reference);
    addCounters(subtree, self);
    addCounters(subtree, below);
  }
  return subtree;
}

/** What will be signed is checked first, by the rules that `thimble check` has. */
function verifyCatalog(bytes: Uint8Array, path: ByteString, hashing: Hashing): void {
  if (bytes.length > MAX_CATALOG_BYTES) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot publish: the catalog of ${displayBytes(path)} has ${bytes.length} bytes`,
      {
        hint: 'divide it with .cvmfscatalog files, or let catalogs be split earlier',
      },
    );
  }
  const findings: string[] = [];
  checkCatalog(
    bytes,
    { mountpoint: path, sizeBytes: bytes.length },
    {
      hashing,
      report: (rule, where, message) => findings.push(`${displayBytes(where)}: ${message} (${rule})`),
      onObject: () => {},
    },
  );
  if (findings.length === 0) return;
  throw new ThimbleError(
    'FORMAT',
    `Cannot publish: the new catalog of ${displayBytes(path) || '/'} would break a rule: ${findings.slice(0, 3).join('; ')}`,
  );
}
