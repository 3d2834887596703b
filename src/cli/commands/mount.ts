import { statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import { mountSnapshot } from '../../mount/snapshot-mount.ts';
import { findMount, MOUNT_TYPE, unmountFuse } from '../../node/fuse-mount.ts';
import { lineLog } from '../../node/log.ts';
import { openRepository } from '../../node/repository-access.ts';
import { startBackground, tellFailed, tellStarted } from '../background.ts';
import { addContentOptions, type ContentOptions, selectionOf, symlinkVariables } from '../reader-options.ts';
import { defaultCacheFolder, parseCount, parseSize, resolveAddress } from '../settings.ts';
import { printResult } from '../terminal.ts';

interface MountCommandOptions extends ContentOptions {
  readonly cache?: string;
  readonly cacheSize: string;
  readonly suid?: boolean;
  readonly dev?: boolean;
  readonly directIo?: boolean;
  readonly deadline: string;
  readonly foreground?: boolean;
  readonly log?: string;
}

const MAX_DEADLINE_SECONDS = 24 * 3600;

interface MountResult {
  readonly fqrn: string;
  readonly folder: string;
  readonly rootCatalog: string;
  readonly revision: number | undefined;
  readonly tag: string | undefined;
  readonly pid: number;
}

export function configure(command: Command): void {
  addContentOptions(
    command
      .argument('<source>', 'address, storage folder or name of a repository')
      .argument('<folder>', 'where to mount it'),
  )
    .option('--cache <folder>', 'where fetched content is kept, or "none" for memory only')
    .option('--cache-size <size>', 'limit of the cache', '4G')
    .option('--deadline <seconds>', 'how long a read may wait for servers before it fails', '30')
    .option('--suid', 'honour set-user-id bits and file capabilities')
    .option('--dev', 'honour device nodes')
    .option('--direct-io', 'read files past the page cache that are flagged so; opening gets slower')
    .option('--foreground', 'stay in the foreground, log to standard error')
    .option('--log <file>', 'log of the background process (default: thimble.log beside the cache)')
    .addHelpText(
      'after',
      '\nExamples:\n  thimble mount http://host:8000/cvmfs/os.example.org /mnt/os --key os.example.org.pub\n  thimble mount os.example.org /mnt/os --tag v1\n  thimble mount os.example.org /mnt/os --date 2026-11-01\n  thimble mount os.example.org /mnt/os --variable ARCH=x86_64 --external-server http://host/data',
    )
    .action(async (source: string, folder: string, _: unknown, self: Command) => {
      const options = self.optsWithGlobals<MountCommandOptions>();
      if (options.foreground) await serveMount(source, folder, options);
      else await startInBackground(options);
    });
}

/** Mounts, and serves until somebody unmounts. */
async function serveMount(source: string, folder: string, options: MountCommandOptions): Promise<void> {
  try {
    const address = resolveAddress(source, options, options);
    const selection = selectionOf(options);
    const variables = symlinkVariables(options, address.fqrn);
    checkMountpoint(folder);
    const cacheRoot = options.cache ?? defaultCacheFolder();
    const cacheFolder = cacheRoot === 'none' ? undefined : join(cacheRoot, 'objects');
    const log = lineLog((line) => writeSync(2, line), options.debug ? 'debug' : 'info');
    const access = openRepository(address, {
      cacheFolder,
      cacheLimitBytes: parseSize(options.cacheSize),
      log,
      retries: { deadlineMs: 1000 * parseCount(options.deadline, 'a deadline', 1, MAX_DEADLINE_SECONDS) },
    });
    const { snapshot, server } = await mountSnapshot(access, selection, {
      mountpoint: folder,
      name: address.fqrn,
      suid: options.suid ?? false,
      dev: options.dev ?? false,
      directIo: options.directIo ?? false,
      workerFile: new URL('../mount-worker.ts', import.meta.url),
      cacheFolder,
      variables,
      log,
    });
    const result = { fqrn: address.fqrn, folder, ...snapshot, pid: process.pid };
    // The mount outlives the terminal; it ends when it is unmounted.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => log.info('signal ignored, unmount to end', { signal }));
    }
    tellStarted(result);
    if (process.send === undefined) printResult(options, result, describe(result));
    await server.closed;
    access.close();
    log.info('unmounted', { folder, ...server.statistics() });
  } catch (error) {
    tellFailed(error);
    throw error;
  }
}

async function startInBackground(options: MountCommandOptions): Promise<void> {
  const logFile =
    options.log ??
    join(options.cache && options.cache !== 'none' ? options.cache : defaultCacheFolder(), 'thimble.log');
  const args = [...process.argv.slice(1), '--foreground'];
  const result = await startBackground<MountResult>(args, logFile);
  printResult(options, result, describe(result));
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
