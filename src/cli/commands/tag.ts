import type { Command } from 'commander';
import { findTag, type Tag } from '../../core/history.ts';
import { openPublisher } from '../publisher-ports.ts';
import { withRepository } from '../read-repository.ts';
import {
  addAddressOptions,
  addSelectionOptions,
  type SelectionOptions,
  selectionOf,
} from '../reader-options.ts';
import type { AddressOptions } from '../settings.ts';
import { formatTime, type GlobalOptions, printResult } from '../terminal.ts';

type ReadOptions = AddressOptions & GlobalOptions;
type AddOptions = SelectionOptions & GlobalOptions & { readonly message?: string };

export function configure(tag: Command): void {
  tag.helpCommand(false).addHelpText('after', '\nExample:\n  thimble tag list os.example.org');
  addAddressOptions(tag.command('list <source>'))
    .summary('list the named snapshots, newest first')
    .addHelpText('after', '\nExample:\n  thimble tag list os.example.org')
    .action(async (source: string, _: unknown, command: Command) => list(source, command.optsWithGlobals()));
  addAddressOptions(tag.command('show <source> <name>'))
    .summary('show all that is known of one name')
    .addHelpText('after', '\nExample:\n  thimble tag show os.example.org v1 --json')
    .action(async (source: string, name: string, _: unknown, command: Command) =>
      show(source, name, command.optsWithGlobals()),
    );
  addSelectionOptions(tag.command('add <fqrn> <name>'))
    .summary('give a snapshot a name, the newest unless another is chosen')
    .option('--message <text>', 'what it is')
    .addHelpText(
      'after',
      '\nExamples:\n  thimble tag add os.example.org stable --message "passed all tests"\n  thimble tag add os.example.org last-week --date 2026-11-15',
    )
    .action(async (fqrn: string, name: string, _: unknown, command: Command) =>
      add(fqrn, name, command.optsWithGlobals()),
    );
  tag
    .command('remove <fqrn> <names...>')
    .summary('take names away; the snapshots stay')
    .addHelpText('after', '\nExample:\n  thimble tag remove os.example.org stable v1')
    .action(async (fqrn: string, names: string[], _: unknown, command: Command) =>
      remove(fqrn, names, command.optsWithGlobals()),
    );
}

function readTags(source: string, options: ReadOptions) {
  return withRepository(source, options, async ({ repository }) =>
    repository.fetchHistory(await repository.fetchManifest()),
  );
}

async function list(source: string, options: ReadOptions): Promise<void> {
  const { tags } = await readTags(source, options);
  const lines = tags.map(({ name, revision, timestampSeconds, rootCatalog, description }) =>
    `${name.padEnd(24)} ${String(revision).padStart(6)}  ${formatTime(timestampSeconds)}  ${rootCatalog}  ${description}`.trimEnd(),
  );
  printResult(options, tags, lines.join('\n') || 'There are no tags.');
}

async function show(source: string, name: string, options: ReadOptions): Promise<void> {
  printTag(options, findTag(await readTags(source, options), name));
}

async function add(fqrn: string, name: string, options: AddOptions): Promise<void> {
  const selection = selectionOf(options);
  printTag(
    options,
    await openPublisher(fqrn, options).addTag({ name, description: options.message ?? '' }, selection),
  );
}

async function remove(fqrn: string, names: readonly string[], options: GlobalOptions): Promise<void> {
  const removed = await openPublisher(fqrn, options).removeTags(names);
  const lines = removed.map(
    ({ name, revision, rootCatalog }) => `Removed ${name}: revision ${revision}, ${rootCatalog}`,
  );
  printResult(options, removed, lines.join('\n'));
}

function printTag(options: GlobalOptions, tag: Tag): void {
  const lines = [
    `name         ${tag.name}`,
    `revision     ${tag.revision}`,
    `time         ${formatTime(tag.timestampSeconds)}`,
    `root hash    ${tag.rootCatalog}`,
    `catalog size ${tag.rootCatalogSizeBytes}`,
    `branch       ${tag.branch || '(trunk)'}`,
    `message      ${tag.description}`.trimEnd(),
  ];
  printResult(options, tag, lines.join('\n'));
}
