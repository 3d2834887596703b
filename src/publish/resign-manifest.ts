import { withHeadContext } from './head-context.ts';
import type { KeyPlace } from './key-place.ts';
import { loadKeys } from './keys.ts';
import type { PublisherPorts } from './publisher.ts';
import { resignHead } from './repository-head.ts';

/**
 * Signs what is published with the keys of today; revision, tags and tree stay. To be called with the lock of publishers.
 * Throws as `readHead` and `loadKeys` do.
 */
export async function resignManifest(
  { settings, folder, ask }: KeyPlace,
  ports: PublisherPorts,
): Promise<{ readonly revision: number }> {
  const keys = loadKeys(folder, settings.fqrn, ask);
  return withHeadContext({ settings, keys, folder }, ports, resignHead);
}
