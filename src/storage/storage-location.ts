import { httpAddressOf, isS3Location, parseS3Location } from './s3-location.ts';
import type { StorageLocation } from './storage.ts';

/** Where a repository's settings say its files are: a folder, or `s3://bucket/prefix?...`. Throws USAGE. */
export function storageLocation(text: string): StorageLocation {
  return isS3Location(text) ? parseS3Location(text) : { kind: 'folder', path: text };
}

/** Where clients on this machine read it: a folder, or an address that answers if reading is public. */
export function readingAddress(location: StorageLocation): string {
  return location.kind === 's3' ? httpAddressOf(location) : location.path;
}
