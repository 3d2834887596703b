/** How things stand with the servers and the proxies, for people and programs that ask. */

import type { ProxyFailover, ProxyStatus } from './proxy-failover.ts';
import type { ServerList } from './server-list.ts';
import type { FailedRequest, ServersCounters, SlowestRequest, Traffic } from './traffic.ts';

export interface ServerStatus {
  readonly address: string;
  readonly isCurrent: boolean;
  readonly requests: number;
  readonly failures: number;
  readonly bytes: number;
  readonly lastError: string | undefined;
  /** What it took to answer when servers were last put in order; missing if they were not. */
  readonly probedMs?: number | 'down';
}

export interface ServersStatus {
  readonly server: string;
  readonly proxy: string;
  readonly servers: readonly ServerStatus[];
  readonly proxies: readonly ProxyStatus[];
  readonly counters: Readonly<ServersCounters>;
  readonly lastError: FailedRequest | undefined;
  readonly slowest: SlowestRequest | undefined;
}

export function statusOf(list: ServerList, proxies: ProxyFailover, traffic: Traffic): ServersStatus {
  const { entries, current } = list;
  return {
    server: current.source.name,
    proxy: proxies.current,
    servers: entries.map((entry) => ({
      address: entry.source.name,
      isCurrent: entry === current,
      requests: entry.requests,
      failures: entry.failures,
      bytes: entry.bytes,
      lastError: entry.lastError,
      ...(entry.probedMs === undefined ? {} : { probedMs: entry.probedMs }),
    })),
    proxies: proxies.status(),
    counters: { ...traffic.counters },
    lastError: traffic.lastError,
    slowest: traffic.slowest,
  };
}
