/** Wires the network of the client to this machine: from settings to servers that can be asked. */

import { HttpClient, type HttpOptions } from '../client/network/http-client.ts';
import { orderedByFamily } from '../client/network/ip-family.ts';
import type { NetworkSettings } from '../client/network/network-settings.ts';
import { Servers } from '../client/network/servers.ts';
import type { ServersOptions, ServersPorts } from '../client/network/servers-options.ts';
import { HttpSource, type Source } from '../client/network/source.ts';
import type { Log, Sockets } from '../core/ports.ts';
import { nodeClock, nodeRandom } from './clock.ts';
import { FolderSource } from './folder-source.ts';
import { nodeResolver } from './resolver.ts';
import { createSockets } from './sockets.ts';

export interface NetworkOptions {
  readonly log: Log;
  readonly http?: Partial<HttpOptions> | undefined;
  readonly retries?: Partial<ServersOptions> | undefined;
  /** In place of those of this machine. */
  readonly sockets?: Sockets | undefined;
  /** Where proxies that `auto` has found are kept. */
  readonly proxyFile?: string | undefined;
}

export interface OpenedNetwork {
  readonly servers: Servers;
  /** Those of external data. */
  readonly external: Servers | undefined;
  /** Closes connections. */
  close(): void;
}

/** Throws USAGE. */
export function openNetwork(settings: NetworkSettings, options: NetworkOptions): OpenedNetwork {
  const { log, proxyFile } = options;
  const order = orderedByFamily(settings.ipFamily);
  const client = new HttpClient(
    options.sockets ?? createSockets({ resolver: nodeResolver, order }),
    nodeClock,
    {
      maxConnectionsPerHost: settings.maxConnectionsPerHost,
      lowSpeedBytesPerSecond: settings.lowSpeedBytesPerSecond,
      ...options.http,
    },
  );
  const sourceOf = (address: string): Source => {
    if (!/^https?:\/\//.test(address)) return new FolderSource(address.replace(/^file:\/\//, ''));
    return new HttpSource(client, address, undefined, settings);
  };
  const ports: ServersPorts = {
    clock: nodeClock,
    random: nodeRandom,
    log,
    resolver: nodeResolver,
    sourceOf,
    discoverProxies: async (servers) => {
      const { proxyDiscovery } = await import('./proxy-discovery.ts');
      const { pacUrls } = settings;
      return proxyDiscovery({ pacUrls, file: proxyFile, environment: process.env, http: client, log })(
        servers,
      );
    },
  };
  const serversOf = (addresses: readonly string[], more: Partial<ServersOptions>) =>
    new Servers(addresses.map(sourceOf), ports, { ...settings, ...options.retries, ...more });
  const { externalServers, externalProxyGroups } = settings;
  const withoutProxies = { proxyGroups: externalProxyGroups, fallbackProxyGroups: [], geoOrder: false };
  return {
    servers: serversOf(settings.servers, {}),
    external: externalServers.length === 0 ? undefined : serversOf(externalServers, withoutProxies),
    close: () => client.close(),
  };
}
