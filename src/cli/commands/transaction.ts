import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import type { TransactionState } from '../../publish/transaction-state.ts';
import { formatTime, printParts, printResult } from '../terminal.ts';
import { CACHE_SIZE, type TransactionOptions, withTransaction } from '../transactions.ts';

interface TransactionCommandOptions extends TransactionOptions {
  readonly at?: string;
  readonly scratch?: string;
  readonly resume?: boolean;
  readonly status?: boolean;
  readonly changes?: boolean;
}

const collect = (value: string, list: readonly string[] = []) => [...list, value];

export function configure(command: Command): void {
  command
    .argument('<fqrn>', 'repository')
    .option('--at <folder>', 'where the tree can be changed (default: /thimble/FQRN)')
    .option('--scratch <folder>', 'where changes are kept until they are published')
    .option('--server <address>', 'read from here instead of the storage; may be given again', collect)
    .option('--cache <folder>', 'where fetched content is kept, or "none" for memory only')
    .option('--cache-size <size>', 'limit of the cache', CACHE_SIZE)
    .option('--log <file>', 'log of the background process (default: thimble.log beside the cache)')
    .option('--resume', 'bring the folder of an open transaction back, after a crash or a reboot')
    .option('--status', 'tell whether a transaction is open, since when, by whom and where')
    .option('--changes', 'list what was changed')
    .addHelpText(
      'after',
      `
Changes stay in the transaction until "thimble publish FQRN" makes them the next revision, or "thimble abort FQRN" gives
them up.

Examples:
  thimble transaction os.example.org
  echo hello > /thimble/os.example.org/etc/motd
  thimble transaction os.example.org --changes
  thimble publish os.example.org --tag v2`,
    )
    .action(async (name: string, _: unknown, self: Command) => run(name, self.optsWithGlobals()));
}

async function run(name: string, options: TransactionCommandOptions): Promise<void> {
  const asked = (['resume', 'status', 'changes'] as const).filter((one) => options[one]);
  if (asked.length > 1) {
    throw new ThimbleError('USAGE', `Cannot do --${asked.join(' and --')} at once`);
  }
  if (options.status) return showStatus(name, options);
  if (options.changes) return showChanges(name, options);
  await open(name, options);
}

async function open(name: string, options: TransactionCommandOptions): Promise<void> {
  const state = await withTransaction(name, options, (transaction) =>
    options.resume
      ? transaction.resume()
      : transaction.begin({ mountpoint: options.at ?? defaultMountpoint(name), scratch: options.scratch }),
  );
  const verb = options.resume ? 'Resumed' : 'Opened';
  printResult(
    options,
    jsonState(name, state),
    [
      `${verb} a transaction of ${name} (revision ${state.revision})`,
      `Change ${state.mountpoint}, then: thimble publish ${name}`,
    ].join('\n'),
  );
}

export function defaultMountpoint(name: string): string {
  return `/thimble/${name}`;
}

async function showStatus(name: string, options: TransactionCommandOptions): Promise<void> {
  const state = await withTransaction(name, options, async (transaction) => transaction.status());
  if (state === undefined) {
    printResult(options, { fqrn: name, open: false }, `No transaction of ${name} is open`);
    return;
  }
  const lines = [
    `since        ${formatTime(state.startedSeconds)}`,
    `by           ${state.user} on ${state.host}`,
    `started from revision ${state.revision}, root hash ${state.rootCatalog}`,
    `folder       ${state.mountpoint}${state.mounted ? '' : ' (not mounted: thimble transaction --resume)'}`,
    `changes in   ${state.layers}`,
  ];
  printResult(options, { ...jsonState(name, state), mounted: state.mounted }, lines.join('\n'));
}

function jsonState(fqrn: string, state: TransactionState): object {
  const { rootCatalog, revision, startedSeconds, user, host, mountpoint, layers } = state;
  return { fqrn, open: true, rootCatalog, revision, startedSeconds, user, host, mountpoint, layers };
}

async function showChanges(name: string, options: TransactionCommandOptions): Promise<void> {
  const { formatListedChange, jsonListedChange, listChanges } = await import('../list-changes.ts');
  await withTransaction(name, options, async (transaction, base) => {
    const state = transaction.status();
    const changes = transaction.changes();
    // `changes` has complained if none is open.
    const listed = listChanges(changes, await base.mounted(state!.rootCatalog));
    if (options.json) {
      const found: object[] = [];
      for await (const change of listed) found.push(jsonListedChange(change));
      printResult(options, found, '');
      return;
    }
    await printParts(
      (async function* () {
        for await (const change of listed) yield `${formatListedChange(change)}\n`;
      })(),
    );
  });
}
