/** The process that serves what a transaction started from: a pinned snapshot, below an overlay. */

import { writeSync } from 'node:fs';
import type { ContentHash } from '../core/content-hash.ts';
import { mountSnapshot } from '../mount/snapshot-mount.ts';
import { CatalogOrder } from '../node/catalog-order.ts';
import { preferSmallHeap } from '../node/heap.ts';
import { lineLog } from '../node/log.ts';
import { openRepository, type RepositoryAddress } from '../node/repository-access.ts';
import { tellFailed, tellStarted } from './background.ts';

export interface TransactionServerArguments {
  readonly address: RepositoryAddress;
  /** `undefined` takes what is published now. */
  readonly rootHash: ContentHash | undefined;
  readonly mountpoint: string;
  readonly catalogsFile: string;
  readonly cacheFolder: string | undefined;
  readonly cacheLimitBytes: number;
}

async function serve(given: TransactionServerArguments): Promise<void> {
  const { address, rootHash, mountpoint, cacheFolder } = given;
  const log = lineLog((line) => writeSync(2, line), 'info');
  const access = openRepository(address, { cacheFolder, cacheLimitBytes: given.cacheLimitBytes, log });
  const { mounted, server } = await mountSnapshot(
    access,
    { rootHash },
    {
      mountpoint,
      name: address.fqrn,
      suid: true,
      dev: true,
      workerFile: new URL('./mount-worker.ts', import.meta.url),
      cacheFolder,
      // What is copied into the upper layer must be what was published.
      variables: undefined,
      catalogOrder: new CatalogOrder(given.catalogsFile),
      log,
    },
  );
  // It ends when it is unmounted.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => log.info('signal ignored, abort or publish to end', { signal }));
  }
  const { rootCatalog, revision } = mounted.snapshot;
  tellStarted({ pid: process.pid, rootCatalog, revision });
  preferSmallHeap();
  await server.closed;
  access.close();
  log.info('transaction unmounted', { mountpoint, ...server.statistics() });
}

if (import.meta.main) {
  try {
    await serve(JSON.parse(process.argv[2] ?? '') as TransactionServerArguments);
  } catch (error) {
    tellFailed(error);
    throw error;
  }
}
