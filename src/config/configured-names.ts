/** Which repositories the files of this machine have something to say of. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isFqrn } from '../core/fqrn.ts';
import { readCvmfsParameters } from './cvmfs-files.ts';
import { clientFoldersOf, cvmfsPlaceOf, machineNumber } from './places.ts';

/**
 * Repositories with files of their own in `config.d` or in our registry of names, and one that stands for each domain with a
 * file in `domain.d`, sorted.
 */
export function configuredRepositories(
  config: string | undefined,
  cvmfsConfig: string | undefined,
): string[] {
  const place = cvmfsPlaceOf(cvmfsConfig, process.env);
  const names = new Set<string>();
  if ('folder' in place) {
    for (const name of filesIn(join(place.folder, 'config.d'))) names.add(name);
    for (const domain of filesIn(join(place.folder, 'domain.d'))) names.add(`any.${domain}`);
  }
  const { variables } = readCvmfsParameters(undefined, place, { machineNumber: machineNumber() });
  const domain = variables.get('CVMFS_DEFAULT_DOMAIN')?.value;
  for (const name of variables.get('CVMFS_REPOSITORIES')?.value?.split(',') ?? []) {
    names.add(name.includes('.') || domain === undefined ? name.trim() : `${name.trim()}.${domain}`);
  }
  for (const folder of clientFoldersOf(config, process.env)) {
    for (const name of filesIn(join(folder, 'repositories'))) names.add(name);
  }
  return [...names].filter(isFqrn).sort();
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => name.replace(/\.(conf|local)$/, ''));
  } catch {
    // No folder means no files.
    return [];
  }
}
