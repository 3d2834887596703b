import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { MountedSnapshot } from '../../src/client/mounted-snapshot.ts';
import { readFileContent, walkSnapshot } from '../../src/client/walk.ts';
import { S_IFMT, S_IFREG } from '../../src/core/vfs.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { FolderStorage } from '../../src/storage/folder-storage.ts';
import { openClient } from '../support/client-repository.ts';
import { collect, type Published, publishDaily, revisionsOf, rootsOf } from '../support/garbage.ts';

/** Reads a whole snapshot through a client that has nothing in its cache; answers how many bytes. */
async function readAll({ storage, publicKey, settings }: Published, tag: string): Promise<number> {
  const client = openClient({ fqrn: settings.fqrn, storage, publicKey: readFileSync(publicKey) });
  const snapshot = await client.repository.resolve({ tag });
  const mounted = await MountedSnapshot.open(snapshot, client.objects, { hashing: nodeHashing });
  let bytes = 0;
  for await (const { node, attributes } of walkSnapshot(mounted)) {
    if ((attributes.mode & S_IFMT) !== S_IFREG) continue;
    bytes += (await readFileContent(mounted, node, 0, attributes.sizeBytes)).length;
    // Let the collector go on.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return bytes;
}

test('readers of the newest snapshot and of a tag read everything while garbage is collected, those of an old one until the grace period is over', async (t) => {
  const repository = await publishDaily(t, 'abcdef');
  const [old, expiring] = rootsOf(repository, 1, 2);
  await repository.publisher().addTag({ name: 'old', description: '' }, { rootHash: old! });
  const expected = await readAll(repository, 'trunk');
  const storage = new FolderStorage(repository.storage);
  const { remove } = storage;
  const reads: Promise<number>[] = [];
  // Begun between any two deletions.
  storage.remove = async (paths) => {
    for (const path of paths) {
      reads.push(readAll(repository, 'trunk'), readAll(repository, 'old'));
      await remove.call(storage, [path]);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await collect(repository, { graceSeconds: 1000 }, storage);
  assert.ok((await repository.read(expiring)).size > 0);
  assert.equal(reads.length, 0);
  repository.clock.seconds += 1000;
  await collect(repository, { graceSeconds: 1000 }, storage);
  assert.deepEqual(revisionsOf(repository), [1, 5, 6]);
  assert.ok(reads.length > 20, `${reads.length} readers`);
  for (const bytes of await Promise.all(reads)) assert.equal(bytes, expected);
  await assert.rejects(repository.read(expiring), { code: 'NOT_FOUND' });
});
