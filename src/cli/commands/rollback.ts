import type { Command } from 'commander';
import { TRUNK_PREVIOUS } from '../../core/history.ts';
import { openPublisher } from '../publisher-ports.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';

export function configure(command: Command): void {
  command
    .argument('<fqrn>', 'repository')
    .argument('[tag]', 'what to go back to', TRUNK_PREVIOUS)
    .addHelpText(
      'after',
      '\nThe older tree becomes the next revision, so every client moves to it. Its tag moves along, and younger tags are\nremoved; their snapshots stay and can be read by root hash.\n\nExamples:\n  thimble rollback os.example.org\n  thimble rollback os.example.org v1',
    )
    .action(async (name: string, tag: string, _: unknown, self: Command) =>
      rollback(name, tag, self.optsWithGlobals()),
    );
}

async function rollback(name: string, tag: string, options: GlobalOptions): Promise<void> {
  const result = await openPublisher(name, options).rollback(tag);
  const { revision, rootCatalog, target, removedTags } = result;
  const lines = [
    `Revision ${revision} of ${name}, root hash ${rootCatalog}: the tree of revision ${target.revision} again`,
    ...(removedTags.length === 0 ? [] : [`Removed younger tags: ${removedTags.join(', ')}`]),
  ];
  printResult(options, result, lines.join('\n'));
}
