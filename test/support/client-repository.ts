/**
 * A repository for tests of clients: made from literal trees by the publisher itself, with keys and a whitelist of its
 * own, and clients of it whose sources, cache, clock and keys a test can replace. For tests of the publisher there is
 * `publisher-repository.ts`, for those of the command line `cli-repository.ts`.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { MemoryCache, type ObjectCache } from '../../src/client/cache.ts';
import { MountedSnapshot } from '../../src/client/mounted-snapshot.ts';
import { Servers } from '../../src/client/network/servers.ts';
import type { ServersOptions } from '../../src/client/network/servers-options.ts';
import type { Source } from '../../src/client/network/source.ts';
import { Objects } from '../../src/client/objects.ts';
import { Repository } from '../../src/client/repository.ts';
import type { RevisionLimits } from '../../src/client/revision-memory.ts';
import { EMPTY_BLACKLIST } from '../../src/core/blacklist.ts';
import { type Fqrn, parseFqrn } from '../../src/core/fqrn.ts';
import type { Clock } from '../../src/core/ports.ts';
import type { TreeEntry } from '../../src/core/tree.ts';
import { importPublicKeys } from '../../src/core/trust.ts';
import { WHITELIST_PATH } from '../../src/core/whitelist.ts';
import { nodeClock, nodeRandom } from '../../src/node/clock.ts';
import { FolderSource } from '../../src/node/folder-source.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { nodeSignatures } from '../../src/node/signatures.ts';
import { createRepository } from '../../src/publish/create-repository.ts';
import { FolderTree } from '../../src/publish/folder-tree.ts';
import { loadKeys } from '../../src/publish/keys.ts';
import { Publisher, type PublishResult } from '../../src/publish/publisher.ts';
import {
  defaultSettings,
  RepositoryRegistry,
  type RepositorySettings,
} from '../../src/publish/repository-settings.ts';
import { writeWhitelist } from '../../src/publish/whitelist-writer.ts';
import { FolderStorage } from '../../src/storage/folder-storage.ts';
import { memoryScratch } from './scratch.ts';
import { type Literal, makeTree } from './trees.ts';

const PORTS = {
  hashing: nodeHashing,
  inflating: nodeInflating,
  signatures: nodeSignatures,
  clock: nodeClock,
};

export interface PublishedRepository {
  readonly fqrn: Fqrn;
  /** Its storage folder. */
  readonly storage: string;
  /** PEM of the master key. */
  readonly publicKey: Uint8Array;
  /** Publishes another tree as the next revision; `change` may add what literals cannot say. */
  publish(tree: Literal, tag?: string, change?: (entry: TreeEntry) => TreeEntry): Promise<PublishResult>;
  /** Publishes a folder as the next revision. */
  publishFolder(folder: string): Promise<PublishResult>;
  /** A whitelist as it would be signed at another time or for another certificate; the storage keeps its own. */
  signWhitelist(clock: Clock, certificate?: Uint8Array): Promise<Uint8Array>;
}

export async function publishRepository(
  t: Pick<TestContext, 'after'>,
  settings: Partial<RepositorySettings> = {},
  name = 'small.example.org',
): Promise<PublishedRepository> {
  const folder = memoryScratch(t);
  const fqrn = parseFqrn(name);
  const storage = join(folder, fqrn);
  const whole = { ...defaultSettings(fqrn, storage), ...settings };
  const registry = new RepositoryRegistry(folder);
  await createRepository(registry, whole, PORTS);
  const keyFolder = registry.folderOf(fqrn);
  const keys = loadKeys(keyFolder, fqrn);
  return {
    fqrn,
    storage,
    publicKey: readFileSync(join(keyFolder, `${fqrn}.pub`)),
    publish: async (tree, tag, change = (entry) => entry) => {
      const source = join(folder, 'tree');
      rmSync(source, { recursive: true, force: true });
      makeTree(source, tree);
      const publisher = new Publisher({ settings: whole, keys, folder: keyFolder }, PORTS);
      const entries = async function* () {
        for await (const entry of new FolderTree(source).entries()) yield change(entry);
      };
      return publisher.publish(
        { name: source, entries },
        {
          tag: tag === undefined ? undefined : { name: tag, description: '' },
          threads: 1,
        },
      );
    },
    publishFolder: (source) =>
      new Publisher({ settings: whole, keys, folder: keyFolder }, PORTS).publish(new FolderTree(source)),
    signWhitelist: async (clock, certificate = keys.certificate) => {
      const elsewhere = join(folder, 'whitelist');
      await new FolderStorage(elsewhere).create();
      const signers = { masterKey: keys.masterKey, certificates: [certificate] };
      await writeWhitelist({ ...whole, storage: elsewhere }, signers, { ...PORTS, clock });
      return readFileSync(join(elsewhere, WHITELIST_PATH));
    },
  };
}

export interface ClientOptions {
  /** The storage folder where nothing else is given. */
  readonly sources?: readonly Source[];
  readonly cache?: ObjectCache;
  readonly clock?: Clock;
  readonly publicKey?: Uint8Array | undefined;
  readonly fqrn?: string;
  readonly retries?: Partial<ServersOptions>;
  readonly limits?: RevisionLimits;
}

/** A client of the repository. */
export function openClient(
  published: Pick<PublishedRepository, 'fqrn' | 'storage' | 'publicKey'>,
  options: ClientOptions = {},
) {
  const sources = options.sources ?? [new FolderSource(published.storage)];
  const servers = new Servers(sources, { clock: nodeClock, random: nodeRandom }, options.retries);
  const cache = options.cache ?? new MemoryCache(1e9);
  const objects = new Objects(servers, cache, PORTS);
  const publicKey = 'publicKey' in options ? options.publicKey : published.publicKey;
  const keys = publicKey === undefined ? [] : importPublicKeys(nodeSignatures, publicKey);
  const ports = { ...PORTS, clock: options.clock ?? nodeClock };
  const fqrn = options.fqrn ?? published.fqrn;
  const repository = new Repository(fqrn, servers, objects, keys, ports, EMPTY_BLACKLIST, options.limits);
  return { servers, objects, repository };
}

/** The newest snapshot, with its root catalog. */
export async function openSnapshot(
  published: PublishedRepository,
  options: ClientOptions & { readonly tag?: string } = {},
): Promise<MountedSnapshot> {
  const { repository, objects } = openClient(published, options);
  const snapshot = await repository.resolve(options.tag === undefined ? {} : { tag: options.tag });
  return MountedSnapshot.open(snapshot, objects, { hashing: nodeHashing });
}
