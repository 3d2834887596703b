import { rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { ClientSettings } from '../../config/client-settings.ts';
import { messageOf, ThimbleError } from '../../core/errors.ts';
import { openMountLog } from '../../mount/mount-log.ts';
import { readOwnership } from '../../mount/ownership.ts';
import type { MountSettings } from '../../mount/serve-mount.ts';
import { claimStateFolder, ownerOf, type ServerPlace, serverPlace } from '../../mount/state-folder.ts';
import { ROOT_STORAGE_NAME, supervisorCommand, writeServerCommand } from '../../mount/supervisor.ts';
import { findMount, MOUNT_TYPE, unmountFuse } from '../../node/fuse-mount.ts';
import type { ProcessLog } from '../../node/log.ts';
import { isAwaited, nodeCommand, startBackground, tellFailed, tellStarted } from '../background.ts';
import { addClientOptions, addressOf, type ClientOptions, clientSettings } from '../client-settings.ts';
import { printResult } from '../terminal.ts';

interface MountCommandOptions extends ClientOptions {
  readonly foreground?: boolean;
  readonly supervisor: boolean;
  readonly rootStorage?: boolean;
}

/** Tells the process that serves where its log goes; without it, to standard error. */
const LOG_FILE_VARIABLE = 'THIMBLE_LOG_FILE';

/** A supervisor whose server has failed is gone sooner. */
const RELEASE_MS = 2_000;

const XATTRS_LISTED = { rootonly: 'root', always: 'everywhere', never: 'nowhere' } as const;

interface MountResult {
  readonly fqrn: string;
  readonly folder: string;
  readonly rootCatalog: string;
  readonly revision: number | undefined;
  readonly tag: string | undefined;
  /** The process that ends with the mount: its supervisor, if it has one. */
  readonly pid: number;
  readonly serverPid: number;
}

export function configure(command: Command): void {
  addClientOptions(
    command
      .argument(
        '<source>',
        'name of a repository that is configured or was created here, address, or storage folder',
      )
      .argument('<folder>', 'where to mount it'),
  )
    .option('--foreground', 'stay in the foreground, log to standard error')
    .option('--no-supervisor', 'end with the process that serves the mount, in place of starting another')
    .option('--root-storage', 'for a root file system: systemd leaves the processes alone at shutdown')
    .addHelpText(
      'after',
      '\nExamples:\n  thimble mount http://host:8000/cvmfs/os.example.org /mnt/os --key os.example.org.pub\n  thimble mount os.example.org /mnt/os --tag v1\n  thimble mount os.example.org /mnt/os --date 2026-11-01\n  thimble mount os.example.org /mnt/os --variable ARCH=x86_64 --external-server http://host/data',
    )
    .action(async (source: string, folder: string, _: unknown, self: Command) => {
      const options = self.optsWithGlobals<MountCommandOptions>();
      const place = serverPlace(process.env);
      if (place !== undefined) await serve(source, folder, options, place);
      else await start(source, folder, options);
    });
}

/** Starts the processes of the mount. */
async function start(source: string, folder: string, options: MountCommandOptions): Promise<void> {
  const { log } = clientSettings(source, options);
  checkMountpoint(folder);
  const mountpoint = resolve(folder);
  const logFile = resolve(log.file);
  const startedIn = process.cwd();
  const stateFolder = claimStateFolder(mountpoint);
  try {
    const [main = '', ...words] = process.argv.slice(1);
    const node = nodeCommand([main]);
    writeServerCommand(stateFolder, {
      folder: startedIn,
      program: [node.program, ...node.args],
      args: words,
    });
    const [program, ...args] = options.supervisor ? supervisorCommand(mountpoint) : ['/bin/sh', './command'];
    const environment = {
      THIMBLE_STATE_FOLDER: stateFolder,
      ...(options.foreground ? {} : { [LOG_FILE_VARIABLE]: logFile }),
    };
    const name = options.rootStorage ? ROOT_STORAGE_NAME : undefined;
    if (options.foreground) {
      process.execve!(program, [name ?? program, ...args], { ...process.env, ...environment });
    }
    const result = await startBackground<MountResult>({
      ...{ program, args, logFile, environment, name },
      // autofs lets its own process group pass while it mounts; all others wait for it, and would for ever.
      isInGroup: findMount(dirname(mountpoint))?.type === 'autofs',
    });
    printResult(options, result, describe(result));
  } catch (error) {
    // The supervisor removes the folder too; it may be the one of another mount by now.
    if (ownerOf(stateFolder) === process.pid) rmSync(stateFolder, { recursive: true, force: true });
    // Whoever tries again at once is not in the way of what ends.
    else await untilReleased(stateFolder);
    throw error;
  }
}

async function untilReleased(stateFolder: string): Promise<void> {
  const deadlineMs = performance.now() + RELEASE_MS;
  while (ownerOf(stateFolder) !== undefined && performance.now() < deadlineMs)
    await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Serves until somebody unmounts, in a process that `start` has made room for. */
async function serve(
  source: string,
  folder: string,
  options: MountCommandOptions,
  place: ServerPlace,
): Promise<void> {
  if (options.rootStorage) process.title = ROOT_STORAGE_NAME;
  let log: ProcessLog | undefined;
  try {
    const client = clientSettings(source, options);
    log = openMountLog({
      level: options.debug ? 'debug' : client.log.level,
      format: client.log.format,
      file: process.env[LOG_FILE_VARIABLE],
    });
    const settings = mountSettings(client, folder, log);
    const { serveMount } = await import('../../mount/serve-mount.ts');
    await serveMount(settings, place, ({ mounted }, isTakenOver) => {
      const pid = place.isSupervised ? process.ppid : process.pid;
      const result = {
        fqrn: settings.address.fqrn,
        folder,
        ...mounted.snapshot,
        pid,
        serverPid: process.pid,
      };
      const isWaitedFor = isAwaited();
      tellStarted(result);
      if (!isWaitedFor && !isTakenOver) printResult(options, result, describe(result));
    });
    // Nothing that is still open, such as a connection, is worth waiting for.
    process.exit(0);
  } catch (error) {
    tellFailed(error);
    log?.error('cannot serve', { folder, error: messageOf(error) });
    log?.flush();
    // In the foreground somebody reads why.
    throw error;
  }
}

function mountSettings(client: ClientSettings, folder: string, log: ProcessLog): MountSettings {
  const { suid, dev, exec, checkPermissions, directIo } = client.mount;
  return {
    address: addressOf(client),
    selection: client.selection,
    updates: client.updates,
    profile: client.profile,
    passthroughBytes: client.mount.passthroughBytes,
    xattrsListed: XATTRS_LISTED[client.mount.magicXattrs],
    access: {
      cacheFolder: client.cache.folder,
      cacheLimitBytes: client.cache.limitBytes,
      cacheSettings: client.cache,
      networkSettings: client.network,
      ...(client.cache.folder === undefined
        ? {}
        : { proxyFile: join(dirname(client.cache.folder), `proxies.${client.fqrn}`) }),
    },
    mount: {
      mountpoint: resolve(folder),
      name: client.fqrn,
      suid,
      dev,
      exec,
      checkPermissions,
      directIo,
      ownership: readOwnership(client.mount),
      workerFile: new URL('../mount-worker.ts', import.meta.url),
      variables: client.variables,
    },
    log,
    logFile: process.env[LOG_FILE_VARIABLE],
    effective: client.effective,
    talkSocket: client.mount.talkSocket,
  };
}

function describe({ fqrn, folder, revision, tag, rootCatalog }: MountResult): string {
  const which = [revision === undefined ? undefined : `revision ${revision}`, tag].filter(Boolean).join(', ');
  return `Mounted ${fqrn} on ${folder} (${which === '' ? rootCatalog : which})`;
}

function checkMountpoint(folder: string): void {
  const present = findMount(folder);
  if (present?.type === MOUNT_TYPE && isDead(folder)) unmountFuse(folder);
  else if (present?.type.startsWith('fuse')) {
    throw new ThimbleError('CONFLICT', `Cannot mount on ${folder}: ${present.source} is mounted there`, {
      hint: `unmount it with: thimble umount ${folder}`,
    });
  }
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new ThimbleError('USAGE', `Cannot mount on ${folder}: it is not a folder`, {
      hint: `make it with: mkdir ${folder}`,
    });
  }
}

/** What a server that was killed leaves behind answers every question with ENOTCONN. */
function isDead(mountpoint: string): boolean {
  try {
    statSync(mountpoint);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOTCONN';
  }
}
