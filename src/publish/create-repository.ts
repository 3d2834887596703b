/** Makes a new repository: settings, keys, whitelist, certificate, and an empty first revision. */

import { encodeUtf8 } from '../core/bytes/utf8.ts';
import { decodePemCertificate } from '../core/certificate.ts';
import { hashBytes } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { MANIFEST_PATH } from '../core/manifest.ts';
import { formatSignedText } from '../core/signed-text.ts';
import { formatWhitelist, parseWhitelist, WHITELIST_PATH } from '../core/whitelist.ts';
import { FolderStorage } from '../storage/folder-storage.ts';
import { createKeys, type RepositoryKeys, signWhitelist } from './keys.ts';
import { Publisher, type PublisherPorts, type PublishResult } from './publisher.ts';
import type { RepositoryRegistry, RepositorySettings } from './repository-settings.ts';

const SECONDS_PER_DAY = 24 * 3600;

/** Throws USAGE for bad settings, CONFLICT if there is a repository of this name, or one in the storage folder. */
export async function createRepository(
  registry: RepositoryRegistry,
  settings: RepositorySettings,
  ports: PublisherPorts,
): Promise<PublishResult> {
  const storage = new FolderStorage(settings.storage);
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
    const keys = await createKeys(folder, settings.fqrn, ports.clock.unixSeconds());
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

/** Signs a whitelist with the repository's certificate, valid from now on for the days that the settings say. */
export async function writeWhitelist(
  settings: RepositorySettings,
  keys: RepositoryKeys,
  { hashing, clock }: PublisherPorts,
): Promise<{ readonly expiresSeconds: number }> {
  const nowSeconds = clock.unixSeconds();
  const der = decodePemCertificate(keys.certificate);
  const whitelist = {
    createdSeconds: nowSeconds,
    expiresSeconds: nowSeconds + settings.whitelistDays * SECONDS_PER_DAY,
    fqrn: settings.fqrn,
    fingerprints: [hashBytes(hashing, settings.hashAlgorithm, der)],
  };
  const lines = formatWhitelist(whitelist, 'publisher');
  const signed = await formatSignedText(hashing, settings.hashAlgorithm, lines, (text) =>
    signWhitelist(keys, text),
  );
  parseWhitelist(hashing, signed);
  const storage = new FolderStorage(settings.storage);
  try {
    await storage.replace(WHITELIST_PATH, signed);
  } finally {
    await storage.close();
  }
  return whitelist;
}
