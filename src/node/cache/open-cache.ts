/** Builds the cache that a reader was told to use. */

import { existsSync } from 'node:fs';
import { MemoryCache, type SteeredCache } from '../../client/cache.ts';
import type { CacheSettings } from '../../client/cache-settings.ts';
import { type CacheTrouble, TieredCache } from '../../client/tiered-cache.ts';
import { messageOf } from '../../core/errors.ts';
import type { Log } from '../../core/ports.ts';
import { FolderCache, type FolderCacheSettings } from './folder-cache.ts';
import { type CacheReaderSettings, COUNTERS_BYTES } from './folder-reader.ts';
import { LowerFolder } from './lower-folder.ts';
import { openMemoryFolder } from './memory-folder.ts';

export interface OpenedCache {
  readonly cache: SteeredCache;
  /** For `openCacheReader` in another thread; `undefined` if only this one can read. */
  readonly reader: CacheReaderSettings | undefined;
  /** For `FolderCache.open` in another thread; `undefined` if only this one can write. */
  readonly writer: FolderCacheSettings | undefined;
  close(): void;
}

/** Throws STORAGE for a folder that can be neither written nor read. */
export function openCache(settings: CacheSettings, log: Log): OpenedCache {
  const { upper, readOnly } = openUpper(settings, log);
  const lowerFolders = [...(readOnly === undefined ? [] : [readOnly.folder]), ...settings.lowerFolders];
  const lower = lowerFolders.map((one) => new LowerFolder(one));
  const close = () => {
    if (upper instanceof FolderCache) upper.close();
    for (const one of lower) one.close();
  };
  const cache = lower.length === 0 ? upper : new TieredCache(upper, lower, readOnly?.trouble);
  const own = upper instanceof FolderCache ? upper.readerSettings : undefined;
  const writer = upper instanceof FolderCache ? upper.settings : undefined;
  if (own === undefined && lower.length === 0) return { cache, reader: undefined, writer, close };
  const counters = own?.counters ?? new SharedArrayBuffer(COUNTERS_BYTES);
  return { cache, reader: { folder: own?.folder, lowerFolders, counters }, writer, close };
}

interface Upper {
  readonly upper: SteeredCache;
  /** The folder that was wanted, where it can only be read. */
  readonly readOnly?: { readonly folder: string; readonly trouble: CacheTrouble };
}

function openUpper({ folder, limitBytes, keepFreeBytes }: CacheSettings, log: Log): Upper {
  const inMemory = () => openMemoryFolder(limitBytes, log) ?? new MemoryCache(limitBytes);
  if (folder === undefined) return { upper: inMemory() };
  try {
    return { upper: FolderCache.open(folder, { limitBytes, keepFreeBytes, log }) };
  } catch (error) {
    // What is there can still be read.
    if (!existsSync(`${folder}/sums`)) throw error;
    const lastError = messageOf(error);
    log.warn('cache folder cannot be written, reading from it alone', { folder, error: lastError });
    const sinceSeconds = Math.floor(Date.now() / 1000);
    return {
      upper: inMemory(),
      readOnly: { folder, trouble: { state: 'read-only', sinceSeconds, lastError } },
    };
  }
}
