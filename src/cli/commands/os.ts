import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { buildDebianTree, SERVER_PACKAGES } from '../../osrepo/debian-tree.ts';
import { formatBytes, type GlobalOptions, printResult, withProgress } from '../terminal.ts';

interface BuildOptions extends GlobalOptions {
  readonly suite: string;
  readonly output: string;
  readonly include?: string;
}

export function configure(os: Command): void {
  os.helpCommand(false).addHelpText('after', '\nExample:\n  thimble os build --output trixie.tar');
  os.command('build')
    .summary('build a minimal Debian server as a tar file')
    .requiredOption('--output <file>', 'tar file to write')
    .option('--suite <name>', 'Debian release', 'trixie')
    .option('--include <packages>', 'more packages, separated by commas')
    .addHelpText(
      'after',
      '\nExample:\n  thimble os build --output trixie.tar --include nginx-light\n  thimble publish os.example.org trixie.tar --tag v1',
    )
    .action(async (_: unknown, command: Command) => build(command.optsWithGlobals()));
}

async function build(options: BuildOptions): Promise<void> {
  const { suite, output } = options;
  await buildTree(suite, output, options.include?.split(',') ?? []);
  printResult(options, { suite, output, bytes: statSync(output).size }, `Built ${output}`);
}

export async function buildTree(suite: string, output: string, more: readonly string[]): Promise<void> {
  await withProgress(
    `Build Debian ${suite}`,
    (progress) =>
      buildDebianTree({
        suite,
        packages: [...SERVER_PACKAGES, ...more],
        output,
        onProgress: (line) => progress.update(() => line),
      }),
    () => formatBytes(statSync(output).size),
  );
}
