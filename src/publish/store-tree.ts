/** Stores the contents of a tree, and keeps its entries for the catalogs. */

import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import type { StorageLocation } from '../storage/storage.ts';
import { type AddedContent, ContentPool } from './content-pool.ts';
import type { StoreSettings } from './content-store.ts';
import { TreeIndex, type TreeNode } from './tree-index.ts';

export interface PublishProgress {
  readonly entries: number;
  readonly files: number;
  readonly readBytes: number;
  readonly phase: 'files' | 'catalogs' | 'signing';
}

export interface StoreTreeOptions {
  readonly onProgress?: (progress: PublishProgress) => void;
  readonly threads?: number;
}

export interface StoredTree {
  readonly root: TreeNode;
  readonly entries: number;
  readonly fileBytes: number;
  readonly newObjects: number;
  readonly newBytes: number;
}

/** Reads a tree once, to its end. Throws FORMAT, NOT_FOUND, STORAGE, LIMIT. */
export async function storeTree(
  tree: Tree,
  location: StorageLocation,
  settings: StoreSettings,
  options: StoreTreeOptions,
): Promise<StoredTree> {
  const pool = new ContentPool(location, settings, options.threads);
  try {
    const index = new TreeIndex();
    const byLink = new Map<string, AddedContent>();
    let files = 0;
    for await (const entry of tree.entries()) {
      const node = index.add(entry);
      const content = await storeContent(pool, entry, byLink);
      if (content !== undefined) {
        files++;
        content.stored.then(
          (stored) => {
            node.content = stored;
          },
          // `drain` reports the failure.
          () => {},
        );
      }
      options.onProgress?.({
        phase: 'files',
        entries: index.entries,
        files,
        readBytes: pool.counters().readBytes,
      });
    }
    await pool.drain();
    index.finish();
    const { readBytes, newObjects, newBytes } = pool.counters();
    options.onProgress?.({ phase: 'catalogs', entries: index.entries, files, readBytes });
    return { root: index.root, entries: index.entries, fileBytes: readBytes, newObjects, newBytes };
  } finally {
    await pool.close();
  }
}

/** Each file once, however many names it has. */
async function storeContent(
  pool: ContentPool,
  { path, content, linkKey }: TreeEntry,
  byLink: Map<string, AddedContent>,
): Promise<AddedContent | undefined> {
  const known = linkKey === undefined ? undefined : byLink.get(linkKey);
  if (known !== undefined && content?.kind !== 'stream') return known;
  if (content !== undefined) {
    const added = await pool.add(content);
    if (linkKey !== undefined) byLink.set(linkKey, added);
    return added;
  }
  if (linkKey === undefined) return undefined;
  throw new ThimbleError(
    'FORMAT',
    `Cannot publish ${displayBytes(path)}: the file it is a hard link of does not come before it`,
  );
}
