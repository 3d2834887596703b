/** What a lost reference log would have said, as far as the repository still tells. */

import { type ContentHash, NULL_HASH, objectPath } from '../core/content-hash.ts';
import { decodeHistory, MAX_HISTORY_BYTES, type Tag } from '../core/history.ts';
import type { Manifest } from '../core/manifest.ts';
import type { Reference } from '../core/reflog.ts';
import { type RootFacts, rootFacts } from './catalog-references.ts';
import { unlessDamaged } from './marked-objects.ts';
import type { StoredObjects } from './stored-objects.ts';

/**
 * Follows manifest, tag databases and root catalogs back to those before them, until one is missing or damaged. When things
 * were added is not known any more: catalogs have the time of their revision, the others that of what names them. What
 * nothing leads to, such as a snapshot whose only tag was removed before the oldest history, is not found. Throws STORAGE.
 */
export async function findReferences(objects: StoredObjects, manifest: Manifest): Promise<Reference[]> {
  const found = new Map<ContentHash, Reference>();
  const nowSeconds = manifest.publishedSeconds ?? 0;
  const add = (hash: ContentHash | undefined, type: Reference['type'], timestampSeconds: number) => {
    if (hash !== undefined && !found.has(hash)) found.set(hash, { hash, type, timestampSeconds });
  };
  add(manifest.certificate, 'certificate', nowSeconds);
  add(manifest.metainfo, 'metainfo', nowSeconds);
  const roots: ContentHash[] = [manifest.rootCatalog];
  for await (const { hash, tags } of historiesFrom(objects, manifest.history)) {
    add(hash, 'history', tags[0]?.timestampSeconds ?? nowSeconds);
    roots.push(...tags.map((tag) => tag.rootCatalog));
  }
  for (let hash = roots.pop(); hash !== undefined; hash = roots.pop()) {
    if (found.has(hash) || (await objects.storage.size(objectPath(hash, 'C'))) === undefined) continue;
    const root = await readRoot(objects, hash);
    add(hash, 'catalog', root?.lastModifiedSeconds ?? nowSeconds);
    if (root?.previousRevision !== undefined) roots.push(root.previousRevision);
  }
  return [...found.values()];
}

interface StoredHistory {
  readonly hash: ContentHash;
  readonly tags: readonly Tag[];
}

async function* historiesFrom(
  objects: StoredObjects,
  newest: ContentHash | undefined,
): AsyncGenerator<StoredHistory> {
  let hash = newest;
  while (hash !== undefined && hash !== NULL_HASH) {
    const known: ContentHash = hash;
    const history = await unlessDamaged(async () =>
      decodeHistory(await objects.load(known, 'H', MAX_HISTORY_BYTES)),
    );
    if (history === undefined) return;
    yield { hash, tags: history.tags };
    hash = history.previousRevision;
  }
}

async function readRoot(objects: StoredObjects, hash: ContentHash): Promise<RootFacts | undefined> {
  const catalog = await unlessDamaged(() => objects.openCatalog(hash));
  return catalog === undefined ? undefined : rootFacts(catalog.reader);
}
