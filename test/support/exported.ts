/** Snapshots as `thimble export` reads them. */

import type { TestContext } from 'node:test';
import { MountedSnapshot } from '../../src/client/mounted-snapshot.ts';
import type { ContentHash } from '../../src/core/content-hash.ts';
import { silentLog } from '../../src/core/ports.ts';
import { SnapshotTree, type SnapshotTreeOptions } from '../../src/export/snapshot-tree.ts';
import { SpoolCache } from '../../src/export/spool-cache.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { openRepository } from '../../src/node/repository-access.ts';
import type { PublisherRepository } from './publisher-repository.ts';

/** The newest snapshot of a repository; read as long as the test runs. */
export async function snapshotTree(
  t: Pick<TestContext, 'after'>,
  { storage, publicKey }: Pick<PublisherRepository, 'storage' | 'publicKey'>,
  options: Partial<SnapshotTreeOptions> & { readonly rootHash?: ContentHash } = {},
): Promise<SnapshotTree> {
  const spool = new SpoolCache();
  const access = openRepository(
    { fqrn: storage.split('/').at(-1)!, servers: [storage], proxies: [], keyFiles: [publicKey] },
    { cacheFolder: undefined, cache: spool, cacheLimitBytes: 0, log: silentLog },
  );
  t.after(() => access.close());
  const snapshot = await access.repository.resolve({ rootHash: options.rootHash });
  const mounted = await MountedSnapshot.open(snapshot, access.objects, { hashing: nodeHashing });
  return new SnapshotTree('snapshot', { mounted, objects: access.objects, spool, ...options });
}
