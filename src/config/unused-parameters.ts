/** Parameters of CernVM-FS that files may have and that do nothing here, with why. */

const CACHE_MANAGER = 'mounts share a cache without a process that manages it';
const MEMORY = 'memory is bounded by what is attached, not by a setting';
const DNS = 'names are resolved as the system does';
const TELEMETRY = 'figures are offered to Prometheus instead';
const TRACE = 'see `thimble status` and the log instead';
const NFS = 'node ids are stable in any case';
const ONE_LIBRARY = 'there is one program, and nothing to load into it';
const USER = 'a mount runs as who starts it';

const UNUSED: Readonly<Record<string, string>> = {
  CVMFS_ALIEN_CACHE: 'its files are of another format; any folder of a cache may be shared by mounts',
  CVMFS_ALT_ROOT_PATH: 'objects are found under their own names',
  CVMFS_ARCH: 'read by symlinks only',
  CVMFS_AUTHZ_HELPER: 'access control by membership is not supported',
  CVMFS_AUTHZ_SEARCH_PATH: 'access control by membership is not supported',
  CVMFS_CACHE_REFCOUNT: 'each object is open at most once',
  CVMFS_CACHE_SYMLINKS: 'the kernel caches them wherever that is safe',
  CVMFS_CACHE_WORKSPACE: CACHE_MANAGER,
  CVMFS_CATALOG_WATERMARK: MEMORY,
  CVMFS_CPU_AFFINITY: 'use CPUAffinity= of systemd',
  CVMFS_DNS_MAX_TTL: DNS,
  CVMFS_DNS_MIN_TTL: DNS,
  CVMFS_DNS_RETRIES: DNS,
  CVMFS_DNS_ROAMING: DNS,
  CVMFS_DNS_SERVER: DNS,
  CVMFS_DNS_TIMEOUT: DNS,
  CVMFS_ENFORCE_ACLS: 'POSIX access control lists are not enforced',
  CVMFS_EXTERNAL_FALLBACK_PROXY: 'external files have one list of proxies',
  CVMFS_EXTERNAL_MAX_SERVERS: 'all servers of external files are used',
  CVMFS_EXTERNAL_TIMEOUT: 'external files have the time-outs of others',
  CVMFS_EXTERNAL_TIMEOUT_DIRECT: 'external files have the time-outs of others',
  CVMFS_FUSE3_IDLE_THREADS: 'one thread answers the kernel',
  CVMFS_FUSE3_MAX_THREADS: 'one thread answers the kernel',
  CVMFS_FUSE_NOTIFY_INVALIDATION: 'the kernel is always told what changed',
  CVMFS_HTTP_TRACING: 'requests carry no names of who reads',
  CVMFS_HTTP_TRACING_HEADERS: 'requests carry no names of who reads',
  CVMFS_IGNORE_SIGNATURE: 'signatures are always verified; a root hash needs none',
  CVMFS_INFLUX_EXTRA_FIELDS: TELEMETRY,
  CVMFS_INFLUX_EXTRA_TAGS: TELEMETRY,
  CVMFS_INFLUX_HOST: TELEMETRY,
  CVMFS_INFLUX_METRIC_NAME: TELEMETRY,
  CVMFS_INFLUX_PORT: TELEMETRY,
  CVMFS_INITIAL_GENERATION: NFS,
  CVMFS_INSTRUMENT_FUSE: TRACE,
  CVMFS_KCACHE_TIMEOUT: 'the kernel keeps what it learnt until it is told of a change',
  CVMFS_LIBRARY_PATH: ONE_LIBRARY,
  CVMFS_MEMCACHE_SIZE: MEMORY,
  CVMFS_MOUNT_RW: 'mounts are read-only',
  CVMFS_NFILES: 'objects are not kept open for files that are',
  CVMFS_NFS_INTERLEAVED_INODES: NFS,
  CVMFS_NFS_SHARED: NFS,
  CVMFS_NFS_SOURCE: NFS,
  CVMFS_NOTIFICATION_SERVER: 'a Thimble server tells of a publish itself',
  CVMFS_OOM_SCORE_ADJ: 'use OOMScoreAdjust= of systemd',
  CVMFS_PROXY_SHARDING_POLICY: 'there is one policy',
  CVMFS_PROXY_TEMPLATE: 'servers are asked for their order by address',
  CVMFS_QUOTA_THRESHOLD: 'deprecated; the cache makes room by itself',
  CVMFS_RELOAD_SOCKETS: 'sockets are where `thimble status` looks for them',
  CVMFS_SEND_INFO_HEADER: 'requests carry no names of files',
  CVMFS_SERVER_CACHE_MODE: 'for publishers of the reference',
  CVMFS_STATFS_CACHE_TIMEOUT: 'the answer costs nothing',
  CVMFS_STREAMING_CACHE: 'set a small limit of the cache, or keep it in memory',
  CVMFS_SYSLOG_FACILITY: 'the log goes to a file or the journal',
  CVMFS_SYSLOG_LEVEL: 'the log goes to a file or the journal',
  CVMFS_SYSLOG_PREFIX: 'the log goes to a file or the journal',
  CVMFS_SYSTEMD_NOKILL: 'the unit in contrib/systemd says it',
  CVMFS_TALK_OWNER: 'sockets belong to who mounts',
  CVMFS_TELEMETRY_RATE: TELEMETRY,
  CVMFS_TELEMETRY_SEND: TELEMETRY,
  CVMFS_TRACEBUFFER: TRACE,
  CVMFS_TRACEBUFFER_THRESHOLD: TRACE,
  CVMFS_TRACEFILE: TRACE,
  CVMFS_TRUSTED_CERTS: 'whitelists are signed by keys, not by certificates of authorities',
  CVMFS_USER: USER,
  CVMFS_USE_SSL_SYSTEM_CA: 'certificates of authorities are always those of the system',
  CVMFS_XATTR_PRIVILEGED_GIDS: 'magic extended attributes tell nothing that is secret',
  CVMFS_XATTR_PROTECTED_XATTRS: 'magic extended attributes tell nothing that is secret',
  X509_CERT_BUNDLE: 'certificates of authorities are always those of the system',
  X509_CERT_DIR: 'certificates of authorities are always those of the system',
  _CVMFS_DEVEL_IGNORE_SIGNATURE_FAILURES: 'signatures are always verified; a root hash needs none',
};

