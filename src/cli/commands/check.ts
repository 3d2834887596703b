import type { Command } from 'commander';
import { PresenceCheck } from '../../client/check-objects.ts';
import { type CheckReport, checkRepository, type Finding } from '../../client/check-repository.ts';
import { ThimbleError } from '../../core/errors.ts';
import { silentLog } from '../../core/ports.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { ObjectCheckPool } from '../../node/object-check-pool.ts';
import { openRepository } from '../../node/repository-access.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { addReaderOptions, type ReaderOptions, selectionOf } from '../reader-options.ts';
import { parseCount, resolveAddress } from '../settings.ts';
import { formatBytes, formatCount, printResult, withProgress } from '../terminal.ts';

interface CheckOptions extends ReaderOptions {
  readonly allTags?: boolean;
  readonly data?: boolean;
  readonly maxDuration?: string;
}

/** Catalogs, one at a time. */
const MEMORY_BYTES = 64 * 1024 * 1024;
const MAX_SECONDS = 10 ** 9;

export function configure(command: Command): void {
  addReaderOptions(command.argument('<source>', 'address, storage folder or name of a repository'))
    .option('--all-tags', 'check the snapshots of all tags, besides the newest')
    .option('--data', 'read every object, and compare its content with its hash and size')
    .option('--max-duration <seconds>', 'stop after this time, and say that the check is incomplete')
    .addHelpText(
      'after',
      '\nEnds with 5 if anything is wrong, and goes on to the end all the same.\n\nExamples:\n  thimble check os.example.org --all-tags --data\n  thimble check http://host:8000/cvmfs/os.example.org --key os.example.org.pub',
    )
    .action(async (source: string, _: unknown, self: Command) =>
      check(source, self.optsWithGlobals<CheckOptions>()),
    );
}

async function check(source: string, options: CheckOptions): Promise<void> {
  const selection = selectionOf(options);
  if (options.allTags && Object.values(selection).some((value) => value !== undefined)) {
    throw new ThimbleError('USAGE', 'Cannot use --all-tags with --tag, --date or --root-hash');
  }
  const endMs = endOf(options.maxDuration);
  const address = resolveAddress(source, options, options);
  const access = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: MEMORY_BYTES,
    log: silentLog,
  });
  const objects = options.data ? new ObjectCheckPool(address) : new PresenceCheck(access.servers);
  try {
    const report = await withProgress(
      `Check ${address.fqrn}`,
      (progress) =>
        checkRepository(access.repository, {
          selection,
          allTags: options.allTags ?? false,
          hashing: nodeHashing,
          objects,
          isOver: () => performance.now() >= endMs,
          onProgress: (seen) => progress.update(() => formatSeen(seen)),
        }),
      formatSeen,
    );
    printResult(options, report, formatReport(report));
    if (report.findingsTotal > 0) process.exitCode = EXIT_CODES.INTEGRITY;
  } finally {
    await objects.close();
    access.close();
  }
}

function endOf(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  return performance.now() + parseCount(text, 'a duration in seconds', 1, MAX_SECONDS) * 1000;
}

function formatSeen({
  catalogs,
  entries,
  objects,
  bytes,
}: Pick<CheckReport, 'catalogs' | 'entries' | 'objects' | 'bytes'>): string {
  return [
    `${formatCount(entries)} entries in ${formatCount(catalogs)} catalogs`,
    `${formatCount(objects)} objects, ${formatBytes(bytes)}`,
  ].join(', ');
}

function formatReport(report: CheckReport): string {
  const { fqrn, rootHash, findings, findingsTotal, complete } = report;
  const lines = findings.map(formatFinding);
  if (findingsTotal > findings.length)
    lines.push(`... and ${formatCount(findingsTotal - findings.length)} more`);
  const result = findingsTotal === 0 ? 'nothing wrong' : `${formatCount(findingsTotal)} findings`;
  const extent = complete ? '' : '; incomplete, the time was over';
  lines.push(`${fqrn}${rootHash === null ? '' : ` ${rootHash}`}: ${formatSeen(report)}: ${result}${extent}`);
  return lines.join('\n');
}

function formatFinding({ rule, catalog, path, message }: Finding): string {
  return `${path}: ${message} [${rule}]${catalog === undefined ? '' : ` in catalog ${catalog}`}`;
}
