/** Where this machine keeps Thimble's settings, and how a command line names a repository. */

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { configurationFolderOf } from '../config/places.ts';
import { ThimbleError } from '../core/errors.ts';
import { type Fqrn, isFqrn, parseFqrn } from '../core/fqrn.ts';
import { publicKeyFiles } from '../publish/key-paths.ts';
import { RepositoryRegistry } from '../publish/repository-settings.ts';
import { readingAddress, storageLocation } from '../storage/storage-location.ts';
import type { GlobalOptions } from './terminal.ts';

/** `--config`, `THIMBLE_CONFIG`, `/etc/thimble` for root, else the user's configuration folder. */
export function configurationFolder(options: GlobalOptions): string {
  return configurationFolderOf(options.config, process.env);
}

export function registry(options: GlobalOptions): RepositoryRegistry {
  return new RepositoryRegistry(configurationFolder(options));
}

export interface AddressOptions {
  readonly key?: readonly string[];
  readonly server?: readonly string[];
  readonly proxy?: readonly string[];
  readonly externalServer?: readonly string[];
  readonly blacklist?: readonly string[];
}

export interface SourceAddress {
  readonly fqrn: Fqrn;
  /** An address, or the path of a folder. */
  readonly address: string;
}

/** What `source` is, if it is an address or a storage folder; `undefined` if it is a name. Throws USAGE. */
export function sourceAddress(source: string): SourceAddress | undefined {
  const isAddress = /^(https?|file):\/\//.test(source);
  const isFolder = !isAddress && (source.includes('/') || (isFqrn(source) && existsSync(source)));
  if (!isAddress && !isFolder) return undefined;
  const name = source.replace(/\/+$/, '').split('/').at(-1) ?? '';
  if (!isFqrn(name)) throw unclearSource(source);
  return { fqrn: parseFqrn(name), address: isAddress ? source : resolve(source) };
}

export function unclearSource(source: string): ThimbleError {
  return new ThimbleError('USAGE', `Cannot tell which repository ${JSON.stringify(source)} is`, {
    hint: 'an address or folder ends with the name of the repository, such as http://host/cvmfs/os.example.org',
  });
}

/**
 * Of a repository that was created here: what it is read from, and its keys. Where another address was given, its settings are
 * not looked at: reading them takes longer than all else that a mount does at its start.
 */
export function knownRepository(
  fqrn: Fqrn,
  options: GlobalOptions,
  given: string | undefined,
): { readonly address: string; readonly keyFiles: readonly string[] } | undefined {
  const known = registry(options);
  if (!known.has(fqrn)) return undefined;
  return {
    address: given ?? readingAddress(storageLocation(known.load(fqrn).storage)),
    keyFiles: publicKeyFiles(known.folderOf(fqrn), fqrn),
  };
}

/** A whole number between `least` and `most`. Throws USAGE. */
export function parseCount(text: string, what: string, least: number, most: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as ${what}`, {
    hint: `a whole number from ${least} to ${most}`,
  });
}
