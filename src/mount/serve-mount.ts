/**
 * The process that serves one mount, from its settings to the last request. Read `serveMount` from top to bottom: access to the
 * repository, the mounted snapshot on its FUSE descriptor, then what can wait until the mount is ready.
 */

import { rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Selection } from '../client/repository.ts';
import { NO_MEMORY, type RevisionLimits } from '../client/revision-memory.ts';
import { Updates } from '../client/updates.ts';
import type { EffectiveSetting, UpdateSettings } from '../config/client-settings.ts';
import { messageOf, ThimbleError } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import type { MagicXattrs } from '../fuse/session.ts';
import { nodeClock, nodeRandom } from '../node/clock.ts';
import { findMount, unmountFuse } from '../node/fuse-mount.ts';
import { preferSmallHeap } from '../node/heap.ts';
import type { ProcessLog } from '../node/log.ts';
import {
  type AccessOptions,
  openRepository,
  type RepositoryAccess,
  type RepositoryAddress,
} from '../node/repository-access.ts';
import { RevisionFile, revisionFolder } from '../node/revision-file.ts';
import type { CompletionPart } from './completion-part.ts';
import type { Control } from './control.ts';
import { MountXattrs } from './magic-xattrs.ts';
import { MountJournal } from './mount-journal.ts';
import { mountValuesOf } from './mount-values.ts';
import type { ProfileFeed } from './profile-feed.ts';
import {
  mountSnapshot,
  type SnapshotMount,
  type SnapshotMountOptions,
  takeOverSnapshot,
} from './snapshot-mount.ts';
import { type ServerPlace, STATE_FILES, stateFolderOf } from './state-folder.ts';

export interface MountSettings {
  readonly address: RepositoryAddress;
  readonly selection: Selection;
  readonly updates: UpdateSettings;
  /** The profile to stream ahead. */
  readonly profile: string | undefined;
  readonly access: Omit<AccessOptions, 'log'>;
  readonly mount: Omit<
    SnapshotMountOptions,
    'log' | 'journal' | 'fd' | 'cacheFolder' | 'magicXattrs' | 'passthrough'
  >;
  /** Files from this size are read by the kernel itself, once they are in the cache; 0: none. */
  readonly passthroughBytes: number;
  /** Where LISTXATTR tells of attributes that no catalog has. */
  readonly xattrsListed: MagicXattrs['listed'];
  readonly log: ProcessLog;
  /** Where that log goes, if it is a file. */
  readonly logFile: string | undefined;
  /** All of it as text, for who asks. */
  readonly effective: readonly EffectiveSetting[];
  /** Where scripts for the CernVM-FS client look for its socket, if they do. */
  readonly talkSocket: string | undefined;
}

/**
 * Mounts, or goes on with what is mounted, and serves until somebody unmounts. `onReady` is called when the mount is there for all
 * to see. Throws as `openRepository`, `mountSnapshot` and `takeOverSnapshot` do.
 */
export async function serveMount(
  settings: MountSettings,
  place: ServerPlace,
  onReady: (mount: SnapshotMount, isTakenOver: boolean) => void,
): Promise<void> {
  const { log } = settings;
  const { mountpoint } = settings.mount;
  const journal = MountJournal.open(place.stateFolder);
  const isTakenOver = journal.isBegun;
  const access = openRepository(settings.address, { ...settings.access, limits: limitsOf(settings), log });
  // Nothing may keep a file system busy, or hang together with one.
  process.chdir(place.stateFolder);
  if (!place.isSupervised) writeFileSync(STATE_FILES.pid, `${process.pid}\n`);
  endAtCrash(log);

  const profile = await startProfile(settings, access);
  let updates: RunningUpdates | undefined;
  const mount = await openMount(settings, place, journal, access, () => updates).catch((error: unknown) => {
    // Connections that stay open would keep this process.
    profile?.cancel();
    access.close();
    throw error;
  });
  handleSignals(mountpoint, place, access, log);
  writeFileSync(STATE_FILES.served, `${process.pid}\n`);
  onReady(mount, isTakenOver);
  log.info(isTakenOver ? 'mount taken over' : 'mounted', { mountpoint, ...mount.mounted.snapshot });

  await startFiller(settings, place, access, mount);
  updates = await startUpdates(settings, access, mount);
  const completion = await completionOf(settings, access, mount);
  // Whoever was unmounted while in use serves its last users, and its name belongs to another mount by now.
  const control = isReplaced(place, mountpoint)
    ? undefined
    : await startControlOf(settings, access, mount, { profile, completion }, updates);
  preferSmallHeap();
  await mount.server.closed;
  await access.objects.filler?.close();
  completion.stop();
  updates?.stop();
  profile?.cancel();
  control?.close();
  access.close();
  log.info('unmounted', { mountpoint, ...mount.server.statistics() });
  log.flush();
  if (!place.isSupervised) rmSync(place.stateFolder, { recursive: true, force: true });
}

