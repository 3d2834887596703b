/** What a mount knows about itself, as `GET /status` sends it (docs/manual/status.md). */

import { readdirSync, readFileSync } from 'node:fs';
import type { CacheStatus } from '../client/cache.ts';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { ServersStatus } from '../client/network/servers-status.ts';
import type { Snapshot } from '../client/repository.ts';
import type { SnapshotVfs } from '../client/snapshot-vfs.ts';
import type { UpdatesStatus } from '../client/updates.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { FuseStatus } from '../node/fuse-server.ts';
import type { LogEntry, ProcessLog } from '../node/log.ts';
import type { ControlledMount } from './control.ts';

/** What a part wants told. */
export type PartStatus = Readonly<Record<string, unknown>>;

export interface MountStatus {
  readonly fqrn: string;
  readonly mountpoint: string;
  readonly version: string;
  readonly snapshot: Snapshot & {
    /** It never moves to another revision. */
    readonly isPinned: boolean;
    /** When it was published, where that is known. */
    readonly publishedSeconds: number | undefined;
  };
  /** The whitelist that the snapshot was trusted by; a pinned root hash needs none. */
  readonly whitelistExpiresSeconds: number | undefined;
  /** Attached catalogs. */
  readonly catalogs: number;
  readonly process: ProcessStatus;
  readonly log: LogStatus;
  /** It was told to ask no servers. */
  readonly isOffline: boolean;
  readonly network: ServersStatus;
  /** Nothing for a cache that tells nothing. */
  readonly cache: CacheStatus | undefined;
  readonly kernel: FuseStatus;
  /** `undefined` for a mount that never moves. */
  readonly updates: UpdatesStatus | undefined;
  /** Recorder, profile, ...: what else this mount has. */
  readonly parts: Readonly<Record<string, PartStatus>>;
}

export interface ProcessStatus {
  readonly pid: number;
  readonly uptimeSeconds: number;
  readonly residentBytes: number;
  readonly heapBytes: number;
  readonly cpuSeconds: number;
  readonly descriptors: number;
  readonly descriptorLimit: number;
}

export interface LogStatus {
  readonly level: string;
  readonly warnings: number;
  readonly errors: number;
  /** The last warnings and errors. */
  readonly last: readonly LogEntry[];
}

const SHOWN_TROUBLES = 10;

export function statusOf(mount: ControlledMount): MountStatus {
  const { address, mountpoint, access, log } = mount;
  const { vfs, snapshot } = mount.mounted();
  return {
    fqrn: address.fqrn,
    mountpoint,
    version: VERSION,
    snapshot: { ...snapshot, isPinned: mount.isPinned, publishedSeconds: publishedSecondsOf(vfs) },
    whitelistExpiresSeconds: access.repository.whitelist?.expiresSeconds,
    catalogs: vfs.catalogs.count,
    process: processStatus(),
    log: logStatus(log),
    isOffline: access.servers.isOffline,
    network: access.servers.status(),
    cache: access.cache.status?.(),
    kernel: mount.kernel.status(),
    updates: mount.updates?.status(),
    parts: Object.fromEntries(
      Object.entries(mount.parts).map(([name, part]) => [name, part.status() as PartStatus]),
    ),
  };
}

/** Of a root hash that was given, its catalog knows it. */
export function revisionOf({ snapshot, vfs }: MountedSnapshot): number | undefined {
  const text = vfs.catalogs.root.reader.properties.get('revision' as ByteString);
  return snapshot.revision ?? (text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined);
}

/** When the root catalog was written. */
function publishedSecondsOf({ catalogs }: SnapshotVfs): number | undefined {
  const text = catalogs.root.reader.properties.get('last_modified' as ByteString);
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

export function processStatus(): ProcessStatus {
  const { rss, heapUsed } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return {
    pid: process.pid,
    uptimeSeconds: Math.round(process.uptime()),
    residentBytes: rss,
    heapBytes: heapUsed,
    cpuSeconds: (user + system) / 1e6,
    descriptors: readdirSync('/proc/self/fd').length,
    descriptorLimit: descriptorLimitOf('self'),
  };
}

/** The soft limit of open files of a process. */
export function descriptorLimitOf(pid: number | 'self'): number {
  const limits = readFileSync(`/proc/${pid}/limits`, 'latin1');
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
}

function logStatus({ level, counters, troubles }: ProcessLog): LogStatus {
  return { level, warnings: counters.warn, errors: counters.error, last: troubles.slice(-SHOWN_TROUBLES) };
}

export const { version: VERSION } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string };
