/** A storage folder without a repository, and looking into one with what Node brings: no code of clients is used. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { inflateSync } from 'node:zlib';
import { type ContentHash, objectPath } from '../../src/core/content-hash.ts';
import { MANIFEST_PATH, parseManifest } from '../../src/core/manifest.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import type { StoredContent, StoreSettings } from '../../src/publish/content-store.ts';
import { FolderStorage } from '../../src/storage/folder-storage.ts';
import { scratchFolder } from './scratch.ts';

export const SMALL_CHUNKS = { minBytes: 1024, averageBytes: 4096, maxBytes: 16384 };

export const STORE_SETTINGS: StoreSettings = {
  hashAlgorithm: 'shake128',
  compression: 'zlib',
  compressionLevel: 6,
  chunkSizes: SMALL_CHUNKS,
};

export interface StoragePlace {
  readonly folder: string;
  readonly storage: FolderStorage;
  /** Makes a file and answers its path. */
  readonly file: (name: string, content: string | Uint8Array) => Buffer;
}

/** Without the 256 folders of objects, which take longer than most tests: they are made when they are missing. */
export function makeStorage(folder: string): void {
  mkdirSync(join(folder, 'data/txn'), { recursive: true });
}

export function storagePlace(t: Pick<TestContext, 'after'>): StoragePlace {
  const scratch = scratchFolder(t);
  const folder = join(scratch, 'storage');
  const storage = new FolderStorage(folder);
  makeStorage(folder);
  const file = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(scratch, name), content);
    return Buffer.from(join(scratch, name));
  };
  return { folder, storage, file };
}

/** What clients make of the pieces as they are stored. */
export function contentOf(folder: string, { hash, chunks }: StoredContent, compression = 'zlib'): Buffer {
  const read = (path: string) => {
    const bytes = readFileSync(join(folder, path));
    return compression === 'zlib' ? inflateSync(bytes) : bytes;
  };
  if (hash !== undefined) return read(objectPath(hash, ''));
  return Buffer.concat(chunks.map((chunk) => read(objectPath(chunk.hash, 'P'))));
}

export function readManifest(storage: string): ReturnType<typeof parseManifest>['manifest'] {
  return parseManifest(nodeHashing, readFileSync(join(storage, MANIFEST_PATH))).manifest;
}

/** Paths of all objects, without temporary files. */
export function objectsOf(storage: string): string[] {
  return readdirSync(join(storage, 'data'))
    .filter((shard) => shard !== 'txn')
    .flatMap((shard) => readdirSync(join(storage, 'data', shard)).map((name) => `data/${shard}/${name}`))
    .sort();
}

/** A catalog, or the tag database, as SQLite sees it. */
export function openObject(
  storage: string,
  hash: ContentHash,
  type: 'C' | 'H',
  scratch: string,
): DatabaseSync {
  return openDatabase(inflateSync(readFileSync(join(storage, objectPath(hash, type)))), scratch);
}

let databases = 0;

export function openDatabase(bytes: Uint8Array, scratch: string): DatabaseSync {
  const path = join(scratch, `opened-${databases++}.db`);
  // `deserialize` is younger than the oldest Node that this project runs on.
  writeFileSync(path, bytes);
  return new DatabaseSync(path, { readOnly: true });
}
