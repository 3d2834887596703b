import { parseFqrn } from '../core/fqrn.ts';
import { nodeClock } from '../node/clock.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { nodeSignatures } from '../node/signatures.ts';
import type { KeyPlace } from '../publish/key-place.ts';
import { loadKeys } from '../publish/keys.ts';
import { Publisher, type PublisherPorts, type PublishTarget } from '../publish/publisher.ts';
import { askPassphrase } from './passphrase.ts';
import { registry } from './settings.ts';
import type { GlobalOptions } from './terminal.ts';

export const publisherPorts: PublisherPorts = {
  hashing: nodeHashing,
  inflating: nodeInflating,
  signatures: nodeSignatures,
  clock: nodeClock,
};

/** Where the keys of a repository are that was created here. Throws USAGE, NOT_FOUND, FORMAT. */
export function keyPlace(name: string, options: GlobalOptions): KeyPlace {
  const fqrn = parseFqrn(name);
  const known = registry(options);
  return { settings: known.load(fqrn), folder: known.folderOf(fqrn), ask: askPassphrase(options) };
}

/** The publisher of a repository that was created here. Throws USAGE, NOT_FOUND, STORAGE, FORMAT. */
export function openPublisher(name: string, options: GlobalOptions): Publisher {
  return new Publisher(publishTarget(name, options), publisherPorts);
}

/** What a publisher needs of such a repository. Throws as `openPublisher` does. */
export function publishTarget(name: string, options: GlobalOptions): PublishTarget {
  const { settings, folder, ask } = keyPlace(name, options);
  return { settings, keys: loadKeys(folder, settings.fqrn, ask), folder };
}
