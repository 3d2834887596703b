import { parseFqrn } from '../core/fqrn.ts';
import { nodeClock } from '../node/clock.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { nodeSignatures } from '../node/signatures.ts';
import { loadKeys } from '../publish/keys.ts';
import { Publisher, type PublisherPorts } from '../publish/publisher.ts';
import { registry } from './settings.ts';
import type { GlobalOptions } from './terminal.ts';

export const publisherPorts: PublisherPorts = {
  hashing: nodeHashing,
  inflating: nodeInflating,
  signatures: nodeSignatures,
  clock: nodeClock,
};

/** The publisher of a repository that was created here. Throws USAGE, NOT_FOUND, STORAGE, FORMAT. */
export function openPublisher(name: string, options: GlobalOptions): Publisher {
  const fqrn = parseFqrn(name);
  const known = registry(options);
  const settings = known.load(fqrn);
  const folder = known.folderOf(fqrn);
  return new Publisher({ settings, keys: loadKeys(folder, fqrn), folder }, publisherPorts);
}
