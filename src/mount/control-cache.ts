/** What can be asked of the cache: to keep files, to drop them, and to serve only what is there. */

import { type CacheId, cacheIdOf, type SteeredCache } from '../client/cache.ts';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import { SnapshotReader } from '../client/snapshot-reader.ts';
import { type WalkedEntry, walkSnapshot } from '../client/walk.ts';
import { utf8 } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { type ObjectNeed, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { wholeIdOf } from '../node/whole-files.ts';
import type { ControlledMount } from './control.ts';
import { type ControlRequest, type ControlRoute, countIn, stringsIn } from './control-route.ts';

export interface CacheChange {
  readonly files: number;
  /** Objects that were dropped, or are kept from now on. */
  readonly objects: number;
  readonly bytes: number;
}

/** Objects that are fetched side by side. */
const PARALLEL = 16;

export function cacheRoutes(mount: ControlledMount): ControlRoute[] {
  const { access, log } = mount;
  const { servers } = access;
  const setOffline = (isOffline: boolean) => {
    if (servers.isOffline !== isOffline)
      log.warn(isOffline ? 'told to ask no servers' : 'told to ask servers again');
    servers.isOffline = isOffline;
    return { isOffline };
  };
  return [
    { method: 'POST', path: '/evict', handle: (request) => evict(mount, request) },
    { method: 'POST', path: '/pin', handle: (request) => pin(mount, request) },
    { method: 'DELETE', path: '/pin', handle: (request) => unpin(mount, request) },
    { method: 'GET', path: '/cache', handle: async () => ({ ids: await steered(mount).ids('all') }) },
    {
      method: 'GET',
      path: '/cache/pinned',
      handle: async () => ({ ids: await steered(mount).ids('pinned') }),
    },
    { method: 'POST', path: '/cache/shrink', handle: (request) => shrink(mount, request) },
    { method: 'POST', path: '/read-only', handle: () => setOffline(true) },
    { method: 'DELETE', path: '/read-only', handle: () => setOffline(false) },
  ];
}

async function evict(mount: ControlledMount, request: ControlRequest): Promise<CacheChange> {
  const { files, objects, wholeFiles } = await contentOf(mount, request);
  mount.access.objects.flush();
  const here = [...objects].filter(([id]) => mount.access.cache.has(id));
  const count = steered(mount).evict(here.map(([id]) => id));
  steered(mount).evict(wholeFiles);
  return { files, objects: count, bytes: sum(here) };
}

async function pin(mount: ControlledMount, request: ControlRequest): Promise<CacheChange> {
  const { files, objects } = await contentOf(mount, request);
  const missing = [...objects].filter(([id]) => !mount.access.cache.has(id)).map(([, need]) => need);
  const queue = missing.values();
  const fetchSome = async () => {
    for (const need of queue) await mount.mounted().fulfil(need);
  };
  await Promise.all(Array.from({ length: PARALLEL }, fetchSome));
  mount.access.objects.flush();
  steered(mount).pin([...objects].map(([id, { sizeBytes }]) => ({ id, sizeBytes })));
  return { files, objects: objects.size, bytes: sum(objects) };
}

async function unpin(mount: ControlledMount, request: ControlRequest): Promise<CacheChange> {
  const { files, objects } = await contentOf(mount, request);
  steered(mount).unpin(objects.keys());
  return { files, objects: objects.size, bytes: sum(objects) };
}

/** To so many bytes; not done where the rest is pinned. */
async function shrink(mount: ControlledMount, request: ControlRequest): Promise<{ isDone: boolean }> {
  mount.access.objects.flush();
  return { isDone: await steered(mount).shrink(countIn(request, 'bytes', 0, Number.MAX_SAFE_INTEGER)) };
}

/** Throws UNSUPPORTED for a cache that keeps and drops as it likes. */
function steered({ access: { cache } }: ControlledMount): SteeredCache {
  if (cache.pin !== undefined) return cache as SteeredCache;
  throw new ThimbleError('UNSUPPORTED', 'Cannot change what the cache of this mount keeps');
}

function sum(objects: Iterable<readonly [CacheId, ObjectNeed]>): number {
  let bytes = 0;
  for (const [, { sizeBytes }] of objects) bytes += sizeBytes;
  return bytes;
}

interface Content {
  readonly files: number;
  readonly objects: ReadonlyMap<CacheId, ObjectNeed>;
  /** What those in pieces are called when they have been put together. */
  readonly wholeFiles: ReadonlySet<CacheId>;
}

/** The objects of files, and of all files below folders. Throws NOT_FOUND for a path that is not there, USAGE. */
async function contentOf(
  { mounted, mountpoint }: ControlledMount,
  request: ControlRequest,
): Promise<Content> {
  const snapshot = mounted();
  const objects = new Map<CacheId, ObjectNeed>();
  const wholeFiles = new Set<CacheId>();
  let files = 0;
  for (const path of stringsIn(request, 'paths')) {
    const within =
      path.startsWith(`${mountpoint}/`) || path === mountpoint ? path.slice(mountpoint.length) : path;
    const entry = await new SnapshotReader(snapshot).find(utf8(within));
    if (entry === undefined) throw new ThimbleError('NOT_FOUND', `Cannot find ${path} in ${mountpoint}`);
    for await (const { node } of regularFiles(snapshot, entry)) {
      files++;
      const chunks = snapshot.vfs.chunksOf(node);
      for (const { need } of chunks) objects.set(cacheIdOf(need.hash, need.compression), need);
      if (chunks.length > 1) wholeFiles.add(wholeIdOf(chunks));
    }
  }
  return { files, objects, wholeFiles };
}

async function* regularFiles(snapshot: MountedSnapshot, from: WalkedEntry): AsyncGenerator<WalkedEntry> {
  for await (const entry of walkSnapshot(snapshot, from)) {
    if ((entry.attributes.mode & S_IFMT) === S_IFREG) yield entry;
  }
}