function isReplaced({ stateFolder }: ServerPlace, mountpoint: string): boolean {
  return basename(stateFolder) !== basename(stateFolderOf(mountpoint));
}

/** What a mount does beside answering. */
interface BackgroundParts {
  readonly profile: ProfileFeed | undefined;
  readonly completion: CompletionPart;
}

async function completionOf(
  { mount: { mountpoint }, log }: MountSettings,
  access: RepositoryAccess,
  { mounted }: SnapshotMount,
): Promise<CompletionPart> {
  const { CompletionPart } = await import('./completion-part.ts');
  return new CompletionPart({ mountpoint, access, mounted: () => mounted, log });
}

/**
 * Not needed before somebody reads files in order. A thread that hands content to the kernel may be held there as long as a reader
 * waits; should this process be killed just then, only a next one can answer that reader.
 */
async function startFiller(
  { mount: { workerFile }, log }: MountSettings,
  { isSupervised }: ServerPlace,
  { objects, cache, cacheWriter }: RepositoryAccess,
  { server: { fd } }: SnapshotMount,
): Promise<void> {
  if (cacheWriter === undefined) return;
  const { CacheFiller } = await import('../node/cache-filler.ts');
  const isVolatile = () => cache.isVolatile === true;
  const handsOver = isSupervised;
  objects.filler = new CacheFiller({ workerFile, fd, cache: cacheWriter, isVolatile, handsOver, log });
}

/** Not before the mount is ready: nobody waits for what only watches it. */
async function startControlOf(
  settings: MountSettings,
  access: RepositoryAccess,
  { mounted, server, passthrough }: SnapshotMount,
  { profile, completion }: BackgroundParts,
  updates: RunningUpdates | undefined,
): Promise<Control | undefined> {
  const { address, log, logFile, talkSocket } = settings;
  const { ProfileRecorder } = await import('./profile-recorder.ts');
  const { objects } = access;
  const recorder = new ProfileRecorder({ fqrn: address.fqrn, objects, mounted: () => mounted, server });
  const { startControl } = await import('./control.ts');
  return startControl({
    address,
    mountpoint: settings.mount.mountpoint,
    access,
    mounted: () => mounted,
    isPinned: isPinned(settings.selection),
    kernel: server,
    log,
    cacheFolder: settings.access.cacheFolder,
    logFile,
    updates,
    network: settings.access.networkSettings,
    settings: settings.effective,
    talkSocket,
    parts: {
      recorder,
      complete: completion,
      readAhead: mounted.readAhead,
      ...(profile === undefined ? {} : { profile }),
      ...(passthrough === undefined ? {} : { passthrough }),
    },
    routes: [...recorder.routes, ...completion.routes],
  });
}

/** What keeps the mount from showing an older revision than this machine has seen. */
function limitsOf({ address, updates, log }: MountSettings): RevisionLimits {
  const { allowOlder, minimumRevision } = updates;
  const memory = allowOlder
    ? NO_MEMORY
    : RevisionFile.of(revisionFolder(), address.fqrn, address.keyFiles, log);
  return { memory, minimumRevision };
}

type RunningUpdates = Pick<Updates, 'checkNow' | 'status' | 'limitTtl' | 'stop'>;

/** Of a mount that follows its repository. What a dead process may not have told the kernel is told first. */
async function startUpdates(
  { updates: settings, selection, log }: MountSettings,
  { repository, servers }: RepositoryAccess,
  { mounted, server, untold }: SnapshotMount,
): Promise<RunningUpdates | undefined> {
  if (isPinned(selection) || !settings.follow) return undefined;
  const { tellKernel } = await import('./tell-kernel.ts');
  const { Push } = await import('./push.ts');
  if (untold !== undefined) await tellKernel(server, mounted, untold);
  const push = settings.push ? new Push(servers) : undefined;
  const updates = new Updates(
    mounted,
    repository,
    (changes) => tellKernel(server, mounted, changes),
    { clock: nodeClock, random: nodeRandom, log },
    {
      ...(settings.maxTtlSeconds > 0 ? { maxTtlSeconds: settings.maxTtlSeconds } : {}),
      waitForNews: push?.waitForNews,
    },
  );
  updates.start();
  return {
    checkNow: () => updates.checkNow(),
    status: () => updates.status(),
    limitTtl: (seconds) => updates.limitTtl(seconds),
    stop: () => {
      updates.stop();
      push?.close();
    },
  };
}

