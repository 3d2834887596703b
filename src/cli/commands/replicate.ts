import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { DEFAULT_SERVERS_OPTIONS } from '../../client/network/servers-options.ts';
import { messageOf, ThimbleError } from '../../core/errors.ts';
import { nodeClock, nodeRandom } from '../../node/clock.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { nodeInflating } from '../../node/inflating.ts';
import { lineLog } from '../../node/log.ts';
import { openRepository } from '../../node/repository-access.ts';
import { nodeSockets } from '../../node/sockets.ts';
import { abortableSockets } from '../../replicate/abortable-sockets.ts';
import { follow } from '../../replicate/follow.ts';
import { parsePathFilter } from '../../replicate/path-filter.ts';
import {
  type ReplicateOptions,
  type ReplicationProgress,
  type ReplicationReport,
  Replicator,
} from '../../replicate/replicator.ts';
import { takeLock } from '../../storage/lock.ts';
import { openStorage } from '../../storage/open-storage.ts';
import type { StorageLocation } from '../../storage/storage.ts';
import { storageLocation } from '../../storage/storage-location.ts';
import { resolveAddress } from '../client-settings.ts';
import { addAddressOptions } from '../reader-options.ts';
import { replicaLock } from '../replica-lock.ts';
import { type AddressOptions, parseCount, registry } from '../settings.ts';
import { formatBytes, formatCount, type GlobalOptions, printResult, withProgress } from '../terminal.ts';

interface ReplicateCommandOptions extends AddressOptions, GlobalOptions {
  readonly history?: boolean;
  readonly revisions?: string;
  readonly include?: readonly string[];
  readonly allowOlder?: boolean;
  readonly watch?: boolean;
  readonly interval?: string;
  readonly connections: string;
}

/** A request goes on as long as something arrives: what is too slow in between is noticed in seconds. */
const DEADLINE_MS = 30 * 60_000;
const ROUNDS = 5;
/** Certificates and nothing else. */
const MEMORY_BYTES = 1024 * 1024;
const DAY_SECONDS = 86_400;

export function configure(command: Command): void {
  addAddressOptions(
    command
      .argument('<source>', 'address of the repository, or of any replica of it')
      .argument(
        '<target>',
        'folder for the replica, which ends with the name of the repository; or s3://...',
      ),
  )
    .option('--history', 'the snapshots of all tags too')
    .option('--revisions <number>', 'so many revisions before the newest too')
    .option(
      '--include <path>',
      'only this part of the tree, or without it where it begins with !; may be given again',
      (value: string, list: readonly string[] = []) => [...list, value],
    )
    .option('--allow-older', 'take the snapshot of the source even if the replica has a newer one')
    .option('--watch', 'go on for ever, and bring each new snapshot')
    .option('--interval <seconds>', 'time between two looks at the source (default: what its manifest says)')
    .option('--connections <number>', 'requests at a time', '16')
    .addHelpText(
      'after',
      '\nBrings what is missing, and goes on where an earlier run was ended.\n\nExamples:\n  thimble replicate http://host:8000/cvmfs/os.example.org /srv/cvmfs/os.example.org --key os.example.org.pub\n  thimble replicate http://host:8000/cvmfs/os.example.org /srv/cvmfs/os.example.org --key os.example.org.pub --watch',
    )
    .action(async (source: string, target: string, _: unknown, self: Command) =>
      replicate(source, target, self.optsWithGlobals<ReplicateCommandOptions>()),
    );
}

async function replicate(source: string, target: string, options: ReplicateCommandOptions): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort());
  if (options.interval !== undefined && !options.watch)
    throw new ThimbleError('USAGE', 'Cannot use --interval without --watch');
  const run = prepare(source, target, options, stop.signal);
  if (options.watch) return watch(run, options, stop.signal);
  const startedMs = performance.now();
  const report = await withProgress(
    `Replicate ${source}`,
    (progress) => run((seen) => progress.update(() => formatProgress(seen, performance.now() - startedMs))),
    (done) => formatSeen(done),
  );
  printResult(options, report, formatReport(report));
}

type Run = (onProgress?: (progress: ReplicationProgress) => void) => Promise<ReplicationReport>;

