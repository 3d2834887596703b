/** Wires the client to this machine: from addresses, keys and a cache folder to a repository. */

import { readFileSync } from 'node:fs';
import { MemoryCache, type ObjectCache, type SteeredCache } from '../client/cache.ts';
import { type CacheSettings, DEFAULT_CACHE_SETTINGS } from '../client/cache-settings.ts';
import type { HttpOptions } from '../client/network/http-client.ts';
import { DEFAULT_NETWORK_SETTINGS, type NetworkSettings } from '../client/network/network-settings.ts';
import type { Servers } from '../client/network/servers.ts';
import type { ServersOptions } from '../client/network/servers-options.ts';
import { Objects } from '../client/objects.ts';
import { Repository } from '../client/repository.ts';
import type { RevisionLimits } from '../client/revision-memory.ts';
import { parseBlacklists } from '../core/blacklist.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Log, Sockets } from '../core/ports.ts';
import { importPublicKeys } from '../core/trust.ts';
import type { FolderCacheSettings } from './cache/folder-cache.ts';
import type { CacheReaderSettings } from './cache/folder-reader.ts';
import { type OpenedCache, openCache } from './cache/open-cache.ts';
import { nodeClock } from './clock.ts';
import { nodeHashing } from './hashing.ts';
import { nodeInflating } from './inflating.ts';
import { openNetwork } from './open-network.ts';
import { nodeSignatures } from './signatures.ts';

export interface RepositoryAddress {
  readonly fqrn: string;
  /** `http://` addresses or folders, in order of preference. */
  readonly servers: readonly string[];
  /** `http://` addresses or `DIRECT`, tried in order for each server; none means direct. */
  readonly proxies: readonly string[];
  /** PEM files: master keys, of RSA; where there is one of Ed25519, manifests need its signature too. */
  readonly keyFiles: readonly string[];
  /** Certificates and revisions to refuse. */
  readonly blacklistFiles?: readonly string[];
  /** `http://` addresses of servers with external data, in order of preference; asked without a proxy. */
  readonly externalServers?: readonly string[];
}

export interface AccessOptions {
  /** Where content is kept; `undefined` keeps it in memory. */
  readonly cacheFolder: string | undefined;
  /** In place of both. */
  readonly cache?: ObjectCache;
  readonly cacheLimitBytes: number;
  /** In place of all of these: the cache of a mount, which two threads can read. */
  readonly cacheSettings?: CacheSettings;
  /**
   * In place of the servers and proxies of the address: the way of a mount, which goes on asking until the deadline once it has
   * found a server.
   */
  readonly networkSettings?: NetworkSettings;
  /** What keeps it from going back; without, nothing does. */
  readonly limits?: RevisionLimits;
  /** Where proxies that `auto` has found are kept. */
  readonly proxyFile?: string;
  readonly log: Log;
  readonly http?: Partial<HttpOptions>;
  readonly retries?: Partial<ServersOptions>;
  /** In place of those of this machine. */
  readonly sockets?: Sockets;
}

export interface RepositoryAccess {
  readonly repository: Repository;
  readonly objects: Objects;
  readonly servers: Servers;
  /** Servers of external data, if there are any. */
  readonly external: Servers | undefined;
  /** Can be watched and told what to keep, unless it was given. */
  readonly cache: ObjectCache & Partial<SteeredCache>;
  /** For a second thread to read the cache; `undefined` if it cannot. */
  readonly cacheReader: CacheReaderSettings | undefined;
  /** For another thread to fill the cache; `undefined` if it cannot. */
  readonly cacheWriter: FolderCacheSettings | undefined;
  /** Closes connections and says goodbye to the cache. */
  close(): void;
}

/** Throws USAGE, FORMAT, STORAGE, NOT_FOUND. */
export function openRepository(address: RepositoryAddress, options: AccessOptions): RepositoryAccess {
  const { http, sockets, log, proxyFile } = options;
  const network = openNetwork(networkOf(address, options), {
    http,
    sockets,
    log,
    proxyFile,
    retries: retriesOf(options),
  });
  const { servers, external } = network;
  const keys = address.keyFiles.flatMap((file) =>
    importPublicKeys(nodeSignatures, readTrustFile(file, 'key file')),
  );
  const blacklist = parseBlacklists(
    (address.blacklistFiles ?? []).map((file) => readTrustFile(file, 'blacklist')),
  );
  const opened = options.cache === undefined ? cacheOf(options) : undefined;
  const cache = options.cache ?? opened!.cache;
  const objects = new Objects(servers, cache, {
    hashing: nodeHashing,
    inflating: nodeInflating,
    log: options.log,
    external,
    // Who reads once is done when its content is on disk; a mount has somebody waiting.
    later: options.cacheSettings === undefined ? undefined : setImmediate,
  });
  const repository = new Repository(
    address.fqrn,
    servers,
    objects,
    keys,
    { hashing: nodeHashing, signatures: nodeSignatures, clock: nodeClock },
    blacklist,
    options.limits,
  );
  return {
    repository,
    objects,
    servers,
    external,
    cache,
    cacheReader: opened?.reader,
    cacheWriter: opened?.writer,
    close: () => {
      network.close();
      objects.flush();
      opened?.close();
    },
  };
}

function cacheOf({ cacheSettings, cacheFolder, cacheLimitBytes, log }: AccessOptions): OpenedCache {
  if (cacheSettings !== undefined) return openCache(cacheSettings, log);
  if (cacheFolder === undefined) {
    return {
      cache: new MemoryCache(cacheLimitBytes),
      reader: undefined,
      writer: undefined,
      close: () => {},
    };
  }
  const { keepFreeBytes } = DEFAULT_CACHE_SETTINGS;
  return openCache(
    { folder: cacheFolder, limitBytes: cacheLimitBytes, keepFreeBytes, lowerFolders: [] },
    log,
  );
}

function networkOf(address: RepositoryAddress, { networkSettings }: AccessOptions): NetworkSettings {
  if (networkSettings !== undefined) return networkSettings;
  const { servers, proxies, externalServers = [] } = address;
  const proxyGroups = proxies.map((proxy) => [proxy]);
  return { ...DEFAULT_NETWORK_SETTINGS, servers, proxyGroups, externalServers };
}

/** A mount outlives the failures of its network, but not an address that is wrong from the beginning. */
const MOUNT_RETRIES: Partial<ServersOptions> = { rounds: Number.POSITIVE_INFINITY, firstContactRounds: 3 };

function retriesOf({ networkSettings, retries }: AccessOptions): Partial<ServersOptions> {
  return { ...(networkSettings === undefined ? {} : MOUNT_RETRIES), ...retries };
}

function readTrustFile(path: string, what: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read ${what} ${path}`, { cause: error });
  }
}
