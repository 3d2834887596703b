/**
 * What a mount is told: every setting of a client, typed, from wherever it came (docs/manual/configuration.md).
 * `load-settings.ts` fills it; `setting-table.ts` has names, defaults and meanings.
 */

import type { CacheSettings } from '../client/cache-settings.ts';
import type { NetworkSettings } from '../client/network/network-settings.ts';
import type { Selection } from '../client/repository.ts';
import type { Fqrn } from '../core/fqrn.ts';
import type { LogFormat, LogLevel } from '../node/log.ts';

export interface UpdateSettings {
  /** Go to newer revisions while mounted; never where a tag, date or root hash was chosen. [CVMFS_AUTO_UPDATE] */
  readonly follow: boolean;
  /** Look at least this often; 0: as often as the catalog says. [CVMFS_MAX_TTL, in minutes] */
  readonly maxTtlSeconds: number;
  /** Let servers tell of a publish, where they can. */
  readonly push: boolean;
  /** Older revisions are refused. */
  readonly minimumRevision: number;
  /** Accept a revision older than the highest that was seen. */
  readonly allowOlder: boolean;
}

export interface MountSettings {
  /** Honour set-user-id bits and file capabilities. [CVMFS_SUID] */
  readonly suid: boolean;
  /** Honour device nodes. */
  readonly dev: boolean;
  /** Programs can be run. */
  readonly exec: boolean;
  /** The kernel checks modes and owners. [CVMFS_CHECK_PERMISSIONS] */
  readonly checkPermissions: boolean;
  /** Everything belongs to who mounts. [CVMFS_CLAIM_OWNERSHIP] */
  readonly claimOwnership: boolean;
  /** File with lines `FROM TO`. [CVMFS_UID_MAP] */
  readonly uidMap: string | undefined;
  /** [CVMFS_GID_MAP] */
  readonly gidMap: string | undefined;
  /** Everybody may read everything. [CVMFS_WORLD_READABLE] */
  readonly worldReadable: boolean;
  /** Files flagged so are read past the page cache. */
  readonly directIo: boolean;
  /** Files from this size are read by the kernel itself, once they are in the cache; 0: none. */
  readonly passthroughBytes: number;
  /** Where magic extended attributes are listed; asked for by name they always answer. [CVMFS_MAGIC_XATTRS_VISIBILITY] */
  readonly magicXattrs: 'rootonly' | 'always' | 'never';
  /** Where scripts for the CernVM-FS client look for its socket; `undefined`: nowhere. [CVMFS_TALK_SOCKET] */
  readonly talkSocket: string | undefined;
}

export interface LogSettings {
  /** Of the process in the background. [CVMFS_USYSLOG] */
  readonly file: string;
  readonly level: LogLevel;
  /** `undefined`: as it suits whoever reads it. */
  readonly format: LogFormat | undefined;
}

export interface ClientSettings {
  readonly fqrn: Fqrn;
  readonly network: NetworkSettings;
  readonly cache: CacheSettings;
  /** PEM files of public keys. [CVMFS_PUBLIC_KEY], [CVMFS_KEYS_DIR] */
  readonly keyFiles: readonly string[];
  /** [CVMFS_BLACKLIST] */
  readonly blacklistFiles: readonly string[];
  /** [CVMFS_REPOSITORY_TAG], [CVMFS_REPOSITORY_DATE], [CVMFS_ROOT_HASH] */
  readonly selection: Selection;
  readonly updates: UpdateSettings;
  readonly mount: MountSettings;
  /** How long a read may wait for servers; `'wait'` waits until they are back, and can be killed. */
  readonly offline: { readonly deadlineSeconds: number | 'wait' };
  /** What `$(NAME)` in symlinks may show. */
  readonly variables: Readonly<Record<string, string>>;
  /** The profile that is streamed ahead; `undefined`: none. */
  readonly profile: string | undefined;
  readonly log: LogSettings;
  /** Each setting as text, with where it came from, in the order of the table. */
  readonly effective: readonly EffectiveSetting[];
  /** What was found in files and is not used, or not understood. */
  readonly findings: readonly Finding[];
}

export interface Origin {
  readonly kind: 'default' | 'file' | 'environment' | 'flag' | 'repository';
  /** `/etc/cvmfs/default.local:3`, `THIMBLE_CACHE_FOLDER`, `--cache`. */
  readonly where: string;
}

export interface EffectiveSetting {
  /** `cache.limitBytes`. */
  readonly name: string;
  /** In JSON's types. */
  readonly value: unknown;
  readonly origin: Origin;
  readonly cvmfs: readonly string[];
}

export interface Finding {
  /** `error`: a mount would fail; `warning`: it is not what somebody may think; `note`: it does nothing here. */
  readonly severity: 'error' | 'warning' | 'note';
  /** `FILE:LINE`, or the name of a variable of the environment. */
  readonly where: string;
  readonly message: string;
}
