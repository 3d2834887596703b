/**
 * The control socket of one mount, with all that can be asked of it. Loaded when the mount is ready: start-up must not wait
 * for it, and a mount without it is still a mount.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { NetworkSettings } from '../client/network/network-settings.ts';
import type { Updates } from '../client/updates.ts';
import type { EffectiveSetting } from '../config/client-settings.ts';
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
import { TalkServer } from './talk-server.ts';

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
  readonly updates: Pick<Updates, 'checkNow' | 'status' | 'limitTtl'> | undefined;
  /** What it was told of the network. */
  readonly network: NetworkSettings | undefined;
  /** All that it was told, as text. */
  readonly settings: readonly EffectiveSetting[];
  /** Where scripts for the CernVM-FS client look for its socket, if they do. */
  readonly talkSocket: string | undefined;
  /** Further parts, by the name under which the status shows them. */
  readonly parts: Readonly<Record<string, { status(): object }>>;
  /** What those parts can be asked. */
  readonly routes: readonly ControlRoute[];
}

/** The sockets of a mount. */
export interface Control {
  close(): void;
}

/** Starts the control sockets. A mount goes on without them: failures are logged, and answered with `undefined`. */
export async function startControl(mount: ControlledMount): Promise<Control | undefined> {
  const folder = stateFolderOf(mount.mountpoint);
  try {
    makeFolder(folder, 0o700);
    writeFileSync(join(folder, SERVER_RECORD), `${JSON.stringify(serverRecordOf(mount))}\n`, { mode: 0o600 });
    const routes = [...mountRoutes(mount), ...cacheRoutes(mount), ...networkRoutes(mount), ...mount.routes];
    const server = await ControlServer.start(join(folder, STATE_FILES.control), routes, mount.log);
    const places = [
      join(folder, STATE_FILES.talk),
      ...(mount.talkSocket === undefined ? [] : [mount.talkSocket]),
    ];
    const answer = async (command: string) => {
      const { talkAnswerer } = await import('./talk-commands.ts');
      return talkAnswerer(mount, routes)(command);
    };
    const talk = await TalkServer.start(places, answer, mount.log);
    return {
      close: () => {
        server.close();
        talk.close();
      },
    };
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
