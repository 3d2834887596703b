/** How commands read a repository that nobody mounts: everything in memory, and only as long as they need it. */

import { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { Snapshot } from '../client/repository.ts';
import { silentLog } from '../core/ports.ts';
import { variablesOf } from '../node/fuse-worker.ts';
import { nodeHashing } from '../node/hashing.ts';
import { openRepository, type RepositoryAccess } from '../node/repository-access.ts';
import { resolveAddress } from './client-settings.ts';
import type { AddressOptions } from './settings.ts';
import type { GlobalOptions } from './terminal.ts';

/** Catalogs, and one file at a time. */
const MEMORY_BYTES = 64 * 1024 * 1024;

/** Opens the repository that `source` names as long as `action` runs. Throws USAGE, NOT_FOUND, STORAGE, FORMAT. */
export async function withRepository<T>(
  source: string,
  options: AddressOptions & GlobalOptions,
  action: (access: RepositoryAccess) => Promise<T>,
): Promise<T> {
  const address = resolveAddress(source, options, options);
  const access = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: MEMORY_BYTES,
    log: silentLog,
  });
  try {
    return await action(access);
  } finally {
    access.close();
  }
}

/** A snapshot with its root catalog; `variables` are those that symlinks show. */
export function openSnapshot(
  { objects }: RepositoryAccess,
  snapshot: Snapshot,
  variables: Readonly<Record<string, string>>,
): Promise<MountedSnapshot> {
  return MountedSnapshot.open(snapshot, objects, {
    hashing: nodeHashing,
    variable: variablesOf(variables),
  });
}
