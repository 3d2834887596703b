import type { Command } from 'commander';
import type { Finding } from '../../client/check-findings.ts';
import { PresenceCheck } from '../../client/check-objects.ts';
import { type CheckProgress, type CheckReport, checkRepository } from '../../client/check-repository.ts';
import { ReplicaRepair } from '../../client/repair.ts';
import { ThimbleError } from '../../core/errors.ts';
import { isFqrn, parseFqrn } from '../../core/fqrn.ts';
import { silentLog } from '../../core/ports.ts';
import { CheckStateFile } from '../../node/check-state-file.ts';
import { nodeClock } from '../../node/clock.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { localFolder } from '../../node/local-folder.ts';
import { ObjectCheckPool } from '../../node/object-check-pool.ts';
import { readReflogChecksum } from '../../node/reflog-checksum.ts';
import { openRepository, type RepositoryAddress } from '../../node/repository-access.ts';
import { FolderFiles } from '../../node/stored-files.ts';
import { openStorage } from '../../storage/open-storage.ts';
import type { Storage } from '../../storage/storage.ts';
import { storageLocation } from '../../storage/storage-location.ts';
import { resolveAddress } from '../client-settings.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { addReaderOptions, type ReaderOptions, selectionOf } from '../reader-options.ts';
import { parseCount, registry } from '../settings.ts';
import { formatBytes, formatCount, printResult, withProgress } from '../terminal.ts';

interface CheckOptions extends ReaderOptions {
  readonly allTags?: boolean;
  readonly data?: boolean;
  readonly maxDuration?: string;
  readonly state?: string;
  readonly stateAge: string;
  readonly repairFrom?: readonly string[];
  readonly dryRun?: boolean;
  readonly unreferenced?: boolean;
}

/** Catalogs, one at a time. */
const MEMORY_BYTES = 64 * 1024 * 1024;
const MAX_SECONDS = 10 ** 9;
const MAX_DAYS = 36_500;
const DAY_SECONDS = 24 * 3600;
const SHOWN_PATHS = 20;

export function configure(command: Command): void {
  addReaderOptions(command.argument('<source>', 'address, storage folder or name of a repository'))
    .option('--all-tags', 'check the snapshots of all tags, besides the newest')
    .option('--data', 'read every object, and compare its content with its hash and size')
    .option('--max-duration <seconds>', 'stop after this time, and say that the check is incomplete')
    .option('--state <file>', 'remember there what is sound, and go on from there the next time')
    .option('--state-age <days>', 'check everything anew when a state that is complete is older', '30')
    .option(
      '--repair-from <address>',
      'a replica to fetch missing and damaged objects from, into the storage; may be given again',
      (value: string, list: readonly string[] = []) => [...list, value],
    )
    .option('--dry-run', 'with --repair-from: look what could be repaired, and write nothing')
    .option('--unreferenced', 'list what nothing names in a storage folder, and what does not belong there')
    .addHelpText(
      'after',
      '\nEnds with 5 if anything is wrong, and goes on to the end all the same.\n\nExamples:\n  thimble check os.example.org --all-tags --data\n  thimble check http://host:8000/cvmfs/os.example.org --key os.example.org.pub\n  thimble check os.example.org --data --repair-from http://replica/cvmfs/os.example.org\n  thimble check os.example.org --data --max-duration 3600 --state /var/lib/os.check',
    )
    .action(async (source: string, _: unknown, self: Command) =>
      check(source, self.optsWithGlobals<CheckOptions>()),
    );
}

async function check(source: string, options: CheckOptions): Promise<void> {
  const selection = selectionOf(options);
  const isSelected = Object.values(selection).some((value) => value !== undefined);
  refuseContradictions(options, isSelected);
  const endMs = endOf(options.maxDuration);
  const address = resolveAddress(source, options, options);
  const folder = localFolder(address);
  if (options.unreferenced && folder === undefined) {
    throw new ThimbleError('USAGE', `Cannot list the files of ${source}: it is not a storage folder`);
  }
  const isLocal = folder !== undefined;
  const access = openRepository(address, accessOptions(isLocal));
  const repair = openRepair(source, address, options);
  const stateFile = openState(address, options);
  const objects = options.data ? new ObjectCheckPool(address) : new PresenceCheck(access.servers, isLocal);
  try {
    const report = await withProgress(
      `Check ${address.fqrn}`,
      (progress) =>
        checkRepository(access.repository, {
          selection,
          allTags: options.allTags ?? false,
          hashing: nodeHashing,
          isLocal,
          objects,
          repair: repair?.repair,
          state: stateFile?.state,
          storedFiles: options.unreferenced ? new FolderFiles(folder!) : undefined,
          reflogChecksum: isLocal ? readReflogChecksum(address.fqrn) : undefined,
          isOver: () => performance.now() >= endMs,
          onProgress: (seen) => {
            progress.update(() => formatSeen(seen));
            stateFile?.saveNowAndThen();
          },
        }),
      formatSeen,
    );
    if (report.complete && stateFile !== undefined) {
      stateFile.state.completedSeconds ??= nodeClock.unixSeconds();
    }
    printResult(options, report, formatReport(report, options));
    if (report.findingsTotal > 0) process.exitCode = EXIT_CODES.INTEGRITY;
  } finally {
    await objects.close();
    // Also after a failure: what was sound until then is sound.
    stateFile?.save();
    await repair?.close();
    access.close();
  }
}

