/**
 * Mounts a snapshot of a repository: trust chain, root catalog, kernel, worker thread. Or goes on with a mount whose process
 * has died, where a supervisor has kept its descriptor.
 */

import { attachCatalogs } from '../client/attach-catalogs.ts';
import { cacheIdOf } from '../client/cache.ts';
import { type CatalogName, MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { Selection, Snapshot } from '../client/repository.ts';
import type { RevisionChanges } from '../client/revision-changes.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import { INIT2_HAS_RESEND } from '../fuse/abi.ts';
import type { Ownership } from '../fuse/ownership.ts';
import type { MagicXattrs } from '../fuse/session.ts';
import type { PassthroughPart, PassthroughSettings } from '../node/backed-files.ts';
import type { CatalogOrder } from '../node/catalog-order.ts';
import { findMount, MOUNT_TYPE, type MountOptions, mountFuse } from '../node/fuse-mount.ts';
import { FuseServer } from '../node/fuse-server.ts';
import { variablesOf } from '../node/fuse-worker.ts';
import { nodeHashing } from '../node/hashing.ts';
import type { RepositoryAccess } from '../node/repository-access.ts';
import type { MountJournal } from './mount-journal.ts';

/** A pinned snapshot never changes: the kernel may keep what it learnt for ten years. */
const PINNED_SECONDS = 10 * 365 * 24 * 3600;

export interface SnapshotMountOptions extends MountOptions {
  readonly workerFile: string | URL;
  readonly cacheFolder: string | undefined;
  /** Symlink variables; `undefined` shows symlinks as they were published. */
  readonly variables: Readonly<Record<string, string>> | undefined;
  /** Keeps node ids, and so the file handles that an overlay remembers, the same over mounts of one snapshot. */
  readonly catalogOrder?: CatalogOrder;
  /** Where a process that takes over finds what it has to know. */
  readonly journal?: MountJournal | undefined;
  readonly withoutXattrs?: boolean;
  /** Attributes that no catalog has. */
  readonly magicXattrs?: MagicXattrs | undefined;
  /** Files that the catalog says so of are read past the page cache; every open becomes a request. */
  readonly directIo?: boolean;
  /** Large files that are in the cache are read by the kernel itself; every open becomes a request. */
  readonly passthrough?: PassthroughSettings | undefined;
  /** Whom files belong to, if not to whom they were published for. */
  readonly ownership?: Ownership | undefined;
  readonly log: Log;
}

export interface SnapshotMount {
  readonly mounted: MountedSnapshot;
  readonly server: FuseServer;
  readonly passthrough: PassthroughPart | undefined;
  /** Of a mount that was taken over: what the kernel may not have been told of before its process died. */
  readonly untold: RevisionChanges | undefined;
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
  options.journal?.add({ event: 'snapshot', snapshot });
  const { mounted, server, passthrough } = await openSnapshot(
    access,
    snapshot,
    options,
    () => options.journal,
  );
  await attachCatalogs(mounted, options.catalogOrder?.paths ?? []);
  server.start(mountJournaled(options), mounted);
  return { mounted, server, passthrough, untold: undefined };
}

/** What was attached is attached again, in the same order: node ids that the kernel knows stay what they are. */
export interface TakenOver extends SnapshotMountOptions {
  readonly fd: number;
  readonly journal: MountJournal;
  /** Requests that were lost are answered with an error even where the kernel could ask them again. */
  readonly failsLostRequests: boolean;
}

/** Goes on with a mount. Throws as `Objects.load` and `mountFuse` do. */
export async function takeOverSnapshot(access: RepositoryAccess, options: TakenOver): Promise<SnapshotMount> {
  const { journal, mountpoint } = options;
  const first = journal.events.find((one) => one.event === 'snapshot')?.snapshot;
  if (first === undefined)
    throw new ThimbleError('INTERNAL', `Cannot take over ${mountpoint}: its journal has no start`);
  // What is done again is in the journal already.
  let isReplayed = false;
  const { mounted, server, passthrough } = await openSnapshot(access, first, options, () =>
    isReplayed ? journal : undefined,
  );
  const untold = await replay(journal, mounted);
  isReplayed = true;
  // The last process may have died just before it mounted.
  if (journal.last('mounted') === undefined && findMount(mountpoint)?.type !== MOUNT_TYPE)
    mountJournaled(options);
  await serveWithLostRequests(mounted, server, options);
  return { mounted, server, passthrough, untold };
}

async function replay(journal: MountJournal, mounted: MountedSnapshot): Promise<RevisionChanges | undefined> {
  let changes: RevisionChanges | undefined;
  for (const event of journal.events) {
    if (event.event === 'catalog') await mounted.attach(event);
    else if (event.event === 'snapshot' && event.snapshot.rootCatalog !== mounted.snapshot.rootCatalog)
      changes = await mounted.moveTo(event.snapshot);
  }
  return changes;
}

async function openSnapshot(
  access: RepositoryAccess,
  snapshot: Snapshot,
  options: SnapshotMountOptions,
  journal: () => MountJournal | undefined,
): Promise<Omit<SnapshotMount, 'untold'>> {
  const passthrough = await passthroughOf(access, options);
  const server = new FuseServer({
    workerFile: options.workerFile,
    cacheReader: access.cacheReader,
    flushCache: () => access.objects.flush(),
    validSeconds: PINNED_SECONDS,
    negotiated: options.journal?.last('negotiated')?.negotiated,
    onNegotiated: (negotiated) => options.journal?.add({ event: 'negotiated', negotiated }),
    variables: options.variables,
    withoutXattrs: options.withoutXattrs ?? false,
    magicXattrs: options.magicXattrs,
    directIo: options.directIo ?? false,
    passthrough: passthrough?.files,
    ownership: options.ownership,
    log: options.log,
  });
  const onCatalog = ({ mountpoint, hash }: CatalogName, sizeBytes: number) => {
    // Without its catalogs a mount could not go on when it is offline.
    access.cache.hold?.({ id: cacheIdOf(hash, 'zlib'), sizeBytes });
    if (mountpoint !== '') options.catalogOrder?.add(mountpoint);
    journal()?.add({ event: 'catalog', mountpoint, hash });
  };
  const mounted = await MountedSnapshot.open(snapshot, access.objects, {
    hashing: nodeHashing,
    variable: options.variables && variablesOf(options.variables),
    onCatalog: (file) => {
      onCatalog(file, file.bytes.length);
      return server.onCatalog(file);
    },
    catalogAtHand: (name) => {
      const found = access.cache.has(cacheIdOf(name.hash, 'zlib')) ? server.catalogAtHand(name) : undefined;
      if (found === undefined) return undefined;
      return {
        reader: found.reader,
        use: () => {
          onCatalog(name, found.sizeBytes);
          found.use();
        },
      };
    },
    onMove: (next) => {
      journal()?.add({ event: 'snapshot', snapshot: next });
      server.onMove(next.rootCatalog);
    },
  });
  access.cache.isVolatile = isVolatile(mounted);
  return { mounted, server, passthrough };
}

async function passthroughOf(
  { cache }: RepositoryAccess,
  { passthrough, log }: SnapshotMountOptions,
): Promise<PassthroughPart | undefined> {
  if (passthrough === undefined) return undefined;
  const { openBackedFiles } = await import('../node/backed-files.ts');
  return openBackedFiles(passthrough, cache, log);
}

/** Its publisher says that its content is not worth keeping: of a shared cache, it goes first. */
function isVolatile({ vfs }: MountedSnapshot): boolean {
  return vfs.catalogs.slot(0)?.reader.properties.get('volatile' as ByteString) === '1';
}

function mountJournaled(options: SnapshotMountOptions): number {
  const { journal, mountpoint } = options;
  journal?.begin();
  try {
    const fd = mountFuse(options);
    journal?.add({ event: 'mounted', device: findMount(mountpoint)?.device });
    return fd;
  } catch (error) {
    journal?.abandon();
    throw error;
  }
}

/** Nobody waits for ever for what the dead process had read. */
async function serveWithLostRequests(
  mounted: MountedSnapshot,
  server: FuseServer,
  { fd, journal, mountpoint, failsLostRequests, log }: TakenOver,
): Promise<void> {
  const negotiated = journal.last('negotiated')?.negotiated;
  const canResend = negotiated === undefined || (negotiated.offered2 & INIT2_HAS_RESEND) !== 0;
  if (canResend && !failsLostRequests) {
    server.start(fd, mounted);
    await server.resend();
    return;
  }
  const { failOlderRequests, readFirstRequest } = await import('./lost-requests.ts');
  const first = await readFirstRequest(fd, mountpoint, (request) => server.accept(request));
  server.start(fd, mounted);
  if (first === undefined) return;
  server.accept(first);
  await failOlderRequests(fd, first, log);
}
