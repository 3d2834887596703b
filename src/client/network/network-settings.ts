/**
 * What a reader may be told about the way to its repository. Names in brackets are the parameters of the CernVM-FS client
 * that mean the same; `src/config` reads them.
 */

export interface NetworkSettings {
  /** Base addresses of the repository, without templates, in order of preference: `http://`, `https://`, `file://`. [CVMFS_SERVER_URL] */
  readonly servers: readonly string[];
  /** At most this many of them are used; 0: all. [CVMFS_MAX_SERVERS] */
  readonly maxServers: number;
  /** Ask the servers which of them is nearest, once at the start. [CVMFS_USE_GEOAPI] */
  readonly geoOrder: boolean;
  /**
   * Groups in order of preference; members of a group share the load. A member is an `http://` address or `DIRECT`; a group
   * that is only `auto` asks PAC files. None: direct. [CVMFS_HTTP_PROXY]
   */
  readonly proxyGroups: readonly (readonly string[])[];
  /** Further groups for when all of those fail; with them, `DIRECT` is left out everywhere. [CVMFS_FALLBACK_PROXY] */
  readonly fallbackProxyGroups: readonly (readonly string[])[];
  /** Where PAC files are; `auto` is `http://wpad/wpad.dat`. [CVMFS_PAC_URLS] */
  readonly pacUrls: readonly string[];
  /** Ask the proxy of a group that an object's hash points at, so that their caches add up. [CVMFS_PROXY_SHARD] */
  readonly shardProxies: boolean;
  /** Addresses of one proxy's name that are used; 0: all. [CVMFS_MAX_IPADDR_PER_PROXY] */
  readonly maxAddressesPerProxy: number;
  /** [CVMFS_IPFAMILY_PREFER], [CVMFS_IPV4_ONLY] */
  readonly ipFamily: 'any' | 'prefer-4' | 'prefer-6' | 'only-4';
  /** For a connection, and for every stretch in which less than `lowSpeedBytesPerSecond` arrives. [CVMFS_TIMEOUT] */
  readonly proxyTimeoutMs: number;
  /** The same without a proxy. [CVMFS_TIMEOUT_DIRECT] */
  readonly directTimeoutMs: number;
  /** [CVMFS_LOW_SPEED_LIMIT] */
  readonly lowSpeedBytesPerSecond: number;
  /** How often the same address is asked again before the next. [CVMFS_MAX_RETRIES] */
  readonly maxRetries: number;
  /** [CVMFS_BACKOFF_INIT] */
  readonly backoffInitMs: number;
  /** [CVMFS_BACKOFF_MAX] */
  readonly backoffMaxMs: number;
  /** Back to the first group of proxies after this. [CVMFS_PROXY_RESET_AFTER] */
  readonly proxyResetAfterMs: number;
  /** Back to the first server after this. [CVMFS_HOST_RESET_AFTER] */
  readonly hostResetAfterMs: number;
  /** [CVMFS_FOLLOW_REDIRECTS]; at most four. */
  readonly followRedirects: boolean;
  /** Connections to one host. */
  readonly maxConnectionsPerHost: number;
  /** A request is over after this, retries included; `Number.POSITIVE_INFINITY` waits for ever. */
  readonly deadlineMs: number;
  /** Servers of external data; with the proxies of their own, usually none. [CVMFS_EXTERNAL_URL], [CVMFS_EXTERNAL_HTTP_PROXY] */
  readonly externalServers: readonly string[];
  readonly externalProxyGroups: readonly (readonly string[])[];
}

export const DEFAULT_NETWORK_SETTINGS: NetworkSettings = {
  servers: [],
  maxServers: 0,
  geoOrder: false,
  proxyGroups: [],
  fallbackProxyGroups: [],
  pacUrls: [],
  shardProxies: false,
  maxAddressesPerProxy: 0,
  ipFamily: 'any',
  proxyTimeoutMs: 5_000,
  directTimeoutMs: 10_000,
  lowSpeedBytesPerSecond: 1024,
  maxRetries: 1,
  backoffInitMs: 500,
  backoffMaxMs: 5_000,
  proxyResetAfterMs: 300_000,
  hostResetAfterMs: 1_800_000,
  followRedirects: false,
  maxConnectionsPerHost: 16,
  deadlineMs: 30_000,
  externalServers: [],
  externalProxyGroups: [],
};
