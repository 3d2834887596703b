import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { openStorage, storageLocation } from '../storage/open-storage.ts';
import { StoredObjects } from '../storage/stored-objects.ts';
import { ContentStore } from './content-store.ts';
import type { KeyPlace } from './key-place.ts';
import { loadKeys } from './keys.ts';
import type { PublisherPorts } from './publisher.ts';
import { type HeadContext, resignHead } from './repository-head.ts';

/**
 * Signs what is published with the keys of today; revision, tags and tree stay. To be called with the lock of publishers.
 * Throws as `readHead` and `loadKeys` do.
 */
export async function resignManifest(
  { settings, folder, ask }: KeyPlace,
  ports: PublisherPorts,
): Promise<{ readonly revision: number }> {
  const storage = openStorage(storageLocation(settings.storage));
  const context: HeadContext = {
    settings,
    keys: loadKeys(folder, settings.fqrn, ask),
    objects: new StoredObjects(storage, ports),
    metadata: new ContentStore(storage, ports.hashing, settings),
    hashing: ports.hashing,
    signatures: ports.signatures,
    scratch: join(folder, 'publish.db'),
  };
  try {
    return await resignHead(context);
  } finally {
    rmSync(context.scratch, { force: true });
    await storage.close();
  }
}
