import assert from 'node:assert/strict';
import { rmSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Published, publishDaily, rootsOf } from '../../test/support/garbage.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { FolderStorage } from './folder-storage.ts';
import { findReferences } from './reflog-rebuild.ts';
import { StoredObjects } from './stored-objects.ts';

const PORTS = { hashing: nodeHashing, inflating: nodeInflating };
const fileOf = ({ storage }: Published, hash: ContentHash, type: 'C' | 'H') =>
  join(storage, objectPath(hash, type));

async function catalogsOf(repository: Published): Promise<Map<ContentHash, number>> {
  const objects = new StoredObjects(new FolderStorage(repository.storage), PORTS);
  const found = await findReferences(objects, repository.manifest());
  const catalogs = found.filter(({ type }) => type === 'catalog');
  return new Map(catalogs.map(({ hash, timestampSeconds }) => [hash, timestampSeconds]));
}

test('findReferences() follows the line of revisions where there are no histories any more', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const whole = await catalogsOf(repository);
  assert.equal(whole.size, 4);
  rmSync(fileOf(repository, repository.manifest().history!, 'H'));
  assert.deepEqual([...(await catalogsOf(repository))].sort(), [...whole].sort());
});

test('findReferences() names a catalog that is damaged, with the time of the newest, and not one that is gone', async (t) => {
  const repository = await publishDaily(t, 'abcd');
  const [first, second, third] = rootsOf(repository, 1, 2, 3);
  truncateSync(fileOf(repository, third!, 'C'), 10);
  rmSync(fileOf(repository, second!, 'C'));
  const catalogs = await catalogsOf(repository);
  assert.equal(catalogs.get(third!), repository.manifest().publishedSeconds);
  assert.equal(catalogs.has(second!), false);
  // By the history of its time.
  assert.ok(catalogs.has(first!));
});

test('findReferences() does not take a storage that fails for the end of a line', async (t) => {
  const repository = await publishDaily(t, 'ab');
  const storage = new FolderStorage(repository.storage);
  storage.read = async () => {
    throw new ThimbleError('STORAGE', 'Cannot read');
  };
  await assert.rejects(findReferences(new StoredObjects(storage, PORTS), repository.manifest()), {
    code: 'STORAGE',
  });
});
