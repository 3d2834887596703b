/** Opens transactions for commands. What only some of them need is loaded when they need it. */

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import { parseSize } from '../config/parse-size.ts';
import { defaultCacheFolder } from '../config/places.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { parseFqrn } from '../core/fqrn.ts';
import { silentLog } from '../core/ports.ts';
import { nodeClock } from '../node/clock.ts';
import type { RepositoryAccess, RepositoryAddress } from '../node/repository-access.ts';
import { publicKeyFiles } from '../publish/key-paths.ts';
import type { OverlayBase } from '../publish/overlay-base.ts';
import {
  type LowerLayer,
  type LowerMount,
  Transaction,
  type TransactionPorts,
} from '../publish/transaction.ts';
import { readingAddress, storageLocation } from '../storage/storage-location.ts';
import { registry } from './settings.ts';
import type { GlobalOptions } from './terminal.ts';
import type { TransactionServerArguments } from './transaction-server.ts';

export interface TransactionOptions extends GlobalOptions {
  readonly server?: readonly string[];
  readonly cache?: string;
  readonly cacheSize?: string;
  readonly log?: string;
}

export const CACHE_SIZE = '4G';
/** Catalogs of the snapshot that a transaction started from. */
const MEMORY_BYTES = 64 * 1024 * 1024;

/** Runs `action` with the transaction of a repository that was created here. Throws USAGE, NOT_FOUND, FORMAT. */
export async function withTransaction<T>(
  name: string,
  options: TransactionOptions,
  action: (transaction: Transaction, base: TransactionBase) => Promise<T>,
): Promise<T> {
  const fqrn = parseFqrn(name);
  const known = registry(options);
  const folder = known.folderOf(fqrn);
  const { storage } = known.load(fqrn);
  const address = {
    fqrn,
    servers: options.server ?? [readingAddress(storageLocation(storage))],
    proxies: [],
    keyFiles: publicKeyFiles(folder, fqrn),
  };
  const base = new TransactionBase(address);
  const ports: TransactionPorts = {
    clock: nodeClock,
    mountLower: (given) => startServer({ ...given, address }, options),
    namesOf: (given, handle) => base.namesOf(given, handle),
    publishedRoot: async () => {
      const { repository } = await base.access();
      return (await repository.resolve({})).rootCatalog;
    },
  };
  try {
    return await action(new Transaction(fqrn, folder, ports), base);
  } finally {
    await base.close();
  }
}

async function startServer(
  given: Omit<TransactionServerArguments, 'cacheFolder' | 'cacheLimitBytes'>,
  options: TransactionOptions,
): Promise<LowerMount> {
  const { nodeCommand, startBackground } = await import('./background.ts');
  const cache = options.cache ?? defaultCacheFolder();
  const all: TransactionServerArguments = {
    ...given,
    cacheFolder: cache === 'none' ? undefined : join(cache, 'objects'),
    cacheLimitBytes: parseSize(options.cacheSize ?? CACHE_SIZE),
  };
  const file = fileURLToPath(new URL('./transaction-server.ts', import.meta.url));
  const log = options.log ?? join(cache === 'none' ? defaultCacheFolder() : cache, 'thimble.log');
  return startBackground<LowerMount>({ ...nodeCommand([file, JSON.stringify(all)]), logFile: log });
}

/** The repository, and the snapshot that a transaction started from: read when somebody asks for them. */
export class TransactionBase {
  readonly #address: RepositoryAddress;
  #access: Promise<RepositoryAccess> | undefined;
  #lower: Promise<OverlayBase> | undefined;

  constructor(address: RepositoryAddress) {
    this.#address = address;
  }

  access(): Promise<RepositoryAccess> {
    this.#access ??= import('../node/repository-access.ts').then(({ openRepository }) =>
      openRepository(this.#address, {
        cacheFolder: undefined,
        cacheLimitBytes: MEMORY_BYTES,
        log: silentLog,
      }),
    );
    return this.#access;
  }

  async mounted(rootHash: ContentHash): Promise<MountedSnapshot> {
    const { repository, objects } = await this.access();
    const [{ MountedSnapshot }, { nodeHashing }] = await Promise.all([
      import('../client/mounted-snapshot.ts'),
      import('../node/hashing.ts'),
    ]);
    return MountedSnapshot.open(await repository.resolve({ rootHash }), objects, { hashing: nodeHashing });
  }

  async namesOf(given: LowerLayer, handle: ByteString): Promise<ByteString[]> {
    this.#lower ??= this.#openLower(given);
    return (await this.#lower).namesOf(handle);
  }

  async close(): Promise<void> {
    (await this.#access)?.close();
  }

  async #openLower({ rootCatalog, catalogsFile }: LowerLayer): Promise<OverlayBase> {
    const [{ OverlayBase }, { readCatalogOrder }] = await Promise.all([
      import('../publish/overlay-base.ts'),
      import('../node/catalog-order.ts'),
    ]);
    return OverlayBase.open(await this.mounted(rootCatalog), readCatalogOrder(catalogsFile));
  }
}
