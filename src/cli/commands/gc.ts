import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import { type Fqrn, isFqrn, parseFqrn } from '../../core/fqrn.ts';
import {
  collectGarbage,
  type GarbageProgress,
  type GarbageReport,
  type GarbageTarget,
  isReplica,
} from '../../storage/garbage-collection.ts';
import { openStorage } from '../../storage/open-storage.ts';
import type { StorageLocation } from '../../storage/storage.ts';
import { storageLocation } from '../../storage/storage-location.ts';
import type { SweepCounts } from '../../storage/sweep.ts';
import { publisherPorts } from '../publisher-ports.ts';
import { replicaLock } from '../replica-lock.ts';
import { parseCount, registry } from '../settings.ts';
import {
  formatBytes,
  formatCount,
  formatTime,
  type GlobalOptions,
  printResult,
  withProgress,
} from '../terminal.ts';

interface GcOptions extends GlobalOptions {
  readonly keepDays?: string;
  readonly keepRevisions?: string;
  readonly grace: string;
  readonly dryRun?: boolean;
  readonly unreferenced?: boolean;
  readonly rebuildReflog?: boolean;
  readonly force?: boolean;
}

const MAX_COUNT = 1_000_000;

export function configure(command: Command): void {
  command
    .argument('<repository>', 'name, or storage of a replica: a folder, or s3://...')
    .option('--keep-days <days>', 'keep what was the newest revision in this time (default: 3)')
    .option('--keep-revisions <number>', 'keep so many revisions before the newest')
    .option('--grace <time>', 'delete what was not needed for so long: 30m, 12h, 1d, or 0 for at once', '1d')
    .option('--dry-run', 'only tell what would be deleted')
    .option('--unreferenced', 'look for objects of publishes that were never finished, too')
    .option('--rebuild-reflog', 'make a reference log that is missing or damaged anew')
    .option('--force', 'also where the manifest, or where the repository lies, says no')
    .addHelpText(
      'after',
      `
Snapshots with a tag and the newest one always stay. What is needed no longer is written down by the first run that sees
it, and deleted by one after the grace period: until then, readers of it lose nothing.

Examples:
  thimble gc os.example.org
  thimble gc os.example.org --keep-days 30 --dry-run
  thimble gc /srv/cvmfs/os.example.org --keep-revisions 0 --grace 0`,
    )
    .action(async (repository: string, _: unknown, self: Command) =>
      gc(repository, self.optsWithGlobals<GcOptions>()),
    );
}

async function gc(repository: string, options: GcOptions): Promise<void> {
  const { keepDays, keepRevisions, dryRun, unreferenced, rebuildReflog, force } = options;
  const count = (text: string | undefined, what: string) =>
    text === undefined ? undefined : parseCount(text, what, 0, MAX_COUNT);
  const given = {
    keepDays: count(keepDays, 'a number of days'),
    keepRevisions: count(keepRevisions, 'a number of revisions'),
    graceSeconds: parseTime(options.grace),
    dryRun,
    unreferenced,
    rebuildReflog,
    force,
  };
  const target = await locate(repository, options);
  const report = await withProgress(
    `Collect garbage of ${target.fqrn}`,
    (progress) =>
      collectGarbage(target, publisherPorts, {
        ...given,
        onProgress: (state) => progress.update(() => formatProgress(state)),
      }),
    ({ revisions }) => `${formatCount(revisions.kept)} revisions stay`,
  );
  printResult(options, report, formatReport(report, options.grace));
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };

/** In seconds. Throws USAGE. */
function parseTime(text: string): number {
  const [, number, unit = 's'] = /^(\d{1,9})([smhd])$/.exec(text) ?? (text === '0' ? [text, text] : []);
  if (number !== undefined) return Number(number) * SECONDS[unit as keyof typeof SECONDS];
  throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as a grace period`, {
    hint: 'times look like 30m, 12h or 1d; 0 is none',
  });
}

/** The storage, with the lock of whoever writes to it. Throws USAGE, NOT_FOUND, CONFLICT. */
async function locate(source: string, options: GcOptions): Promise<GarbageTarget> {
  const known = registry(options);
  const published = (fqrn: Fqrn): GarbageTarget => {
    const folder = known.folderOf(fqrn);
    const storage = openStorage(storageLocation(known.load(fqrn).storage));
    return { fqrn, storage, lock: join(folder, 'publish.lock'), state: join(folder, 'gc-') };
  };
  if (isFqrn(source) && (known.has(parseFqrn(source)) || !existsSync(source))) {
    return published(parseFqrn(source));
  }
  const location = storageLocation(source.startsWith('s3://') ? source : resolve(source));
  const place = placeOf(location);
  const owner = known.list().find((fqrn) => placeOf(storageLocation(known.load(fqrn).storage)) === place);
  if (owner !== undefined) return published(owner);
  const name = place.split('/').at(-1)!;
  if (!isFqrn(name)) {
    throw new ThimbleError('USAGE', `Cannot tell which repository ${JSON.stringify(source)} is`, {
      hint: 'a storage ends with the name of the repository, such as /srv/cvmfs/os.example.org',
    });
  }
  const fqrn = parseFqrn(name);
  const storage = openStorage(location);
  if (options.force !== true && !(await isReplica(storage))) {
    throw new ThimbleError(
      'CONFLICT',
      `Cannot collect garbage in ${source}: it is no replica, and not published from here`,
      {
        hint: 'run it where it is published, or give --config; --force trusts that nobody publishes meanwhile',
      },
    );
  }
  const lock = replicaLock(location, fqrn, options);
  return { fqrn, storage, lock, state: lock.replace(/replicate\.lock$|lock$/, 'gc_') };
}

function placeOf(location: StorageLocation): string {
  return location.kind === 'folder' ? resolve(location.path) : `s3://${location.bucket}/${location.prefix}`;
}

function formatProgress({ phase, catalogs, objects }: GarbageProgress): string {
  switch (phase) {
    case 'reading':
      return `${formatCount(catalogs)} catalogs read, ${formatCount(objects)} objects found`;
    case 'listing':
      return `${formatCount(objects)} objects listed`;
    case 'deleting':
      return `${formatCount(objects)} objects deleted`;
  }
}

function formatReport(report: GarbageReport, grace: string): string {
  const { dryRun, deleted, waiting, revisions, nextSeconds, damagedCatalogs } = report;
  const lines = [
    `${dryRun ? 'Would delete' : 'Deleted'} ${formatCounts(deleted)}, of ${formatCount(revisions.deleted)} revisions`,
  ];
  if (waiting.objects > 0 || revisions.waiting > 0) {
    const when =
      nextSeconds === null
        ? ''
        : dryRun
          ? `; to be deleted ${grace} after a run that is no dry one`
          : `; to be deleted by a run after ${formatTime(nextSeconds)}`;
    lines.push(
      `No longer needed: ${formatCounts(waiting)}, of ${formatCount(revisions.waiting)} revisions${when}`,
    );
  }
  if (damagedCatalogs > 0) {
    lines.push(
      `Damaged: ${formatCount(damagedCatalogs)} catalogs of old revisions; --unreferenced finds what they named`,
    );
  }
  return lines.join('\n');
}

function formatCounts({ objects, bytes, kinds }: SweepCounts): string {
  const parts = Object.entries(kinds)
    .filter(([, kind]) => kind.objects > 0)
    .map(([name, kind]) => `${formatCount(kind.objects)} ${name}`);
  const detail = parts.length === 0 ? '' : ` (${parts.join(', ')})`;
  return `${formatCount(objects)} objects, ${formatBytes(bytes)}${detail}`;
}
