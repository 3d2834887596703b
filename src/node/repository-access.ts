/** Wires the client to this machine: from addresses, keys and a cache folder to a repository. */

import { readFileSync } from 'node:fs';
import { MemoryCache, type ObjectCache } from '../client/cache.ts';
import { HttpClient, type HttpOptions } from '../client/network/http-client.ts';
import { Servers, type ServersOptions } from '../client/network/servers.ts';
import { HttpSource, type Source } from '../client/network/source.ts';
import { Objects } from '../client/objects.ts';
import { Repository } from '../client/repository.ts';
import { parseBlacklists } from '../core/blacklist.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Log, Sockets } from '../core/ports.ts';
import { importPublicKeys } from '../core/trust.ts';
import { nodeClock, nodeRandom } from './clock.ts';
import { FolderCache } from './folder-cache.ts';
import { FolderSource } from './folder-source.ts';
import { nodeHashing } from './hashing.ts';
import { nodeInflating } from './inflating.ts';
import { nodeSignatures } from './signatures.ts';
import { nodeSockets } from './sockets.ts';

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
  readonly cache: ObjectCache;
  /** Closes connections and says goodbye to the cache. */
  close(): void;
}

/** Throws USAGE, FORMAT, STORAGE, NOT_FOUND. */
export function openRepository(address: RepositoryAddress, options: AccessOptions): RepositoryAccess {
  const client = new HttpClient(options.sockets ?? nodeSockets, nodeClock, options.http ?? {});
  const sources = address.servers.flatMap((server) => sourcesOf(client, server, address.proxies));
  const ports = { clock: nodeClock, random: nodeRandom, log: options.log };
  const servers = new Servers(sources, ports, options.retries);
  const external = (address.externalServers ?? []).map((server) => new HttpSource(client, server));
  const keys = address.keyFiles.flatMap((file) =>
    importPublicKeys(nodeSignatures, readTrustFile(file, 'key file')),
  );
  const blacklist = parseBlacklists(
    (address.blacklistFiles ?? []).map((file) => readTrustFile(file, 'blacklist')),
  );
  const folder =
    options.cacheFolder === undefined
      ? undefined
      : FolderCache.open(options.cacheFolder, options.cacheLimitBytes, options.log);
  const cache = options.cache ?? folder ?? new MemoryCache(options.cacheLimitBytes);
  const objects = new Objects(servers, cache, {
    hashing: nodeHashing,
    inflating: nodeInflating,
    log: options.log,
    external: external.length === 0 ? undefined : new Servers(external, ports, options.retries),
  });
  const repository = new Repository(
    address.fqrn,
    servers,
    objects,
    keys,
    { hashing: nodeHashing, signatures: nodeSignatures, clock: nodeClock },
    blacklist,
  );
  return {
    repository,
    objects,
    servers,
    cache,
    close: () => {
      client.close();
      folder?.close();
    },
  };
}

function sourcesOf(client: HttpClient, server: string, proxies: readonly string[]): Source[] {
  if (!/^https?:\/\//.test(server)) return [new FolderSource(server.replace(/^file:\/\//, ''))];
  if (proxies.length === 0) return [new HttpSource(client, server)];
  return proxies.map((proxy) => new HttpSource(client, server, proxy === 'DIRECT' ? undefined : proxy));
}

function readTrustFile(path: string, what: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read ${what} ${path}`, { cause: error });
  }
}
