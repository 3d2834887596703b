/**
 * `/.cvmfs/snapshots/TAG`: every tagged revision inside the newest one (docs/format.md#virtual-directory). The directory is
 * hidden, has a catalog of its own, and each snapshot in it is a bind mount point: the root catalog of that revision.
 */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { FLAG_HIDDEN } from '../core/catalog/flags.ts';
import { isMaintainedTag, type Tag } from '../core/history.ts';
import type { TreeEntry } from '../core/tree.ts';
import { S_IFDIR, S_IFREG } from '../core/vfs.ts';
import { CATALOG_MARKER } from './catalog-plan.ts';
import type { StoredContent } from './content-store.ts';
import type { DraftTree } from './draft-tree.ts';
import type { TreeNode } from './tree-node.ts';

export const VIRTUAL_DIRECTORY = '/.cvmfs' as ByteString;
const SNAPSHOTS = `${VIRTUAL_DIRECTORY}/snapshots` as ByteString;
/** What the reference writes. */
const DIRECTORY_BYTES = 97;

/** Makes a draft show the snapshots that have names; false if it does so already. Throws as reading catalogs does. */
export async function showSnapshots(
  draft: DraftTree,
  tags: readonly Tag[],
  emptyFile: StoredContent,
  nowSeconds: number,
): Promise<boolean> {
  const wanted = new Map(tags.filter((tag) => !isMaintainedTag(tag)).map((tag) => [tag.name, tag]));
  const shown = await shownSnapshots(draft);
  const isAsWanted = [...wanted].every(
    ([name, { rootCatalog }]) => shown.get(name)?.bind?.hash === rootCatalog,
  );
  if (isAsWanted && shown.size === wanted.size && (await draft.find(SNAPSHOTS)) !== undefined) return false;
  await putDirectory(draft, VIRTUAL_DIRECTORY, nowSeconds);
  (await draft.find(VIRTUAL_DIRECTORY))!.keptFlags = FLAG_HIDDEN;
  const marker = `${VIRTUAL_DIRECTORY}/${CATALOG_MARKER}` as ByteString;
  (await draft.put(entry(marker, S_IFREG | 0o444, nowSeconds))).content = emptyFile;
  await putDirectory(draft, SNAPSHOTS, nowSeconds);
  for (const [name, node] of shown) if (!wanted.has(name)) await draft.remove(node.path);
  for (const [name, tag] of wanted) {
    if (shown.get(name)?.bind?.hash !== tag.rootCatalog) await putSnapshot(draft, name, tag);
  }
  return true;
}

async function shownSnapshots(draft: DraftTree): Promise<Map<string, TreeNode>> {
  const directory = await draft.find(SNAPSHOTS);
  const children = directory?.children?.values() ?? [];
  return new Map([...children].map((node) => [node.name, node]));
}

async function putDirectory(draft: DraftTree, path: ByteString, nowSeconds: number): Promise<void> {
  const node = await draft.put(entry(path, S_IFDIR | 0o555, nowSeconds));
  node.directoryBytes = DIRECTORY_BYTES;
}

/** As the root directory of that revision is. */
async function putSnapshot(draft: DraftTree, name: string, tag: Tag): Promise<void> {
  const path = `${SNAPSHOTS}/${name}` as ByteString;
  const root = await draft.published.rootOf(tag.rootCatalog);
  await draft.remove(path);
  const node = await draft.put({ ...root.metadata, path, linkKey: undefined, content: undefined });
  node.bind = { path, hash: tag.rootCatalog, sizeBytes: tag.rootCatalogSizeBytes };
  node.linkCount = root.linkCount;
  node.directoryBytes = root.directoryBytes;
  // Whatever was here before, it was another revision.
  node.published = undefined;
}

function entry(path: ByteString, mode: number, mtimeSeconds: number): TreeEntry {
  return {
    path,
    mode,
    uid: 0,
    gid: 0,
    mtimeSeconds,
    mtimeNs: 0,
    symlink: '' as ByteString,
    rdev: 0,
    xattrs: new Map(),
    linkKey: undefined,
    content: undefined,
  };
}
