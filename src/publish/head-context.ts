/** What it takes to sign a repository's head anew without publishing a tree. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { openStorage } from '../storage/open-storage.ts';
import { storageLocation } from '../storage/storage-location.ts';
import { StoredObjects } from '../storage/stored-objects.ts';
import { ContentStore } from './content-store.ts';
import type { PublisherPorts, PublishTarget } from './publisher.ts';
import type { HeadContext } from './repository-head.ts';

/** Opens the storage as long as `action` runs. To be called with the lock of publishers. */
export async function withHeadContext<T>(
  { settings, keys, folder }: PublishTarget,
  ports: PublisherPorts,
  action: (context: HeadContext) => Promise<T>,
): Promise<T> {
  const storage = openStorage(storageLocation(settings.storage));
  const context: HeadContext = {
    settings,
    keys,
    objects: new StoredObjects(storage, ports),
    metadata: new ContentStore(storage, ports.hashing, settings),
    hashing: ports.hashing,
    signatures: ports.signatures,
    scratch: join(folder, 'publish.db'),
  };
  try {
    return await action(context);
  } finally {
    rmSync(context.scratch, { force: true });
    await storage.removeTemporaryFiles();
    await storage.close();
  }
}
