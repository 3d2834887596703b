import { FolderStorage } from './folder-storage.ts';
import type { Storage, StorageLocation } from './storage.ts';

/** The storage at a location; threads open it each for themselves. */
export function openStorage(location: StorageLocation): Storage {
  return new FolderStorage(location.path);
}
