import { nodeClock } from '../node/clock.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { nodeSignatures } from '../node/signatures.ts';
import type { PublisherPorts } from '../publish/publisher.ts';

export const publisherPorts: PublisherPorts = {
  hashing: nodeHashing,
  inflating: nodeInflating,
  signatures: nodeSignatures,
  clock: nodeClock,
};
