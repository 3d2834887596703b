import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import { formatUsers } from '../../node/mount-users.ts';
import type { Ended } from '../../publish/transaction.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';
import { withTransaction } from '../transactions.ts';

interface AbortOptions extends GlobalOptions {
  readonly force?: boolean;
}

export function configure(command: Command): void {
  command
    .argument('<fqrn>', 'repository')
    .option('--force', 'do not ask, also when somebody uses the folder')
    .addHelpText('after', '\nExample:\n  thimble abort os.example.org')
    .action(async (name: string, _: unknown, self: Command) => abort(name, self.optsWithGlobals()));
}

async function abort(name: string, options: AbortOptions): Promise<void> {
  if (!options.force && process.stdin.isTTY) await confirm(name);
  const ended = await withTransaction(name, options, (transaction) =>
    transaction.abort({ force: options.force ?? false }),
  );
  printResult(
    options,
    { fqrn: name, users: ended.users },
    `Gave up the transaction of ${name}${noteOf(ended)}`,
  );
}

/** What to say of a mount that goes later. */
export function noteOf({ users }: Ended): string {
  return users.length === 0
    ? ''
    : `; its folder is still in use by ${formatUsers(users)}, and goes when they end`;
}

async function confirm(name: string): Promise<void> {
  const { createInterface } = await import('node:readline/promises');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await terminal.question(`Give up all changes to ${name}? [y/N] `);
  terminal.close();
  if (/^y(es)?$/i.test(answer.trim())) return;
  throw new ThimbleError('CANCELLED', `The transaction of ${name} stays open`);
}
