/** Which public keys count for a repository. */

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';

const ED25519_FILE = /^(.+?)(\.next)?\.ed25519pub$/;

/**
 * A key file, or those of a folder: all `*.pub`, and the Ed25519 keys of this repository; those of others would demand signatures
 * that this one does not have. Throws NOT_FOUND for a folder without any.
 */
export function keyFilesAt(path: string, fqrn: Fqrn): string[] {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [path];
  const files = keyFilesIn(path, fqrn);
  if (files.length > 0) return files;
  throw new ThimbleError('NOT_FOUND', `Cannot find a key for ${fqrn}: there is no *.pub in ${path}`);
}

/** Keys that nobody named: all in `/etc/cvmfs/keys`, and in its folder for the domain of the repository. */
export function defaultKeyFiles(cvmfsFolder: string, fqrn: Fqrn): string[] {
  const domain = fqrn.slice(fqrn.indexOf('.') + 1);
  const folder = join(cvmfsFolder, 'keys');
  return [...keyFilesIn(folder, fqrn), ...keyFilesIn(join(folder, domain), fqrn)];
}

function keyFilesIn(folder: string, fqrn: Fqrn): string[] {
  return names(folder)
    .filter((name) => {
      const owner = ED25519_FILE.exec(name)?.[1];
      return owner === undefined ? name.endsWith('.pub') : owner === fqrn;
    })
    .sort()
    .map((name) => join(folder, name));
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // No folder means no keys.
    return [];
  }
}
