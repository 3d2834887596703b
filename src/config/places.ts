/** Where this machine keeps configuration and caches. */

import { createHash } from 'node:crypto';
import { homedir, hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { CVMFS_FOLDER, type CvmfsPlace, parseCvmfsPlace } from './cvmfs-files.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const isRoot = () => process.getuid?.() === 0;

export const SYSTEM_FOLDER = '/etc/thimble';

function userFolder(environment: Environment): string {
  return join(environment['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'thimble');
}

/** `--config`, `THIMBLE_CONFIG`, `/etc/thimble` for root, else the user's configuration folder: what is written goes there. */
export function configurationFolderOf(given: string | undefined, environment: Environment): string {
  const named = given ?? environment['THIMBLE_CONFIG'];
  if (named !== undefined) return resolve(named);
  return isRoot() ? SYSTEM_FOLDER : userFolder(environment);
}

/** Where `client.yaml` may be, weakest first. */
export function clientFoldersOf(given: string | undefined, environment: Environment): string[] {
  const named = configurationFolderOf(given, environment);
  const isNamed = given !== undefined || environment['THIMBLE_CONFIG'] !== undefined;
  return isNamed || named === SYSTEM_FOLDER ? [named] : [SYSTEM_FOLDER, named];
}

/** `--cvmfs-config`, `THIMBLE_CVMFS_CONFIG`, else `/etc/cvmfs`. */
export function cvmfsPlaceOf(given: string | undefined, environment: Environment): CvmfsPlace {
  const named = given ?? environment['THIMBLE_CVMFS_CONFIG'];
  return named === undefined ? { folder: CVMFS_FOLDER } : parseCvmfsPlace(named);
}

export function defaultCacheFolder(): string {
  if (isRoot()) return '/var/cache/thimble';
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'thimble');
}

/** A number from 0 to 32767 that is always the same on one machine: files spread machines over servers with one. */
export function machineNumber(): number {
  return createHash('sha256').update(hostname()).digest().readUInt16BE() & 0x7fff;
}
