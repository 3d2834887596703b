/** What the publisher writes into catalogs, made from entries in memory. */

import { addCounters, zeroCounters } from '../../src/core/catalog/counters.ts';
import type { ContentHash } from '../../src/core/content-hash.ts';
import type { TreeEntry } from '../../src/core/tree.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { type CatalogPlan, planCatalogs } from '../../src/publish/catalog-plan.ts';
import { type CatalogContents, catalogContents } from '../../src/publish/catalog-rows.ts';
import type { StoredContent } from '../../src/publish/content-store.ts';
import type { TreeNode } from '../../src/publish/tree-node.ts';
import { draftOf } from './draft.ts';

export const HASH = `${'ab'.repeat(20)}-shake128` as ContentHash;
export const OTHER = `${'cd'.repeat(20)}-shake128` as ContentHash;
export const whole = (sizeBytes: number): StoredContent => ({
  sizeBytes,
  hash: HASH,
  chunks: [],
  compression: 'zlib',
  isExternal: false,
});
export const inTwo: StoredContent = {
  ...whole(3000),
  hash: undefined,
  chunks: [
    { offset: 0, sizeBytes: 2000, hash: HASH },
    { offset: 2000, sizeBytes: 1000, hash: OTHER },
  ],
};

/** Contents of the root catalog and of those below, by path; files are stored as `content` says. */
export async function contentsOf(
  entries: readonly TreeEntry[],
  content: Readonly<Record<string, StoredContent>> = {},
): Promise<Map<string, CatalogContents>> {
  const { root } = await draftOf(...entries);
  const fill = (node: TreeNode) => {
    if ((node.metadata.mode & 0o170000) === 0o100000) node.content = content[node.path] ?? whole(1);
    for (const child of node.children?.values() ?? []) fill(child);
  };
  fill(root);
  const catalogs = new Map<string, CatalogContents>();
  const visit = (plan: CatalogPlan): CatalogContents => {
    const subtree = zeroCounters();
    const nested = plan.nested.map((part) => {
      const { counters } = visit(part as CatalogPlan);
      addCounters(subtree, counters.self);
      addCounters(subtree, counters.subtree);
      return { path: (part as CatalogPlan).root.path, hash: OTHER, sizeBytes: 4096 };
    });
    const contents = catalogContents(plan, nested, subtree, nodeHashing);
    catalogs.set(plan.root.path, contents);
    return contents;
  };
  visit(planCatalogs(root, { maxEntries: 1_000_000, minEntries: 1 }, whole(0)));
  return catalogs;
}

export const ROOT = {
  revision: 7,
  lastModifiedSeconds: 1_750_000_000,
  previousRevision: HASH,
  ttlSeconds: 240,
};
