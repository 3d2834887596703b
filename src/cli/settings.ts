/** Where this machine keeps Thimble's settings and caches, and how a command line names a repository. */

import { existsSync, readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { ThimbleError } from '../core/errors.ts';
import { type Fqrn, isFqrn, parseFqrn } from '../core/fqrn.ts';
import type { RepositoryAddress } from '../node/repository-access.ts';
import { publicKeyFiles } from '../publish/keys.ts';
import { RepositoryRegistry } from '../publish/repository-settings.ts';
import { readingAddress, storageLocation } from '../storage/open-storage.ts';
import type { GlobalOptions } from './terminal.ts';

const isRoot = () => process.getuid?.() === 0;

/** `--config`, `THIMBLE_CONFIG`, `/etc/thimble` for root, else the user's configuration folder. */
export function configurationFolder(options: GlobalOptions): string {
  const given = options.config ?? process.env['THIMBLE_CONFIG'];
  if (given !== undefined) return resolve(given);
  if (isRoot()) return '/etc/thimble';
  return join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'thimble');
}

export function registry(options: GlobalOptions): RepositoryRegistry {
  return new RepositoryRegistry(configurationFolder(options));
}

export function defaultCacheFolder(): string {
  if (isRoot()) return '/var/cache/thimble';
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'thimble');
}

export interface AddressOptions {
  readonly key?: readonly string[];
  readonly server?: readonly string[];
  readonly proxy?: readonly string[];
  readonly externalServer?: readonly string[];
  readonly blacklist?: readonly string[];
}

/**
 * A repository as users name it: an address, a storage folder, or the name of one that was created here. Keys of
 * repositories created here are found by name. Throws USAGE, NOT_FOUND.
 */
export function resolveAddress(
  source: string,
  given: AddressOptions,
  options: GlobalOptions,
): RepositoryAddress {
  const known = registry(options);
  const isAddress = /^(https?|file):\/\//.test(source);
  const isFolder = !isAddress && (source.includes('/') || existsSync(source));
  const name = source.replace(/\/+$/, '').split('/').at(-1) ?? '';
  if (!isFqrn(name)) {
    throw new ThimbleError('USAGE', `Cannot tell which repository ${JSON.stringify(source)} is`, {
      hint: 'an address or folder ends with the name of the repository, such as http://host/cvmfs/os.example.org',
    });
  }
  const fqrn = parseFqrn(name);
  const isKnown = known.has(fqrn);
  const first = isAddress
    ? source
    : isFolder
      ? resolve(source)
      : readingAddress(storageLocation(known.load(fqrn).storage));
  const keyFiles =
    given.key?.flatMap((path) => keyFilesAt(path, fqrn)) ??
    (isKnown ? publicKeyFiles(known.folderOf(fqrn), fqrn) : []);
  return {
    fqrn,
    servers: [first, ...(given.server ?? [])],
    proxies: given.proxy ?? [],
    keyFiles,
    externalServers: given.externalServer ?? [],
    blacklistFiles: given.blacklist ?? [],
  };
}

const ED25519_FILE = /^(.+?)(\.next)?\.ed25519pub$/;

/**
 * A key file, or those of a folder: all `*.pub`, and the Ed25519 keys of this repository; those of others would demand signatures
 * that this one does not have. Throws NOT_FOUND for a folder without any.
 */
function keyFilesAt(path: string, fqrn: Fqrn): string[] {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [path];
  const names = readdirSync(path).filter((name) => {
    const owner = ED25519_FILE.exec(name)?.[1];
    return owner === undefined ? name.endsWith('.pub') : owner === fqrn;
  });
  if (names.length > 0) return names.sort().map((name) => join(path, name));
  throw new ThimbleError('NOT_FOUND', `Cannot find a key for ${fqrn}: there is no *.pub in ${path}`);
}

/** Seconds since 1970 of an ISO 8601 date or time, UTC where it says nothing else. Throws USAGE. */
export function parseDate(text: string): number {
  const isDate = /^\d{4}-\d{2}-\d{2}$/.test(text);
  // A day means all of it.
  const full = isDate ? `${text}T23:59:59Z` : /(Z|[+-]\d{2}:?\d{2})$/.test(text) ? text : `${text}Z`;
  const seconds = Date.parse(full) / 1000;
  if (Number.isFinite(seconds)) return Math.floor(seconds);
  throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as a date`, {
    hint: 'dates look like 2026-11-22 or 2026-11-22T12:00:00Z',
  });
}

/** A size such as `512M` or `4G`, in bytes; a bare number is megabytes. Throws USAGE. */
export function parseSize(text: string): number {
  const parts = /^(\d+(?:\.\d+)?)([kKMGT]?)B?$/.exec(text);
  if (parts === null) {
    throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as a size`, {
      hint: 'sizes look like 64k, 512M or 4G; a plain number counts megabytes',
    });
  }
  const powers = { k: 1, K: 1, '': 2, M: 2, G: 3, T: 4 };
  return Math.round(Number(parts[1]) * 1024 ** powers[(parts[2] ?? '') as keyof typeof powers]);
}

/** A whole number between `least` and `most`. Throws USAGE. */
export function parseCount(text: string, what: string, least: number, most: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as ${what}`, {
    hint: `a whole number from ${least} to ${most}`,
  });
}