/** Read by files and by the reading of files: nothing to tell. */
const OF_FILES: readonly string[] = [
  'CVMFS_BASE_ENV',
  'CVMFS_CLIENT_PROFILE',
  'CVMFS_CONFIG_REPOSITORY',
  'CVMFS_CONFIG_REPO_DEFAULT_ENV',
  'CVMFS_CONFIG_REPO_REQUIRED',
  'CVMFS_FQRN',
  'CVMFS_MOUNT_DIR',
  'CVMFS_USE_CDN',
];

export const UNUSED_PARAMETERS = UNUSED;

/** Why a parameter does nothing; `''` for those that only files read, `undefined` for one that nobody knows. */
export function whyUnused(name: string): string | undefined {
  if (OF_FILES.includes(name)) return '';
  if (/^CVMFS_CACHE_\w+_(TYPE|UPPER|LOWER|ALIEN|SIZE|QUOTA_LIMIT)$/.test(name)) return '';
  if (/^CVMFS_CACHE_\w+_(SHARED|SERVER_MODE|REFCOUNT|MALLOC|LOWER_READONLY|CMDLINE|LOCATOR)$/.test(name)) {
    return CACHE_MANAGER;
  }
  return UNUSED[name] ?? (name.startsWith('CVMFS_AUTHZ_') ? UNUSED['CVMFS_AUTHZ_HELPER'] : undefined);
}