function refuseContradictions(options: CheckOptions, isSelected: boolean): void {
  const { allTags, unreferenced, dryRun, repairFrom, state, maxDuration } = options;
  const refuse = (what: string) => {
    throw new ThimbleError('USAGE', `Cannot use ${what}`);
  };
  if (allTags && isSelected) refuse('--all-tags with --tag, --date or --root-hash');
  if (unreferenced && isSelected)
    refuse('--unreferenced with --tag, --date or --root-hash: others need objects too');
  if (unreferenced && (state !== undefined || maxDuration !== undefined)) {
    refuse('--unreferenced with --state or --max-duration: it has to see every catalog');
  }
  if (dryRun && repairFrom === undefined) refuse('--dry-run without --repair-from: nothing else writes');
}

/** A folder answers at once, and the same again. */
function accessOptions(isLocal: boolean) {
  return {
    cacheFolder: undefined,
    cacheLimitBytes: MEMORY_BYTES,
    log: silentLog,
    ...(isLocal ? { retries: { rounds: 1 } } : {}),
  };
}

/** Throws USAGE where there is nothing to write to. */
function openRepair(source: string, address: RepositoryAddress, options: CheckOptions) {
  const { repairFrom, dryRun = false } = options;
  if (repairFrom === undefined) return undefined;
  const storage = openOwnStorage(source, address, options);
  const replicas = openRepository(
    { fqrn: address.fqrn, servers: repairFrom, proxies: address.proxies, keyFiles: [] },
    accessOptions(true),
  );
  const repair = new ReplicaRepair(replicas.servers, storage, { hashing: nodeHashing, isDryRun: dryRun });
  const close = async () => {
    replicas.close();
    if (!dryRun) await storage.flush();
    await storage.close();
  };
  return { repair, close };
}

function openOwnStorage(source: string, address: RepositoryAddress, options: CheckOptions): Storage {
  const folder = localFolder(address);
  if (folder !== undefined) return openStorage({ kind: 'folder', path: folder });
  const known = registry(options);
  if (isFqrn(source) && address.servers.length === 1) {
    return openStorage(storageLocation(known.load(parseFqrn(source)).storage));
  }
  throw new ThimbleError('USAGE', `Cannot repair ${source}: it is not a storage of this machine`, {
    hint: 'name its storage folder, or a repository that was created here, without --server',
  });
}

function openState(address: RepositoryAddress, options: CheckOptions): CheckStateFile | undefined {
  const ageDays = parseCount(options.stateAge, 'a number of days', 0, MAX_DAYS);
  if (options.state === undefined) return undefined;
  const kind = { fqrn: address.fqrn, data: options.data ?? false };
  return CheckStateFile.open(options.state, kind, ageDays * DAY_SECONDS, nodeClock);
}

function endOf(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  return performance.now() + parseCount(text, 'a duration in seconds', 1, MAX_SECONDS) * 1000;
}

function formatSeen({ catalogs, entries, objects, bytes }: CheckProgress): string {
  return [
    `${formatCount(entries)} entries in ${formatCount(catalogs)} catalogs`,
    `${formatCount(objects)} objects, ${formatBytes(bytes)}`,
  ].join(', ');
}

function formatReport(report: CheckReport, { dryRun }: CheckOptions): string {
  const { fqrn, rootHash, findings, findingsTotal, repaired, repairedTotal, complete } = report;
  const repairedLabel = dryRun ? 'can be repaired' : 'repaired';
  const lines = [
    ...formatFindings(findings, findingsTotal),
    ...formatFindings(repaired, repairedTotal, `${repairedLabel}: `),
    ...report.notes.map(({ message, rule }) => `note: ${message} [${rule}]`),
    ...formatUnreferenced(report),
  ];
  const { trees, objects } = report.verifiedBefore;
  const result = [
    findingsTotal === 0 ? 'nothing wrong' : `${formatCount(findingsTotal)} findings`,
    ...(repairedTotal === 0 ? [] : [`${formatCount(repairedTotal)} ${repairedLabel}`]),
    ...(trees + objects === 0
      ? []
      : [`verified before: ${formatCount(trees)} trees of catalogs, and ${formatCount(objects)} objects`]),
    ...(complete ? [] : ['incomplete, the time was over']),
  ];
  lines.push(
    `${fqrn}${rootHash === null ? '' : ` ${rootHash}`}: ${formatSeen(report)}: ${result.join('; ')}`,
  );
  return lines.join('\n');
}

function formatFindings(findings: readonly Finding[], total: number, label = ''): string[] {
  const lines = findings.map(
    ({ rule, catalog, path, message }) =>
      `${label}${path}: ${message} [${rule}]${catalog === undefined ? '' : ` in catalog ${catalog}`}`,
  );
  if (total > findings.length) lines.push(`... and ${formatCount(total - findings.length)} more`);
  return lines;
}

function formatUnreferenced({ unreferenced }: CheckReport): string[] {
  if (unreferenced === undefined) return [];
  const { objects, bytes, paths } = unreferenced;
  const shown = paths.slice(0, SHOWN_PATHS);
  const more = objects - shown.length;
  return [
    ...shown.map((path) => `unreferenced: ${path}`),
    ...(more > 0 ? [`... and ${formatCount(more)} more; --json has a thousand`] : []),
    `unreferenced: ${formatCount(objects)} objects, ${formatBytes(bytes)}`,
  ];
}
