/** Drafts of trees that have never been published. */

import type { ByteString } from '../../src/core/bytes/byte-string.ts';
import type { TreeEntry } from '../../src/core/tree.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { DraftTree } from '../../src/publish/draft-tree.ts';
import { PublishedCatalogs } from '../../src/publish/published-catalogs.ts';
import { makeNode } from '../../src/publish/tree-node.ts';
import { FolderStorage } from '../../src/storage/folder-storage.ts';
import { StoredObjects } from '../../src/storage/stored-objects.ts';
import { entry } from './memory-tree.ts';

/** A whole tree of these entries, complete. */
export async function draftOf(...entries: readonly TreeEntry[]): Promise<DraftTree> {
  const ports = { hashing: nodeHashing, inflating: nodeInflating };
  const published = new PublishedCatalogs(
    new StoredObjects(new FolderStorage('/nowhere'), ports),
    nodeHashing,
  );
  const { path: _path, linkKey: _key, content: _content, ...metadata } = entry('');
  const draft = new DraftTree(makeNode('' as ByteString, metadata), published, '' as ByteString);
  for (const one of entries) await draft.put(one);
  draft.complete();
  return draft;
}
