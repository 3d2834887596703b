/**
 * Magic extended attributes that are the same for every file: what a mount knows of itself, in the units and words of the
 * CernVM-FS client.
 */

import { readFileSync } from 'node:fs';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { NetworkSettings } from '../client/network/network-settings.ts';
import type { UpdatesStatus } from '../client/updates.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { FuseServer } from '../node/fuse-server.ts';
import { formatLine, type ProcessLog } from '../node/log.ts';
import type { RepositoryAccess, RepositoryAddress } from '../node/repository-access.ts';
import { counterLines, type MountValue } from './magic-xattrs.ts';
import { Metainfo } from './metainfo.ts';
import { processStatus, revisionOf, VERSION } from './status.ts';

/** A mount that may still be on its way. */
export interface ValuedMount {
  readonly address: RepositoryAddress;
  readonly access: RepositoryAccess;
  readonly isPinned: boolean;
  readonly log: ProcessLog;
  readonly mounted: () => MountedSnapshot | undefined;
  readonly server: () => FuseServer | undefined;
  readonly updates: () => UpdatesStatus | undefined;
  /** What it was told of the network. */
  readonly network: NetworkSettings | undefined;
}

const LOG_LINES = 50;

export function mountValuesOf(mount: ValuedMount): Record<string, MountValue> {
  return { ...identityValues(mount), ...networkValues(mount), ...processValues(mount) };
}

function identityValues({
  address,
  access,
  mounted,
  isPinned,
  updates,
}: ValuedMount): Record<string, MountValue> {
  const metainfo = new Metainfo(access.repository, access.objects);
  return {
    fqrn: () => address.fqrn,
    version: () => `${VERSION}.0`,
    revision: () => {
      const shown = mounted();
      return shown && revisionOf(shown);
    },
    root_hash: () => mounted()?.snapshot.rootCatalog,
    tag: () => mounted()?.snapshot.tag ?? '',
    expires: () => {
      const seconds = updates()?.nextCheckInSeconds;
      if (seconds !== undefined) return Math.ceil(seconds / 60);
      return isPinned ? 'never (fixed root catalog)' : undefined;
    },
    nclg: () => mounted()?.vfs.catalogs.count,
    repo_counters: () => {
      const root = mounted()?.vfs.catalogs.root;
      return root && counterLines(root.reader.counters());
    },
    repo_metainfo: () => metainfo.value(),
    // Who wants to read such a repository: it is told, and not asked for.
    authz: () => mounted()?.vfs.catalogs.root.reader.properties.get('voms_authz' as ByteString),
    pubkeys: () => address.keyFiles.map((path) => readFileSync(path, 'utf8')).join(''),
  };
}

function networkValues({
  access: { servers, external, cache },
  network,
}: ValuedMount): Record<string, MountValue> {
  const startedMs = performance.now();
  const kibibytes = () => Math.floor(servers.counters.bytes / 1024);
  return {
    host: () => servers.status().server,
    host_list: () => {
      const { servers: all } = servers.status();
      return inOrder(all.map(({ address, isCurrent }) => ({ name: address, isCurrent }))).join(';');
    },
    proxy: () => servers.status().proxy,
    proxy_list: () => inOrder(servers.status().proxies).join(';'),
    external_host: () => external?.status().server,
    proxy_list_external: () => external && inOrder(external.status().proxies).join(';'),
    timeout: () => seconds(network?.proxyTimeoutMs),
    timeout_direct: () => seconds(network?.directTimeoutMs),
    // External files have the time-outs of others.
    external_timeout: () => external && seconds(network?.directTimeoutMs),
    rx: kibibytes,
    speed: () => Math.floor((1000 * kibibytes()) / Math.max(1, performance.now() - startedMs)),
    ndownload: () => servers.counters.requests,
    ncleanup24: () => cache.cleanupsWithin?.(24 * 3600) ?? -1,
    hitrate: () => {
      const status = cache.status?.();
      if (status === undefined) return undefined;
      const { hits, misses } = status;
      return hits + misses === 0 ? 'n/a' : ((100 * hits) / (hits + misses)).toFixed(3);
    },
  };
}

function seconds(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : ms / 1000;
}

/** The one in use first. */
function inOrder(places: readonly { readonly name: string; readonly isCurrent: boolean }[]): string[] {
  return [...places].sort((a, b) => Number(b.isCurrent) - Number(a.isCurrent)).map(({ name }) => name);
}

function processValues({ log, server }: ValuedMount): Record<string, MountValue> {
  return {
    pid: () => process.pid,
    uptime: () => Math.floor(process.uptime() / 60),
    maxfd: () => processStatus().descriptorLimit,
    usedfd: () => processStatus().descriptors,
    nopen: () => server()?.status().operations['OPEN'] ?? 0,
    ndiropen: () => server()?.status().operations['OPENDIR'] ?? 0,
    nioerr: () => log.counters.error,
    timestamp_last_ioerr: () => log.troubles.findLast(({ level }) => level === 'error')?.seconds ?? 0,
    logbuffer: () =>
      log
        .last(LOG_LINES)
        .map((entry) => formatLine('text', entry))
        .reverse()
        .join(''),
  };
}
