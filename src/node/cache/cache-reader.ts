/** How a second thread reads what the first one keeps in its cache. */

import type { ObjectCache } from '../../client/cache.ts';
import { type CacheReaderSettings, FolderCacheReader } from './folder-reader.ts';
import { LowerFolder } from './lower-folder.ts';

/** What another thread reads; close it there. */
export type CacheReader = Required<Pick<ObjectCache, 'read' | 'discard'>> & { close(): void };

export function openCacheReader({ folder, lowerFolders, counters }: CacheReaderSettings): CacheReader {
  const readers: FolderCacheReader[] = lowerFolders.map((lower) => new LowerFolder(lower));
  if (folder !== undefined) readers.unshift(new FolderCacheReader(folder, counters));
  const [only] = readers;
  if (readers.length === 1) return only!;
  return {
    read: (id, position, length, into, at) => {
      let count: number | undefined;
      for (let i = 0; count === undefined && i < readers.length; i++) {
        count = readers[i]!.read(id, position, length, into, at);
      }
      return count;
    },
    discard: (id) => {
      for (const reader of readers) reader.discard(id);
    },
    close: () => {
      for (const reader of readers) reader.close();
    },
  };
}
