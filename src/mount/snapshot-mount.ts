/** Mounts a snapshot of a repository: trust chain, root catalog, kernel, worker thread. */

import { attachCatalogs } from '../client/attach-catalogs.ts';
import { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { Selection, Snapshot } from '../client/repository.ts';
import type { Log } from '../core/ports.ts';
import type { CatalogOrder } from '../node/catalog-order.ts';
import { type MountOptions, mountFuse } from '../node/fuse-mount.ts';
import { FuseServer } from '../node/fuse-server.ts';
import { variablesOf } from '../node/fuse-worker.ts';
import { nodeHashing } from '../node/hashing.ts';
import type { RepositoryAccess } from '../node/repository-access.ts';

/** A pinned snapshot never changes: the kernel may keep what it learnt for ten years. */
const PINNED_SECONDS = 10 * 365 * 24 * 3600;

export interface SnapshotMountOptions extends MountOptions {
  readonly workerFile: string | URL;
  readonly cacheFolder: string | undefined;
  /** Symlink variables; `undefined` shows symlinks as they were published. */
  readonly variables: Readonly<Record<string, string>> | undefined;
  /** Keeps node ids, and so the file handles that an overlay remembers, the same over mounts of one snapshot. */
  readonly catalogOrder?: CatalogOrder;
  readonly withoutXattrs?: boolean;
  /** Files that the catalog says so of are read past the page cache; every open becomes a request. */
  readonly directIo?: boolean;
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
    directIo: options.directIo ?? false,
    log: options.log,
  });
  const mounted = await MountedSnapshot.open(snapshot, access.objects, {
    hashing: nodeHashing,
    variable: options.variables && variablesOf(options.variables),
    onCatalog: (file) => {
      if (file.node !== undefined) options.catalogOrder?.add(mounted.vfs.pathOf(file.node));
      return server.onCatalog(file);
    },
  });
  await attachCatalogs(mounted, options.catalogOrder?.paths ?? []);
  server.start(mountFuse(options), mounted);
  return { snapshot, mounted, server };
}
