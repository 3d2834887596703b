/**
 * All settings of a client, in one table: names, kinds, defaults, meanings, the flag and the parameters of CernVM-FS that say
 * the same. Files, environment, command line, `thimble config` and the manual are made from it.
 */

import { DEFAULT_CACHE_SETTINGS } from '../client/cache-settings.ts';
import { DEFAULT_NETWORK_SETTINGS as NETWORK } from '../client/network/network-settings.ts';
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from '../node/log.ts';
import type { FromCvmfs } from './cvmfs-parameters.ts';
import * as cvmfs from './cvmfs-parameters.ts';
import type { Kind } from './setting-kinds.ts';
import * as kinds from './setting-kinds.ts';

export interface SettingRow<T> {
  readonly kind: Kind<T>;
  readonly default: T;
  readonly meaning: string;
  /** In the manual, where the value itself says too little. */
  readonly defaultText?: string;
  /** Without `--`; a flag of a setting that is a list may be given again. */
  readonly flag?: string;
  readonly cvmfs?: readonly string[];
  /** Without it the first parameter is read as the setting is. */
  readonly fromCvmfs?: FromCvmfs<T>;
}

const row = <T>(settings: SettingRow<T>): SettingRow<T> => settings;

const DAY_SECONDS = 24 * 3600;
const YEAR_SECONDS = 366 * DAY_SECONDS;
const seconds = (least: number) => kinds.number('seconds', least, YEAR_SECONDS, { isWhole: false });
const count = (least: number, most: number) => kinds.number('count', least, most);
const switched = (value: boolean, meaning: string, more: Partial<SettingRow<boolean>> = {}) =>
  row<boolean>({ kind: kinds.boolean, default: value, meaning, ...more });

