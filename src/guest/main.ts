/**
 * The program in the initrd. It boots the machine, and then is its file system until the machine is off. As a worker
 * thread it is the part that answers the kernel. Bundled into one file by `image/guest-bundle.ts`.
 */

import { closeSync, existsSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { NO_MEMORY } from '../client/revision-memory.ts';
import type { Log } from '../core/ports.ts';
import { ProfileFeed } from '../mount/profile-feed.ts';
import { type ProfileWorkerData, runProfileWorker } from '../mount/profile-worker.ts';
import { mountSnapshot, type SnapshotMount } from '../mount/snapshot-mount.ts';
import { type FuseWorkerData, runFuseWorker } from '../node/fuse-worker.ts';
import { nodeGuestSystem } from '../node/guest-system.ts';
import { lineLog } from '../node/log.ts';
import { openRepository, type RepositoryAddress } from '../node/repository-access.ts';
import { Boot, explainFailure, type RootMount, type RootRequest } from './boot.ts';

/** The initrd's first program waits on the other end for one word. */
const VERDICT_FD = 3;
/** Only in images that were built with one. */
const BLACKLIST = '/etc/blacklist';
const STATUS_FILE = '/status.json';
const STATUS_INTERVAL_MS = 1000;
/** A machine without its root file system is dead: it waits for servers to come back, and says so. */
const ROOT_DEADLINE_MS = 10 * 60 * 1000;
const ROOT_ROUNDS = 1000;

async function main(): Promise<void> {
  // systemd ends every process at shutdown but those whose name begins with @; signals are not for this one.
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.on(signal, () => {});
  const upMsAtStart = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000 - performance.now();
  const kernelLog = openSync('/dev/kmsg', 'w');
  let isBooting = true;
  const log = lineLog((line) => {
    if (isBooting) nodeGuestSystem.say(`thimble: ${line.trimEnd()}`);
    else writeSync(kernelLog, `<4>thimble: ${line}`);
  }, 'warn');
  let mount: OpenMount | undefined;
  let wantsRescue = false;
  try {
    const boot = new Boot(nodeGuestSystem);
    const settings = boot.settings();
    wantsRescue = settings.rescue;
    boot.loadModules();
    const lease = await boot.network();
    const scratch = boot.prepareScratch(settings);
    await boot.mountRoot(settings, scratch, async (request) => {
      mount = await mountRoot(request, log);
      return describe(mount, request);
    });
    boot.handOver(lease);
    // The last thing to go when memory is short: without it everything else goes too.
    writeFileSync('/proc/self/oom_score_adj', '-1000');
  } catch (error) {
    for (const line of explainFailure(error)) nodeGuestSystem.say(line);
    answer(wantsRescue ? 'thimble.rescue' : 'failed');
    process.exit(1);
  }
  answer('ready');
  isBooting = false;
  const status = setInterval(() => writeStatus(mount!, upMsAtStart), STATUS_INTERVAL_MS);
  await mount!.server.closed;
  clearInterval(status);
  mount!.close();
}

interface OpenMount extends SnapshotMount {
  readonly profile: ProfileFeed | undefined;
  close(): void;
}

async function mountRoot(
  { settings, scratch, keyFiles, mountpoint }: RootRequest,
  log: Log,
): Promise<OpenMount> {
  const address: RepositoryAddress = {
    fqrn: settings.fqrn,
    servers: settings.servers,
    proxies: settings.proxies,
    keyFiles,
    blacklistFiles: existsSync(BLACKLIST) ? [BLACKLIST] : [],
  };
  const { cacheFolder, cacheLimitBytes } = scratch;
  const network = {
    cacheFolder,
    cacheLimitBytes,
    retries: { deadlineMs: ROOT_DEADLINE_MS, rounds: ROOT_ROUNDS },
  };
  const limits = { memory: NO_MEMORY, minimumRevision: settings.minimumRevision };
  const access = openRepository(address, { ...network, limits, log });
  const profile =
    settings.profile === undefined
      ? undefined
      : new ProfileFeed({
          name: settings.profile,
          workerFile: __filename,
          access,
          address,
          network,
          limitBytes: cacheLimitBytes / 2,
          log,
        });
  const mount = await mountSnapshot(
    access,
    { tag: settings.tag, rootHash: settings.rootHash },
    {
      mountpoint,
      name: settings.fqrn,
      suid: true,
      dev: true,
      command: ['/bin/busybox', 'mount'],
      workerFile: __filename,
      cacheFolder,
      variables: { CVMFS_FQRN: settings.fqrn },
      log,
    },
  );
  return {
    ...mount,
    profile,
    close: () => {
      profile?.cancel();
      access.close();
    },
  };
}

function describe({ mounted }: SnapshotMount, { settings }: RootRequest): RootMount {
  const { rootCatalog, revision, tag } = mounted.snapshot;
  const which = [revision === undefined ? rootCatalog : `revision ${revision}`, tag].filter(
    (part) => part !== undefined,
  );
  return { rootHash: rootCatalog, description: `${settings.fqrn}, ${which.join(', ')}` };
}

function answer(word: 'ready' | 'failed' | 'thimble.rescue'): void {
  writeSync(VERDICT_FD, `${word}\n`);
  closeSync(VERDICT_FD);
}

/** For whoever looks into `/run/initramfs`: what was asked of the file system, and how long processes waited for it. */
function writeStatus({ server, mounted, profile }: OpenMount, upMsAtStart: number): void {
  const status = {
    ...mounted.snapshot,
    ...server.statistics(),
    profile: profile?.status(),
    upMs: Math.round(upMsAtStart + performance.now()),
  };
  try {
    writeFileSync(`${STATUS_FILE}.new`, `${JSON.stringify(status)}\n`);
    renameSync(`${STATUS_FILE}.new`, STATUS_FILE);
  } catch {
    // Memory is full; the machine has other worries.
  }
}

if (isMainThread) void main();
else if (parentPort !== null) {
  const data = workerData as FuseWorkerData | ProfileWorkerData;
  if (data.role === 'fuse-worker') runFuseWorker(data, parentPort);
  else void runProfileWorker(data, parentPort);
}
