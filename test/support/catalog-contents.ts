/** What the publisher writes into catalogs, made from entries in memory. */

import type { ContentHash } from '../../src/core/content-hash.ts';
import type { TreeEntry } from '../../src/core/tree.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { planCatalogs } from '../../src/publish/catalog-plan.ts';
import { type CatalogContents, catalogContents, type StoredCatalog } from '../../src/publish/catalog-rows.ts';
import type { StoredContent } from '../../src/publish/content-store.ts';
import { TreeIndex, type TreeNode } from '../../src/publish/tree-index.ts';
import { STORE_SETTINGS } from './storage-place.ts';

export const HASH = `${'ab'.repeat(20)}-shake128` as ContentHash;
export const OTHER = `${'cd'.repeat(20)}-shake128` as ContentHash;
export const whole = (sizeBytes: number): StoredContent => ({ sizeBytes, hash: HASH, chunks: [] });
export const inTwo: StoredContent = {
  sizeBytes: 3000,
  hash: undefined,
  chunks: [
    { offset: 0, sizeBytes: 2000, hash: HASH },
    { offset: 2000, sizeBytes: 1000, hash: OTHER },
  ],
};

/** Contents of the root catalog and of those below, by path; files are stored as `content` says. */
export function contentsOf(
  entries: readonly TreeEntry[],
  content: Readonly<Record<string, StoredContent>> = {},
  settings = STORE_SETTINGS,
): Map<string, CatalogContents> {
  const index = new TreeIndex();
  for (const one of entries) index.add(one);
  index.finish();
  const fill = (node: TreeNode) => {
    if ((node.metadata.mode & 0o170000) === 0o100000) node.content = content[node.path] ?? whole(1);
    for (const child of node.children?.values() ?? []) fill(child);
  };
  fill(index.root);
  const catalogs = new Map<string, CatalogContents>();
  const visit = (plan: ReturnType<typeof planCatalogs>): StoredCatalog => {
    const nested = plan.nested.map(visit);
    const contents = catalogContents(plan, nested, nodeHashing, settings);
    catalogs.set(plan.root.path, contents);
    return { path: plan.root.path, hash: OTHER, sizeBytes: 4096, counters: contents.counters };
  };
  visit(planCatalogs(index.root, { maxEntries: 1_000_000, minEntries: 1 }, whole(0)));
  return catalogs;
}

export const ROOT = {
  revision: 7,
  lastModifiedSeconds: 1_750_000_000,
  previousRevision: HASH,
  ttlSeconds: 240,
};