export const SETTINGS = {
  'servers.addresses': row({
    kind: kinds.servers,
    default: NETWORK.servers,
    meaning: 'addresses of the repository, in order of preference; @fqrn@ and @org@ are filled in',
    flag: 'server',
    cvmfs: ['CVMFS_SERVER_URL'],
  }),
  'servers.max': row({
    kind: count(0, 1000),
    default: NETWORK.maxServers,
    meaning: 'at most so many of them are used; 0 is all',
    cvmfs: ['CVMFS_MAX_SERVERS'],
  }),
  'servers.geoOrder': switched(NETWORK.geoOrder, 'ask the servers which of them is nearest', {
    cvmfs: ['CVMFS_USE_GEOAPI'],
  }),
  'servers.timeoutSeconds': row({
    kind: seconds(0.1),
    default: NETWORK.directTimeoutMs / 1000,
    meaning: 'for a connection, and for a stretch that is too slow, without a proxy',
    cvmfs: ['CVMFS_TIMEOUT_DIRECT'],
  }),
  'servers.resetAfterSeconds': row({
    kind: seconds(0),
    default: NETWORK.hostResetAfterMs / 1000,
    meaning: 'back to the first server after this; 0 is never',
    cvmfs: ['CVMFS_HOST_RESET_AFTER'],
  }),
  'servers.followRedirects': switched(NETWORK.followRedirects, 'follow up to four redirects', {
    cvmfs: ['CVMFS_FOLLOW_REDIRECTS'],
  }),
  'servers.external': row({
    kind: kinds.webServers,
    default: NETWORK.externalServers,
    meaning: 'where external files are, by path',
    flag: 'external-server',
    cvmfs: ['CVMFS_EXTERNAL_URL'],
  }),
  'proxies.groups': row({
    kind: kinds.proxies,
    default: NETWORK.proxyGroups,
    defaultText: 'none: ask servers directly',
    meaning: 'groups in order of preference; `|` between those that share the load; DIRECT; auto',
    flag: 'proxy',
    cvmfs: ['CVMFS_HTTP_PROXY'],
  }),
  'proxies.fallback': row({
    kind: kinds.proxies,
    default: NETWORK.fallbackProxyGroups,
    meaning: 'further groups for when all of those fail; nothing goes around proxies then',
    cvmfs: ['CVMFS_FALLBACK_PROXY'],
  }),
  'proxies.pacUrls': row({
    kind: kinds.list('addresses', ';'),
    default: NETWORK.pacUrls,
    meaning: 'where the group `auto` finds its PAC file; auto is http://wpad/wpad.dat',
    cvmfs: ['CVMFS_PAC_URLS'],
  }),
  'proxies.shard': switched(NETWORK.shardProxies, 'a proxy of a group for each object, by its hash', {
    cvmfs: ['CVMFS_PROXY_SHARD'],
  }),
  'proxies.maxAddresses': row({
    kind: count(0, 1000),
    default: NETWORK.maxAddressesPerProxy,
    meaning: "addresses of one proxy's name that are used; 0 is all",
    cvmfs: ['CVMFS_MAX_IPADDR_PER_PROXY'],
  }),
  'proxies.timeoutSeconds': row({
    kind: seconds(0.1),
    default: NETWORK.proxyTimeoutMs / 1000,
    meaning: 'for a connection, and for a stretch that is too slow, with a proxy',
    cvmfs: ['CVMFS_TIMEOUT'],
  }),
  'proxies.resetAfterSeconds': row({
    kind: seconds(0),
    default: NETWORK.proxyResetAfterMs / 1000,
    meaning: 'back to the first group after this; 0 is never',
    cvmfs: ['CVMFS_PROXY_RESET_AFTER'],
  }),
  'proxies.external': row({
    kind: kinds.proxies,
    default: NETWORK.externalProxyGroups,
    defaultText: 'none',
    meaning: 'proxies for external files',
    cvmfs: ['CVMFS_EXTERNAL_HTTP_PROXY'],
  }),
  'network.lowSpeedBytesPerSecond': row({
    kind: count(0, 1e9),
    default: NETWORK.lowSpeedBytesPerSecond,
    meaning: 'what is slower than this for as long as the time-out counts as failed',
    cvmfs: ['CVMFS_LOW_SPEED_LIMIT'],
  }),
  'network.maxRetries': row({
    kind: count(0, 100),
    default: NETWORK.maxRetries,
    meaning: 'how often the same address is asked again before the next',
    cvmfs: ['CVMFS_MAX_RETRIES'],
  }),
  'network.backoffInitSeconds': row({
    kind: seconds(0),
    default: NETWORK.backoffInitMs / 1000,
    meaning: 'the first pause before it is asked again, at most',
    cvmfs: ['CVMFS_BACKOFF_INIT'],
  }),
  'network.backoffMaxSeconds': row({
    kind: seconds(0),
    default: NETWORK.backoffMaxMs / 1000,
    meaning: 'the longest pause',
    cvmfs: ['CVMFS_BACKOFF_MAX'],
  }),
  'network.ipFamily': row<typeof NETWORK.ipFamily>({
    kind: kinds.choice(['any', 'prefer-4', 'prefer-6', 'only-4']),
    default: NETWORK.ipFamily,
    meaning: 'which addresses of a name are used',
    cvmfs: ['CVMFS_IPFAMILY_PREFER', 'CVMFS_IPV4_ONLY'],
    fromCvmfs: cvmfs.ipFamily,
  }),
  'network.maxConnectionsPerHost': row({
    kind: count(1, 1000),
    default: NETWORK.maxConnectionsPerHost,
    meaning: 'connections to one host',
  }),
  'offline.deadlineSeconds': row<number | 'wait'>({
    kind: kinds.deadline(DAY_SECONDS),
    default: NETWORK.deadlineMs / 1000,
    meaning: 'how long a read may wait for servers before it fails; `wait` waits for them, and can be killed',
    flag: 'deadline',
    cvmfs: ['CVMFS_FAILOVER_INDEFINITELY'],
    fromCvmfs: cvmfs.offlineDeadline,
  }),
  'trust.keys': row<readonly string[]>({
    kind: kinds.paths('files'),
    default: [],
    defaultText: '/etc/cvmfs/keys/*.pub, /etc/cvmfs/keys/DOMAIN/*.pub',
    meaning: 'public keys of the repository: files, or folders of them',
    flag: 'key',
    cvmfs: ['CVMFS_PUBLIC_KEY', 'CVMFS_KEYS_DIR'],
    fromCvmfs: cvmfs.keys,
  }),
  'trust.blacklists': row<readonly string[]>({
    kind: kinds.paths('files'),
    default: [],
    defaultText: '/etc/cvmfs/blacklist, if it is there',
    meaning: 'certificates and revisions to refuse',
    flag: 'blacklist',
    cvmfs: ['CVMFS_BLACKLIST'],
  }),
  'snapshot.tag': row({
    kind: kinds.optional(kinds.text('name')),
    default: undefined,
    defaultText: 'the newest',
    meaning: 'the snapshot with this name',
    flag: 'tag',
    cvmfs: ['CVMFS_REPOSITORY_TAG'],
  }),
  'snapshot.date': row({
    kind: kinds.optional(kinds.text('time')),
    default: undefined,
    meaning: 'the newest snapshot that is as old as this',
    flag: 'date',
    cvmfs: ['CVMFS_REPOSITORY_DATE'],
  }),
  'snapshot.rootHash': row({
    kind: kinds.optional(kinds.text('hash')),
    default: undefined,
    meaning: 'the snapshot with this root hash; needs no key',
    flag: 'root-hash',
    cvmfs: ['CVMFS_ROOT_HASH'],
  }),
  'cache.folder': row({
    kind: kinds.path('folder'),
    default: '',
    defaultText: '/var/cache/thimble, or ~/.cache/thimble',
    meaning:
      'where fetched content is kept, or `none` for memory only; of CernVM-FS, the folder `thimble` in it',
    flag: 'cache',
    cvmfs: ['CVMFS_CACHE_BASE', 'CVMFS_CACHE_DIR', 'CVMFS_CACHE_PRIMARY'],
    fromCvmfs: cvmfs.cacheFolder,
  }),
  'cache.limit': row({
    kind: kinds.size,
    default: DEFAULT_CACHE_SETTINGS.limitBytes,
    meaning: 'limit of the cache',
    flag: 'cache-size',
    cvmfs: ['CVMFS_QUOTA_LIMIT', 'CVMFS_CACHE_<i>_SIZE', 'CVMFS_CACHE_<i>_QUOTA_LIMIT'],
    fromCvmfs: cvmfs.cacheLimit,
  }),
  'cache.keepFree': row({
    kind: kinds.size,
    default: DEFAULT_CACHE_SETTINGS.keepFreeBytes,
    meaning: 'what is left free on the disk, whatever the limit says',
  }),
  'cache.lowerFolders': row({
    kind: kinds.paths('folders'),
    default: DEFAULT_CACHE_SETTINGS.lowerFolders,
    meaning: 'caches that are read and never written, asked in order before the network',
    cvmfs: ['CVMFS_CACHE_<i>_LOWER'],
    fromCvmfs: cvmfs.lowerFolders,
  }),
  'updates.follow': switched(true, 'go to newer revisions while mounted; never from a chosen snapshot', {
    cvmfs: ['CVMFS_AUTO_UPDATE'],
  }),
  'updates.maxTtlSeconds': row({
    kind: seconds(0),
    default: 0,
    meaning: 'look for them at least this often; 0 is as often as the catalog says',
    cvmfs: ['CVMFS_MAX_TTL'],
    fromCvmfs: cvmfs.maxTtl,
  }),
  'updates.push': switched(true, 'let servers tell of a publish, where they can'),
  'updates.minimumRevision': row({
    kind: count(0, Number.MAX_SAFE_INTEGER),
    default: 0,
    meaning: 'older revisions are refused',
  }),
  'updates.allowOlder': switched(false, 'accept a revision older than the highest that was seen', {
    flag: 'allow-older',
  }),
  'mount.defaultDomain': row({
    kind: kinds.text('domain'),
    default: '',
    defaultText: 'none',
    meaning: 'behind the name of a repository that has no dot',
    cvmfs: ['CVMFS_DEFAULT_DOMAIN'],
  }),
  'mount.repositories': row<readonly string[]>({
    kind: kinds.list('names', ','),
    default: [],
    meaning: 'those that may be mounted by name, if `strict` is set',
    cvmfs: ['CVMFS_REPOSITORIES'],
  }),
  'mount.strict': switched(false, 'mount only those', { cvmfs: ['CVMFS_STRICT_MOUNT'] }),
  'mount.suid': switched(false, 'honour set-user-id bits and file capabilities', {
    flag: 'suid',
    cvmfs: ['CVMFS_SUID'],
  }),
  'mount.dev': switched(false, 'honour device nodes', { flag: 'dev' }),
  'mount.exec': switched(true, 'programs can be run'),
  'mount.checkPermissions': switched(true, 'the kernel checks modes and owners', {
    cvmfs: ['CVMFS_CHECK_PERMISSIONS'],
  }),
  'mount.claimOwnership': switched(false, 'everything belongs to who mounts', {
    cvmfs: ['CVMFS_CLAIM_OWNERSHIP'],
  }),
  'mount.uidMap': row({
    kind: kinds.optional(kinds.path('file')),
    default: undefined,
    meaning: 'file with lines `FROM TO`, for owners',
    cvmfs: ['CVMFS_UID_MAP'],
  }),
  'mount.gidMap': row({
    kind: kinds.optional(kinds.path('file')),
    default: undefined,
    meaning: 'the same for groups',
    cvmfs: ['CVMFS_GID_MAP'],
  }),
  'mount.worldReadable': switched(false, 'everybody may read everything', {
    cvmfs: ['CVMFS_WORLD_READABLE'],
  }),
  'mount.directIo': switched(
    false,
    'read files past the page cache that are flagged so; opening gets slower',
    {
      flag: 'direct-io',
    },
  ),
  'mount.passthrough': row({
    kind: kinds.sizeOrOff,
    default: 0,
    defaultText: 'off',
    meaning:
      'files from this size are read by the kernel itself, once they are in the cache; opening gets slower',
    flag: 'passthrough',
  }),
  'mount.magicXattrs': row<'rootonly' | 'always' | 'never'>({
    kind: kinds.choice(['rootonly', 'always', 'never']),
    // Copies of the root, such as those of rsync -X, would have them otherwise.
    default: 'never',
    meaning: 'where magic extended attributes are listed; asked for by name they always answer',
    cvmfs: ['CVMFS_MAGIC_XATTRS_VISIBILITY', 'CVMFS_HIDE_MAGIC_XATTRS'],
    fromCvmfs: cvmfs.magicXattrs,
  }),
  'mount.talkSocket': row({
    kind: kinds.optional(kinds.path('socket')),
    default: undefined,
    defaultText: 'none',
    meaning: 'a further place for the socket of `cvmfs_talk`; of CernVM-FS, `cvmfs_io.FQRN` in its workspace',
    cvmfs: [
      'CVMFS_TALK_SOCKET',
      'CVMFS_WORKSPACE',
      'CVMFS_CACHE_DIR',
      'CVMFS_CACHE_BASE',
      'CVMFS_SHARED_CACHE',
    ],
    fromCvmfs: cvmfs.talkSocket,
  }),
  'mount.variables': row({
    kind: kinds.variables,
    default: {},
    defaultText: 'none',
    meaning: 'what replaces $(NAME) in symlinks',
    flag: 'variable',
  }),
  'mount.profile': row({
    kind: kinds.optional(kinds.text('name')),
    default: undefined,
    defaultText: 'none',
    meaning: 'the profile whose objects are fetched ahead',
    flag: 'profile',
  }),
  'log.file': row({
    kind: kinds.optional(kinds.path('file')),
    default: undefined,
    defaultText: 'thimble.log beside the cache',
    meaning: 'log of the background process',
    flag: 'log',
    cvmfs: ['CVMFS_USYSLOG', 'CVMFS_DEBUGLOG'],
    fromCvmfs: cvmfs.logFile,
  }),
  'log.format': row<LogFormat | undefined>({
    kind: kinds.choice(LOG_FORMATS),
    default: undefined,
    defaultText: 'text, or journal where that is standard error',
    meaning: 'text, json, or journal for the system journal',
    flag: 'log-format',
  }),
  'log.level': row<LogLevel>({
    kind: kinds.choice(LOG_LEVELS),
    default: 'info',
    meaning: 'what is logged',
    cvmfs: ['CVMFS_DEBUGLOG'],
    fromCvmfs: cvmfs.logLevel,
  }),
} as const;

export type SettingName = keyof typeof SETTINGS;
export type ValueOf<Name extends SettingName> =
  (typeof SETTINGS)[Name] extends SettingRow<infer T> ? T : never;

export const SETTING_NAMES = Object.keys(SETTINGS) as readonly SettingName[];

/** The same rows without their types. */
export function rowOf(name: SettingName): SettingRow<unknown> {
  return SETTINGS[name] as SettingRow<unknown>;
}

/** `THIMBLE_CACHE_KEEP_FREE` of `cache.keepFree`. */
export function environmentNameOf(name: SettingName): string {
  return `THIMBLE_${name.replace('.', '_').replace(/[A-Z]/g, '_$&').toUpperCase()}`;
}
