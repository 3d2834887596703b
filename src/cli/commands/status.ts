import type { Command } from 'commander';
import { callControl, callControlJson } from '../../mount/control-client.ts';
import type { CatalogReport } from '../../mount/control-mount.ts';
import { ANSWER_TIMEOUT_MS, controlSocketOf, reportMounts } from '../../mount/status-mounts.ts';
import { formatReports } from '../format-status.ts';
import { parseCount } from '../settings.ts';
import { formatCount, type GlobalOptions, printResult } from '../terminal.ts';

interface StatusOptions extends GlobalOptions {
  readonly watch?: string | true;
  readonly log?: string | true;
  readonly catalogs?: boolean;
  readonly metrics?: boolean;
}

const MAX_WATCH_SECONDS = 3600;
const MAX_LINES = 500;
/** Catalogs of large repositories take a moment to count. */
const LONG_TIMEOUT_MS = 20_000;

export function configure(command: Command): void {
  command
    .argument('[folder]', 'mount point, or anything in it (default: all mounts of this machine)')
    .option('--watch [seconds]', 'show it again and again (default: every 2 seconds)')
    .option('--log [lines]', 'show the last lines of its log instead (default: 50)')
    .option('--catalogs', 'list the catalogs it has attached instead')
    .option('--metrics', 'print its figures for Prometheus instead')
    .addHelpText(
      'after',
      '\nA mount that does not answer is shown as such; this never touches the mount itself.\n\nExamples:\n  thimble status\n  thimble status /mnt/os --watch\n  thimble status /mnt/os --log 100',
    )
    .action(async (folder: string | undefined, _: unknown, self: Command) =>
      run(folder, self.optsWithGlobals<StatusOptions>()),
    );
}

async function run(folder: string | undefined, options: StatusOptions): Promise<void> {
  const { watch, log, catalogs, metrics } = options;
  if (log !== undefined || catalogs || metrics) return showDetail(folder, options);
  if (watch === undefined) return show(folder, options);
  const seconds = watch === true ? 2 : parseCount(watch, 'seconds', 1, MAX_WATCH_SECONDS);
  for (;;) {
    if (process.stdout.isTTY && !options.json) process.stdout.write('\x1b[H\x1b[2J');
    await show(folder, options);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

async function show(folder: string | undefined, options: StatusOptions): Promise<void> {
  const reports = await reportMounts(folder);
  const value = folder === undefined ? { mounts: reports } : reports[0];
  printResult(options, value, formatReports(reports, Date.now() / 1000));
}

async function showDetail(folder: string | undefined, options: StatusOptions): Promise<void> {
  const socket = controlSocketOf(folder ?? '.');
  if (options.catalogs) {
    const call = { method: 'GET', path: '/catalogs', timeoutMs: LONG_TIMEOUT_MS } as const;
    const { catalogs } = await callControlJson<{ catalogs: CatalogReport[] }>(socket, call);
    const lines = catalogs.map(
      ({ path, hash, entries }) => `${formatCount(entries).padStart(12)}  ${hash}  ${path}`,
    );
    printResult(
      options,
      { catalogs },
      [
        `${'ENTRIES'.padStart(12)}  HASH${' '.repeat((catalogs[0]?.hash.length ?? 40) - 2)}PATH`,
        ...lines,
      ].join('\n'),
    );
    return;
  }
  const lines =
    options.log === true || options.log === undefined
      ? 50
      : parseCount(options.log, 'a number of lines', 1, MAX_LINES);
  const path = options.metrics ? '/metrics' : `/log?lines=${lines}`;
  const text = await callControl(socket, { method: 'GET', path, timeoutMs: ANSWER_TIMEOUT_MS });
  printResult(options, { text }, text.trimEnd());
}
