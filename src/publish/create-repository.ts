/** Makes a new repository: settings, keys, whitelist, certificate, and an empty first revision. */

import { encodeUtf8 } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { MANIFEST_PATH } from '../core/manifest.ts';
import { openStorage } from '../storage/open-storage.ts';
import { storageLocation } from '../storage/storage-location.ts';
import { type CreateKeysOptions, createKeys } from './keys.ts';
import { Publisher, type PublisherPorts, type PublishResult } from './publisher.ts';
import type { RepositoryRegistry, RepositorySettings } from './repository-settings.ts';
import { writeWhitelist } from './whitelist-writer.ts';

/** Throws USAGE for bad settings, CONFLICT if there is a repository of this name, or one in the storage folder. */
export async function createRepository(
  registry: RepositoryRegistry,
  settings: RepositorySettings,
  ports: PublisherPorts,
  keyOptions: CreateKeysOptions = {},
): Promise<PublishResult> {
  const storage = openStorage(storageLocation(settings.storage));
  if ((await storage.size(MANIFEST_PATH)) !== undefined) {
    throw new ThimbleError(
      'CONFLICT',
      `Cannot create repository ${settings.fqrn}: ${settings.storage} holds one already`,
    );
  }
  const takeBack = registry.add(settings);
  try {
    await storage.create();
    const folder = registry.folderOf(settings.fqrn);
    const keys = await createKeys(folder, settings.fqrn, ports.clock.unixSeconds(), keyOptions);
    await writeWhitelist(settings, keys, ports);
    // An empty marker: replicas may be made from here.
    await storage.replace('.cvmfs_master_replica', new Uint8Array(0));
    const metainfo = { administrator: '', email: '', organisation: '', description: '', url: '' };
    const publisher = new Publisher({ settings, keys, folder }, ports);
    return await publisher.publishFirst(encodeUtf8(`${JSON.stringify(metainfo, undefined, 2)}\n`));
  } catch (error) {
    // So that it can be tried again. Folders of the storage stay: somebody else may have files there.
    takeBack();
    throw error;
  } finally {
    await storage.close();
  }
}
