/** `.cvmfsdirtab`: says in one place which directories get a catalog of their own (docs/format.md#cvmfsdirtab). */

import { type ByteString, byteStringOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { type PathSpec, parsePathSpecs } from '../core/path-spec.ts';
import { S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { StoredObjects } from '../storage/stored-objects.ts';
import { CATALOG_MARKER, markerOf } from './catalog-plan.ts';
import type { StoredContent } from './content-store.ts';
import type { DraftTree } from './draft-tree.ts';
import { isChanged, sortedChildren, type TreeNode } from './tree-node.ts';

export const DIRTAB_NAME = '.cvmfsdirtab' as ByteString;
const MAX_DIRTAB_BYTES = 1024 * 1024;

/**
 * Marks the directories that the dirtab of a draft names, if it has one. Where neither the dirtab nor a catalog has changed,
 * nobody looks. Throws FORMAT for a dirtab that breaks the rules, and as reading catalogs does.
 */
export async function applyDirtab(
  draft: DraftTree,
  objects: StoredObjects,
  emptyFile: StoredContent,
): Promise<void> {
  const file = draft.root.children!.get(DIRTAB_NAME);
  if (file?.content === undefined || (file.metadata.mode & S_IFMT) !== S_IFREG) return;
  const specs = parseDirtab(await readDirtab(file.content, objects));
  const positive = specs.filter(({ isNegative }) => !isNegative);
  const negative = specs.filter(({ isNegative }) => isNegative);
  const looksEverywhere = isChanged(file);
  const pending: TreeNode[] = [draft.root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    const { path } = directory;
    if (path !== '' && positive.some((spec) => spec.matches(path))) {
      const isExcluded = negative.some((spec) => spec.matchesRelaxed(path));
      const isMarked = directory.unread !== undefined || directory.children!.has(CATALOG_MARKER);
      if (!isExcluded && !isMarked)
        (await draft.put(markerOf(directory, CATALOG_MARKER))).content = emptyFile;
    }
    if (!positive.some((spec) => spec.mayMatchBelow(path))) continue;
    if (directory.unread !== undefined && !looksEverywhere) continue;
    await draft.enter(directory);
    pending.push(
      ...sortedChildren(directory).filter(
        ({ children, bind }) => children !== undefined && bind === undefined,
      ),
    );
  }
}

/** Throws FORMAT. */
export function parseDirtab(text: ByteString): readonly PathSpec[] {
  const specs = parsePathSpecs(text, DIRTAB_NAME);
  const relative = specs.find(({ isNegative, isAbsolute }) => !isNegative && !isAbsolute);
  if (relative !== undefined) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot use ${DIRTAB_NAME}: ${displayBytes(relative.text)} does not begin with a slash`,
    );
  }
  const negative = new Set(specs.filter(({ isNegative }) => isNegative).map(({ text: spec }) => spec));
  const both = specs.find(({ isNegative, text: spec }) => !isNegative && negative.has(spec));
  if (both === undefined) return specs;
  throw new ThimbleError(
    'FORMAT',
    `Cannot use ${DIRTAB_NAME}: ${displayBytes(both.text)} is wanted and excluded at the same time`,
  );
}

async function readDirtab(content: StoredContent, objects: StoredObjects): Promise<ByteString> {
  const { hash, sizeBytes, compression } = content;
  if (hash === undefined || sizeBytes > MAX_DIRTAB_BYTES) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot use ${DIRTAB_NAME}: it has ${sizeBytes} bytes, at most ${MAX_DIRTAB_BYTES} are read`,
    );
  }
  return byteStringOf(await objects.load(hash, '', MAX_DIRTAB_BYTES, compression));
}
