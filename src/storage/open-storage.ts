import { FolderStorage } from './folder-storage.ts';
import { S3Storage } from './s3-storage.ts';
import type { Storage, StorageLocation } from './storage.ts';

/** The storage at a location; threads open it each for themselves. */
export function openStorage(location: StorageLocation): Storage {
  return location.kind === 's3' ? new S3Storage(location) : new FolderStorage(location.path);
}
