/** Mounts a snapshot of a repository: trust chain, root catalog, kernel, worker thread. */

import { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { Selection, Snapshot } from '../client/repository.ts';
import type { Log } from '../core/ports.ts';
import { type MountOptions, mountFuse } from './fuse-mount.ts';
import { FuseServer } from './fuse-server.ts';
import { variablesOf } from './fuse-worker.ts';
import { nodeHashing } from './hashing.ts';
import type { RepositoryAccess } from './repository-access.ts';

/** A pinned snapshot never changes: the kernel may keep what it learnt for ten years. */
const PINNED_SECONDS = 10 * 365 * 24 * 3600;

export interface SnapshotMountOptions extends MountOptions {
  readonly workerFile: string | URL;
  readonly cacheFolder: string | undefined;
  /** Symlink variables. */
  readonly variables: Readonly<Record<string, string>>;
  readonly withoutXattrs?: boolean;
  readonly log: Log;
}

export interface SnapshotMount {
  readonly snapshot: Snapshot;
  readonly mounted: MountedSnapshot;
  readonly server: FuseServer;
}

/**
 * Resolves and mounts. Everything that can go wrong with the repository goes wrong before the mount point is touched.
 * Throws as `Repository.resolve` and `mountFuse` do.
 */
export async function mountSnapshot(
  access: RepositoryAccess,
  selection: Selection,
  options: SnapshotMountOptions,
): Promise<SnapshotMount> {
  const snapshot = await access.repository.resolve(selection);
  const server = new FuseServer({
    workerFile: options.workerFile,
    cacheFolder: options.cacheFolder,
    validSeconds: PINNED_SECONDS,
    variables: options.variables,
    withoutXattrs: options.withoutXattrs ?? false,
    log: options.log,
  });
  const mounted = await MountedSnapshot.open(snapshot, access.objects, {
    hashing: nodeHashing,
    variable: variablesOf(options.variables),
    onCatalog: server.onCatalog,
  });
  server.start(mountFuse(options), mounted);
  return { snapshot, mounted, server };
}