/** Everything that can be wrong with the command line is found here, before anything is asked of the source. */
function prepare(source: string, target: string, options: ReplicateCommandOptions, signal: AbortSignal): Run {
  const connections = parseCount(options.connections, 'a number of connections', 1, 256);
  const previousRevisions = parseCount(options.revisions ?? '0', 'a number of revisions', 0, 10 ** 9);
  const filter = options.include === undefined ? undefined : parsePathFilter(options.include);
  const address = resolveAddress(source, options, options);
  const location = locate(target, address.fqrn, address.servers, options);
  const lock = replicaLock(location, address.fqrn, options);
  const settings: ReplicateOptions = {
    parallel: connections,
    withTags: options.history ?? false,
    previousRevisions,
    filter,
    allowOlder: options.allowOlder ?? false,
    temporary: join(tmpdir(), `thimble-reflog-${process.pid}`),
    signal,
  };
  return async (onProgress) => {
    const access = openRepository(address, {
      cacheFolder: undefined,
      cacheLimitBytes: MEMORY_BYTES,
      log: lineLog((line) => process.stderr.write(line), options.debug ? 'debug' : 'error'),
      http: { maxConnectionsPerHost: connections },
      retries: { ...DEFAULT_SERVERS_OPTIONS, deadlineMs: DEADLINE_MS, rounds: ROUNDS },
      sockets: abortableSockets(nodeSockets, signal),
    });
    const release = takeLock(lock, `replica ${target}`);
    try {
      const ports = { hashing: nodeHashing, inflating: nodeInflating, clock: nodeClock };
      const more = onProgress === undefined ? {} : { onProgress };
      const storage = openStorage(location);
      return await new Replicator(access.repository, storage, ports, { ...settings, ...more }).run();
    } finally {
      release();
      access.close();
    }
  };
}

/** Throws USAGE. */
function locate(
  target: string,
  fqrn: string,
  servers: readonly string[],
  options: GlobalOptions,
): StorageLocation {
  const location = storageLocation(target.startsWith('s3://') ? target : resolve(target));
  const path = location.kind === 'folder' ? location.path : location.prefix;
  const known = registry(options);
  const published = known.list().map((name) => known.load(name).storage);
  if (location.kind === 'folder' && [...published, ...servers].includes(path)) {
    throw new ThimbleError('USAGE', `Cannot replicate to ${target}: that is where it comes from`);
  }
  if (path.split('/').at(-1) === fqrn) return location;
  throw new ThimbleError('USAGE', `Cannot replicate ${fqrn} to ${target}: it does not end with its name`, {
    hint: `servers and readers know it by that: ${target.replace(/\/+$/, '')}/${fqrn}`,
  });
}

async function watch(run: Run, options: ReplicateCommandOptions, signal: AbortSignal): Promise<void> {
  await follow(() => run(), {
    clock: nodeClock,
    random: nodeRandom,
    signal,
    intervalSeconds:
      options.interval === undefined
        ? undefined
        : parseCount(options.interval, 'an interval in seconds', 1, DAY_SECONDS),
    onReport: (report) => {
      if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
      // Nobody wants to read that nothing happened.
      else if (report.revision !== report.formerRevision) process.stdout.write(`${formatReport(report)}\n`);
    },
    onFailure: (error, retrySeconds) =>
      process.stderr.write(`${messageOf(error)}; next attempt in ${Math.round(retrySeconds)} s\n`),
  });
}

function formatProgress(seen: ReplicationProgress, elapsedMs: number): string {
  const rate = Math.round((seen.objects / Math.max(elapsedMs, 1)) * 1000);
  const waiting = seen.waiting === 0 ? '' : `, ${formatCount(seen.waiting)} to go in open catalogs`;
  return `${formatSeen(seen)}, ${formatCount(rate)}/s${waiting}`;
}

function formatSeen({ objects, catalogs, bytes }: Pick<ReplicationReport, 'objects' | 'catalogs' | 'bytes'>) {
  return `${formatCount(objects)} objects with ${formatCount(catalogs)} catalogs, ${formatBytes(bytes)}`;
}

function formatReport(report: ReplicationReport): string {
  const { fqrn, revision, formerRevision, rootCatalog, skipped, isPartial } = report;
  const lines = skipped.map(({ tags, rootCatalog: hash, reason }) => {
    const name = tags.length === 0 ? 'an earlier revision' : `tag ${tags.join(', ')}`;
    return `Passed over ${name} (${hash}): ${reason}`;
  });
  const change =
    formerRevision === null ? '' : formerRevision === revision ? ', as before' : `, was ${formerRevision}`;
  const extent = isPartial ? ', a part of the tree' : '';
  lines.push(`${fqrn} revision ${revision} ${rootCatalog}${change}${extent}: ${formatSeen(report)}`);
  return lines.join('\n');
}
