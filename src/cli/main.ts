/** The command line. */

import { type Command, CommanderError } from 'commander';
import { ThimbleError } from '../core/errors.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { buildProgram } from './program.ts';
import { type GlobalOptions, reportError } from './terminal.ts';

/** Options before the command that have a value. */
const VALUED = ['--config', '--passphrase-file'];

async function run(args: readonly string[]): Promise<number> {
  // The first word that is no option, nor the value of one, is the command.
  const words = args.filter((arg, i) => !arg.startsWith('-') && !VALUED.includes(args[i - 1] ?? ''));
  const program = await buildProgram(words.slice(0, 1));
  const everywhere = (command: Command) => {
    command.exitOverride().configureOutput({ outputError: () => {} });
    for (const child of command.commands) everywhere(child);
  };
  everywhere(program);
  const known = words.slice(0, 1).filter((word) => program.commands.some((one) => one.name() === word));
  try {
    await program.parseAsync([...args], { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportError(error, program.opts<GlobalOptions>());
    if (error.exitCode === 0) return 0;
    // Help in the place of a missing command: it says what there is.
    if (error.code === 'commander.help') return EXIT_CODES.USAGE;
    return reportError(usageError(error, known), { json: args.includes('--json') });
  }
}

/** What commander complains about, as all errors are told. */
function usageError({ message }: CommanderError, command: readonly string[]): ThimbleError {
  const [complaint = '', suggestion] = message.replace(/^error: /, '').split('\n');
  const help = ['thimble', ...command, '--help'].join(' ');
  return new ThimbleError('USAGE', complaint, {
    hint: suggestion?.replace(/^\((.*)\)$/, '$1') ?? `see: ${help}`,
  });
}

if (import.meta.main) {
  // A reader that has seen enough, such as `head`, is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  process.exitCode = await run(process.argv.slice(2));
}
