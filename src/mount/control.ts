/**
 * The control socket of one mount, with all that can be asked of it. Loaded when the mount is ready: start-up must not wait
 * for it, and a mount without it is still a mount.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { Updates } from '../client/updates.ts';
import { messageOf } from '../core/errors.ts';
import type { FuseServer } from '../node/fuse-server.ts';
import type { ProcessLog } from '../node/log.ts';
import { makeFolder } from '../node/make-folder.ts';
import { identityOf } from '../node/process-identity.ts';
import type { RepositoryAccess, RepositoryAddress } from '../node/repository-access.ts';
import { cacheRoutes } from './control-cache.ts';
import { mountRoutes } from './control-mount.ts';
import { networkRoutes } from './control-network.ts';
import type { ControlRoute } from './control-route.ts';
import { ControlServer } from './control-server.ts';
import { STATE_FILES, stateFolderOf } from './state-folder.ts';
import { SERVER_RECORD, type ServerRecord } from './status-mounts.ts';

/** A mount, as far as it can be watched and steered. */
export interface ControlledMount {
  readonly address: RepositoryAddress;
  readonly mountpoint: string;
  readonly access: RepositoryAccess;
  /** What is shown now: an update replaces it. */
  readonly mounted: () => MountedSnapshot;
  /** It never moves to another revision. */
  readonly isPinned: boolean;
  readonly kernel: FuseServer;
  readonly log: ProcessLog;
  readonly cacheFolder: string | undefined;
  readonly logFile: string | undefined;
  /** `undefined` for a mount that never moves. */
  readonly updates: Pick<Updates, 'checkNow' | 'status'> | undefined;
  /** Further parts, by the name under which the status shows them. */
  readonly parts: Readonly<Record<string, { status(): object }>>;
  /** What those parts can be asked. */
  readonly routes: readonly ControlRoute[];
}

/** Starts the control socket. A mount goes on without it: failures are logged, and answered with `undefined`. */
export async function startControl(mount: ControlledMount): Promise<ControlServer | undefined> {
  const folder = stateFolderOf(mount.mountpoint);
  try {
    makeFolder(folder, 0o700);
    writeFileSync(join(folder, SERVER_RECORD), `${JSON.stringify(serverRecordOf(mount))}\n`, { mode: 0o600 });
    const routes = [...mountRoutes(mount), ...cacheRoutes(mount), ...networkRoutes(mount), ...mount.routes];
    return await ControlServer.start(join(folder, STATE_FILES.control), routes, mount.log);
  } catch (error) {
    mount.log.warn('no control socket, "thimble status" cannot ask this mount', {
      folder,
      error: messageOf(error),
    });
    return undefined;
  }
}

function serverRecordOf({ address, mountpoint, cacheFolder, logFile }: ControlledMount): ServerRecord {
  const { pid } = process;
  const { fqrn, servers, proxies, keyFiles } = address;
  return {
    pid,
    identity: identityOf(pid),
    fqrn,
    mountpoint,
    cacheFolder,
    logFile,
    servers,
    proxies,
    keyFiles,
  };
}
