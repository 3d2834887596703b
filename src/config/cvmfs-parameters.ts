/** How parameters of the CernVM-FS client are read that are not written as our settings are. */

import { totalmem } from 'node:os';
import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';
import { boolean, fillTemplate, list, number } from './setting-kinds.ts';

/** Looks a parameter up; empty ones count as none. Throws FORMAT for one that only a shell can tell. */
export type Lookup = (name: string) => string | undefined;

export interface CvmfsContext {
  readonly fqrn: Fqrn;
  /** `/etc/cvmfs`, or the folder in place of it. */
  readonly folder: string;
}

const MIB = 1024 * 1024;

/** `undefined`: the parameters say nothing of this setting. */
export type FromCvmfs<T> = (get: Lookup, context: CvmfsContext) => T | undefined;

function wrong(name: string, value: string, what: string): ThimbleError {
  return new ThimbleError(
    'USAGE',
    `Cannot use ${name}=${JSON.stringify(value.slice(0, 80))}: it has to be ${what}`,
  );
}

/** Megabytes of the reference, which are of 1024 * 1024 bytes; -1 is no limit. */
function megabytes(name: string, value: string): number {
  if (/^-\d+$/.test(value)) return Number.MAX_SAFE_INTEGER;
  if (!/^\d{1,9}$/.test(value)) throw wrong(name, value, 'a number of megabytes, or -1');
  return Number(value) * MIB;
}

/** The instance of the cache manager that counts: the upper one of two tiers. */
function cacheInstance(get: Lookup): {
  readonly name: string;
  readonly type: string;
  readonly lower?: string;
} {
  const name = get('CVMFS_CACHE_PRIMARY') ?? 'default';
  const type = get(`CVMFS_CACHE_${name}_TYPE`) ?? 'posix';
  if (type !== 'tiered') return { name, type };
  const upper = get(`CVMFS_CACHE_${name}_UPPER`);
  const lower = get(`CVMFS_CACHE_${name}_LOWER`);
  if (upper === undefined) throw wrong(`CVMFS_CACHE_${name}_UPPER`, '', 'the name of a cache');
  const upperType = get(`CVMFS_CACHE_${upper}_TYPE`) ?? 'posix';
  return { name: upper, type: upperType, ...(lower === undefined ? {} : { lower }) };
}

/** A folder of ours in that of the reference, whose files are of another format. */
export const cacheFolder: FromCvmfs<string> = (get, { fqrn }) => {
  const { type } = cacheInstance(get);
  if (type === 'ram') return 'none';
  if (type !== 'posix') throw wrong('the type of the cache', type, 'posix, ram or tiered');
  const folder = get('CVMFS_CACHE_DIR') ?? get('CVMFS_CACHE_BASE');
  return folder === undefined ? undefined : `${fillTemplate(folder, fqrn).replace(/\/+$/, '')}/thimble`;
};

export const cacheLimit: FromCvmfs<number> = (get) => {
  const { name, type } = cacheInstance(get);
  const [parameter, alias] =
    type === 'ram'
      ? [`CVMFS_CACHE_${name}_SIZE`, 'CVMFS_QUOTA_LIMIT']
      : [`CVMFS_CACHE_${name}_QUOTA_LIMIT`, 'CVMFS_QUOTA_LIMIT'];
  const value = get(parameter);
  if (value === undefined) {
    const quota = get(alias);
    return quota === undefined ? undefined : megabytes(alias, quota);
  }
  const percent = /^(\d{1,2}|100)%$/.exec(value)?.[1];
  return percent === undefined
    ? megabytes(parameter, value)
    : Math.floor((totalmem() * Number(percent)) / 100);
};

export const lowerFolders: FromCvmfs<readonly string[]> = (get, { fqrn }) => {
  const { lower } = cacheInstance(get);
  if (lower === undefined) return undefined;
  const folder = get(`CVMFS_CACHE_${lower}_ALIEN`);
  return folder === undefined ? undefined : [`${fillTemplate(folder, fqrn).replace(/\/+$/, '')}/thimble`];
};

/** Where `cvmfs_talk -i` looks. */
export const talkSocket: FromCvmfs<string> = (get, { fqrn }) => {
  const named = get('CVMFS_TALK_SOCKET');
  if (named !== undefined) return fillTemplate(named, fqrn);
  const base = get('CVMFS_CACHE_BASE');
  const isShared = boolean.parse(get('CVMFS_SHARED_CACHE') ?? 'no', fqrn);
  const workspace =
    get('CVMFS_WORKSPACE') ??
    get('CVMFS_CACHE_DIR') ??
    (base === undefined ? undefined : `${base.replace(/\/+$/, '')}/${isShared ? 'shared' : fqrn}`);
  return workspace === undefined
    ? undefined
    : `${fillTemplate(workspace, fqrn).replace(/\/+$/, '')}/cvmfs_io.${fqrn}`;
};

export const keys: FromCvmfs<readonly string[]> = (get, { fqrn, folder }) => {
  const files = get('CVMFS_PUBLIC_KEY');
  if (files !== undefined) return list('', ':').parse(files, fqrn);
  const keysFolder = get('CVMFS_KEYS_DIR');
  // Keys of others are kept beside those of this domain, in folders of theirs.
  const common = `${folder}/keys`;
  if (keysFolder === undefined) return undefined;
  const given = fillTemplate(keysFolder, fqrn).replace(/\/+$/, '');
  return given === common ? undefined : [given];
};

export const ipFamily: FromCvmfs<'prefer-4' | 'prefer-6' | 'only-4'> = (get, { fqrn }) => {
  const only = get('CVMFS_IPV4_ONLY');
  if (only !== undefined && boolean.parse(only, fqrn)) return 'only-4';
  const preferred = get('CVMFS_IPFAMILY_PREFER');
  if (preferred === undefined) return undefined;
  if (preferred === '4') return 'prefer-4';
  if (preferred === '6') return 'prefer-6';
  throw wrong('CVMFS_IPFAMILY_PREFER', preferred, '4 or 6');
};

export const magicXattrs: FromCvmfs<'rootonly' | 'always' | 'never'> = (get, { fqrn }) => {
  const given = get('CVMFS_MAGIC_XATTRS_VISIBILITY')?.toLowerCase();
  if (given === 'rootonly' || given === 'always' || given === 'never') return given;
  if (given !== undefined) throw wrong('CVMFS_MAGIC_XATTRS_VISIBILITY', given, 'rootonly, always or never');
  const hidden = get('CVMFS_HIDE_MAGIC_XATTRS');
  return hidden !== undefined && boolean.parse(hidden, fqrn) ? 'never' : undefined;
};

export const offlineDeadline: FromCvmfs<'wait'> = (get, { fqrn }) => {
  const indefinitely = get('CVMFS_FAILOVER_INDEFINITELY');
  return indefinitely !== undefined && boolean.parse(indefinitely, fqrn) ? 'wait' : undefined;
};

export const maxTtl: FromCvmfs<number> = (get, { fqrn }) => {
  const minutes = get('CVMFS_MAX_TTL');
  return minutes === undefined ? undefined : 60 * number('minutes', 0, 1_000_000).parse(minutes, fqrn);
};

export const logFile: FromCvmfs<string> = (get, { fqrn }) => {
  const file = get('CVMFS_USYSLOG') ?? get('CVMFS_DEBUGLOG');
  return file === undefined ? undefined : fillTemplate(file, fqrn);
};

export const logLevel: FromCvmfs<'debug'> = (get) =>
  get('CVMFS_DEBUGLOG') === undefined ? undefined : 'debug';
