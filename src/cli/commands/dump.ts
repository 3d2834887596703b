import type { Command } from 'commander';
import { dumpEntries, formatEntry } from '../dump-entries.ts';
import { openSnapshot, withRepository } from '../read-repository.ts';
import { addContentOptions, type ContentOptions, selectionOf, symlinkVariables } from '../reader-options.ts';
import { printParts } from '../terminal.ts';

interface DumpOptions extends ContentOptions {
  readonly content?: boolean;
}

export function configure(command: Command): void {
  addContentOptions(command.argument('<source>', 'address, storage folder or name of a repository'))
    .option(
      '--content',
      'read every file, and show the SHA-256 of its content; external ones with --external-server',
    )
    .addHelpText(
      'after',
      '\nOne line an entry, in the order of paths: the dumps of two snapshots can be compared with diff.\n\nExamples:\n  thimble dump os.example.org --tag v1\n  thimble dump http://host:8000/cvmfs/os.example.org --key os.example.org.pub --json',
    )
    .action(async (source: string, _: unknown, self: Command) =>
      dump(source, self.optsWithGlobals<DumpOptions>()),
    );
}

async function dump(source: string, options: DumpOptions): Promise<void> {
  const selection = selectionOf(options);
  const contents = !options.content ? 'none' : options.externalServer === undefined ? 'own' : 'all';
  await withRepository(source, options, async (access) => {
    const { fqrn } = access.repository;
    const variables = symlinkVariables(options, fqrn);
    const snapshot = await access.repository.resolve(selection);
    const mounted = await openSnapshot(access, snapshot, variables);
    const { rootCatalog, revision, tag } = snapshot;
    const head = { fqrn, revision, root_hash: rootCatalog, tag };
    await printParts(lines(options, head, dumpEntries(mounted, contents)));
  });
}

/** JSON has an entry on each line too: one can be had without holding all of them. */
async function* lines(
  options: DumpOptions,
  head: object,
  entries: ReturnType<typeof dumpEntries>,
): AsyncGenerator<string> {
  if (options.json) yield `${JSON.stringify(head).slice(0, -1)},"entries":[\n`;
  let separator = '';
  for await (const entry of entries) {
    yield options.json ? `${separator}${JSON.stringify(entry)}` : `${formatEntry(entry)}\n`;
    separator = ',\n';
  }
  if (options.json) yield '\n]}\n';
}
