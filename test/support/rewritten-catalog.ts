/** Catalogs of a published repository with a change, stored under their new hashes up to a new root catalog. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { deflateSync, inflateSync } from 'node:zlib';
import { CatalogReader } from '../../src/core/catalog/catalog-reader.ts';
import { algorithmOf, type ContentHash, hashBytes, objectPath } from '../../src/core/content-hash.ts';
import { nodeHashing } from '../../src/node/hashing.ts';

/** Changes the catalog at a mount point (empty for the root) and answers the new root hash. */
export function rewriteCatalog(
  storage: string,
  root: ContentHash,
  mountpoint: string,
  change: (database: DatabaseSync) => void,
): ContentHash {
  return rewrite(storage, root, mountpoint, change).hash;
}

function rewrite(
  storage: string,
  hash: ContentHash,
  mountpoint: string,
  change: (database: DatabaseSync) => void,
): { hash: ContentHash; sizeBytes: number } {
  const bytes = inflateSync(readFileSync(join(storage, objectPath(hash, 'C'))));
  const reader = CatalogReader.open(bytes);
  if (reader.rootPrefix === mountpoint) return store(storage, hash, edited(storage, bytes, change));
  const next = reader.nested.find(({ path }) => mountpoint === path || mountpoint.startsWith(`${path}/`));
  if (next === undefined) throw new Error(`there is no catalog at ${mountpoint}`);
  const child = rewrite(storage, next.hash, mountpoint, change);
  const changed = edited(storage, bytes, (database) => {
    database
      .prepare('UPDATE nested_catalogs SET sha1 = ?, size = ? WHERE path = ?')
      .run(child.hash, child.sizeBytes, next.path);
  });
  return store(storage, hash, changed);
}

function edited(storage: string, bytes: Uint8Array, change: (database: DatabaseSync) => void): Uint8Array {
  const file = join(storage, 'data/txn/rewritten');
  writeFileSync(file, bytes);
  const database = new DatabaseSync(file, { enableForeignKeyConstraints: false });
  change(database);
  database.close();
  return readFileSync(file);
}

function store(storage: string, like: ContentHash, bytes: Uint8Array) {
  const stored = deflateSync(bytes);
  const hash = hashBytes(nodeHashing, algorithmOf(like), stored);
  const file = join(storage, objectPath(hash, 'C'));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, stored);
  return { hash, sizeBytes: bytes.length };
}
