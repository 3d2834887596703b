/** The command line. */

import { type Command, CommanderError } from 'commander';
import { EXIT_CODES } from './exit-codes.ts';
import { buildProgram } from './program.ts';
import { type GlobalOptions, reportError } from './terminal.ts';

async function run(args: readonly string[]): Promise<number> {
  // The first word that is no option, nor the value of --config, is the command.
  const words = args.filter((arg, i) => !arg.startsWith('-') && args[i - 1] !== '--config');
  const program = await buildProgram(words.slice(0, 1));
  const everywhere = (command: Command) => {
    command.exitOverride();
    for (const child of command.commands) everywhere(child);
  };
  everywhere(program);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODES.USAGE;
    return reportError(error, program.opts<GlobalOptions>());
  }
}

if (import.meta.main) {
  // A reader that has seen enough, such as `head`, is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  process.exitCode = await run(process.argv.slice(2));
}