/** While the mount is made: what it streams is wanted by the first reads. */
async function startProfile(
  { profile, address, access: network, mount: { workerFile }, log }: MountSettings,
  access: RepositoryAccess,
): Promise<ProfileFeed | undefined> {
  if (profile === undefined) return undefined;
  const { ProfileFeed } = await import('./profile-feed.ts');
  const limitBytes = network.cacheLimitBytes / 2;
  return new ProfileFeed({ name: profile, workerFile, access, address, network, limitBytes, log });
}

async function openMount(
  settings: MountSettings,
  { fd, failsLostRequests, stateFolder }: ServerPlace,
  journal: MountJournal,
  access: RepositoryAccess,
  updates: () => RunningUpdates | undefined,
): Promise<SnapshotMount> {
  const { cacheFolder } = settings.access;
  const minimumBytes = settings.passthroughBytes;
  const openFilesPath = join(stateFolder, STATE_FILES.openFiles);
  const passthrough = minimumBytes > 0 ? { minimumBytes, openFilesPath } : undefined;
  let mount: SnapshotMount | undefined;
  const magicXattrs = magicXattrsOf(settings, access, () => mount, updates);
  const { log } = settings;
  const options = { ...settings.mount, cacheFolder, magicXattrs, passthrough, log, journal, fd };
  if (!journal.isBegun) mount = await mountSnapshot(access, settings.selection, options);
  else if (fd === undefined)
    throw new ThimbleError('INTERNAL', 'Cannot take over a mount without its descriptor');
  else mount = await takeOverSnapshot(access, { ...options, fd, journal, failsLostRequests });
  return mount;
}

function magicXattrsOf(
  { address, selection, xattrsListed, log, access: { networkSettings } }: MountSettings,
  access: RepositoryAccess,
  mount: () => SnapshotMount | undefined,
  updates: () => RunningUpdates | undefined,
): MagicXattrs {
  const mountValues = mountValuesOf({
    address,
    access,
    log,
    isPinned: isPinned(selection),
    mounted: () => mount()?.mounted,
    server: () => mount()?.server,
    updates: () => updates()?.status(),
    network: networkSettings,
  });
  const [externalServer] = address.externalServers ?? [];
  return new MountXattrs({
    vfs: () => mount()?.mounted.vfs,
    listed: xattrsListed,
    mountValues,
    externalServer,
    contentState: (id) => {
      access.objects.flush();
      return access.cache.stateOf?.(id) ?? 'absent';
    },
  });
}

function isPinned({ tag, dateSeconds, rootHash }: Selection): boolean {
  return tag !== undefined || dateSeconds !== undefined || rootHash !== undefined;
}

/**
 * The thread that answers the kernel sits in read(2), and no exit would wait for less than the unmount: only SIGKILL ends it at once.
 * With a supervisor the next process goes on.
 */
function endAtCrash(log: Log): void {
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      log.error('the server failed', { error: error instanceof Error ? error.stack : String(error) });
      process.kill(process.pid, 'SIGKILL');
    });
  }
}

/** The mount outlives the terminal. Who wants it to end tells the supervisor, which unmounts; without one it is done here. */
function handleSignals(mountpoint: string, place: ServerPlace, access: RepositoryAccess, log: Log): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (place.isSupervised) log.info('signal left to the supervisor', { signal });
      else unmountForSignal(mountpoint, log);
    });
  }
  process.on('SIGHUP', () => {
    if (!place.isSupervised) return;
    log.info('making room for the next server', { mountpoint });
    const end = () => {
      access.close();
      process.kill(process.pid, 'SIGKILL');
    };
    void (access.objects.filler?.close() ?? Promise.resolve()).finally(end);
  });
}

function unmountForSignal(mountpoint: string, log: Log): void {
  try {
    if (findMount(mountpoint) !== undefined) unmountFuse(mountpoint);
  } catch (error) {
    log.error('cannot unmount', { mountpoint, error: messageOf(error) });
  }
}
