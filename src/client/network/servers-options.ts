/** What `Servers` is told: how patient to be, by which ways to go, and what one request wants. */

import type { CancelSignal } from '../../core/cancellation.ts';
import type { Clock, Log, Random, Resolver } from '../../core/ports.ts';
import { DEFAULT_NETWORK_SETTINGS, type NetworkSettings } from './network-settings.ts';
import type { Source } from './source.ts';
import type { Urgency } from './urgency.ts';

export interface ServersOptions
  extends Pick<
    NetworkSettings,
    | 'deadlineMs'
    | 'maxServers'
    | 'geoOrder'
    | 'proxyGroups'
    | 'fallbackProxyGroups'
    | 'shardProxies'
    | 'maxAddressesPerProxy'
    | 'ipFamily'
    | 'maxRetries'
    | 'backoffInitMs'
    | 'backoffMaxMs'
    | 'proxyResetAfterMs'
    | 'hostResetAfterMs'
  > {
  /** How often the whole list is asked before giving up ahead of the deadline. */
  readonly rounds: number;
  /** The same until a server has answered for the first time: an address that is wrong should not take long to say so. */
  readonly firstContactRounds: number;
}

export const DEFAULT_SERVERS_OPTIONS: ServersOptions = {
  ...DEFAULT_NETWORK_SETTINGS,
  rounds: 3,
  firstContactRounds: Number.POSITIVE_INFINITY,
};

export interface ServersPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log?: Log;
  /** Makes each address of a proxy's name a member of its group. */
  readonly resolver?: Resolver | undefined;
  /** The groups in place of `auto`, for these servers. Throws what keeps it from finding any. */
  readonly discoverProxies?: (servers: readonly string[]) => Promise<readonly (readonly string[])[]>;
  /** A server by its address, for `setServers`. Throws USAGE. */
  readonly sourceOf?: (address: string) => Source;
}

export interface FetchOptions {
  /** Nobody waits for it: it gets a few connections of its own, and no others. */
  readonly background?: boolean;
  /** When it is raised, somebody waits for a background request after all. */
  readonly urgency?: Urgency | undefined;
  /** Past all caches on the way: what is asked for has just changed. */
  readonly noCache?: boolean;
  /** Ends it with CANCELLED. */
  readonly signal?: CancelSignal | undefined;
  /** In place of that of all requests; the request is over after this. */
  readonly deadlineMs?: number;
  /** The request is over then at the latest, on the clock's `monotonicMs`: it is a part of something that has begun before. */
  readonly untilMs?: number | undefined;
  /** In place of both numbers of rounds. */
  readonly rounds?: number;
}

/** What one server said. */
export type ServerAnswer<T> =
  | { readonly server: string; readonly value: T }
  | { readonly server: string; readonly error: unknown };
