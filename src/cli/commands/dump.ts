import type { Command } from 'commander';
import { findRevision } from '../../client/revisions.ts';
import { ThimbleError } from '../../core/errors.ts';
import { dumpEntries, formatEntry } from '../dump-entries.ts';
import { openSnapshot, withRepository } from '../read-repository.ts';
import { addContentOptions, type ContentOptions, selectionOf, symlinkVariables } from '../reader-options.ts';
import { parseCount } from '../settings.ts';
import { printParts } from '../terminal.ts';

interface DumpOptions extends ContentOptions {
  readonly content?: boolean;
  readonly revision?: string;
  readonly hidden?: boolean;
  readonly bindMounts?: boolean;
}

export function configure(command: Command): void {
  addContentOptions(command.argument('<source>', 'address, storage folder or name of a repository'))
    .option(
      '--content',
      'read every file, and show the SHA-256 of its content; external ones with --external-server',
    )
    .option('--revision <number>', 'the snapshot with this revision, also one without a tag')
    .option('--hidden', 'also what is reached by name alone, such as /.cvmfs')
    .option(
      '--bind-mounts',
      'also what is below bind mount points, such as /.cvmfs/snapshots/TAG with --hidden',
    )
    .addHelpText(
      'after',
      '\nOne line an entry, in the order of paths: the dumps of two snapshots can be compared with diff.\n\nExamples:\n  thimble dump os.example.org --tag v1\n  thimble dump os.example.org --revision 12\n  thimble dump http://host:8000/cvmfs/os.example.org --key os.example.org.pub --json',
    )
    .action(async (source: string, _: unknown, self: Command) =>
      dump(source, self.optsWithGlobals<DumpOptions>()),
    );
}

async function dump(source: string, options: DumpOptions): Promise<void> {
  const selection = selectionOf(options);
  const revision = revisionOf(options);
  const walk = { withHidden: options.hidden ?? false, withBindMounts: options.bindMounts ?? false };
  const contents = !options.content ? 'none' : options.externalServer === undefined ? 'own' : 'all';
  await withRepository(source, options, async (access) => {
    const { fqrn } = access.repository;
    const variables = symlinkVariables(options, fqrn);
    const snapshot =
      revision === undefined
        ? await access.repository.resolve(selection)
        : await findRevision(access.repository, revision);
    const mounted = await openSnapshot(access, snapshot, variables);
    const { rootCatalog, tag } = snapshot;
    const head = { fqrn, revision: snapshot.revision, root_hash: rootCatalog, tag };
    await printParts(lines(options, head, dumpEntries(mounted, contents, walk)));
  });
}

/** Throws USAGE, also if the snapshot is named in another way too. */
function revisionOf({ revision, tag, date, rootHash }: DumpOptions): number | undefined {
  if (revision === undefined) return undefined;
  if (tag ?? date ?? rootHash) {
    throw new ThimbleError(
      'USAGE',
      'Cannot use --revision with --tag, --date or --root-hash: each names a snapshot',
    );
  }
  return parseCount(revision, 'a revision', 0, Number.MAX_SAFE_INTEGER);
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
