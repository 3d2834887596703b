import type { Command } from 'commander';
import { listRevisions } from '../../client/revisions.ts';
import { withRepository } from '../read-repository.ts';
import { addAddressOptions } from '../reader-options.ts';
import { type AddressOptions, parseCount } from '../settings.ts';
import { formatTime, type GlobalOptions, printResult } from '../terminal.ts';
import { warnOfExpiry } from '../whitelist-warning.ts';

type LogOptions = AddressOptions & GlobalOptions & { readonly count?: string };

export function configure(command: Command): void {
  addAddressOptions(command.argument('<source>', 'address, storage folder or name of a repository'))
    .option('--count <number>', 'only so many, the newest')
    .addHelpText(
      'after',
      '\nOne line a revision: number, time, root hash, tags and message. Those without a tag are known as long as the\nrepository keeps its old tag databases.\n\nExamples:\n  thimble log os.example.org --count 10\n  thimble log http://host:8000/cvmfs/os.example.org --key os.example.org.pub --json',
    )
    .action(async (source: string, _: unknown, self: Command) => log(source, self.optsWithGlobals()));
}

async function log(source: string, options: LogOptions): Promise<void> {
  const count =
    options.count === undefined ? undefined : parseCount(options.count, 'a number of revisions', 1, 1e9);
  const { revisions, whitelist } = await withRepository(source, options, async ({ repository }) => ({
    revisions: await listRevisions(repository, count),
    whitelist: repository.whitelist,
  }));
  const lines = revisions.map(({ revision, timestampSeconds, rootCatalog, tags, message }) =>
    [
      String(revision).padStart(6),
      formatTime(timestampSeconds),
      rootCatalog,
      ...(tags.length === 0 ? [] : [tags.join(', ')]),
      ...(message === '' ? [] : [message]),
    ].join('  '),
  );
  printResult(options, revisions, lines.join('\n'));
  warnOfExpiry(whitelist, options);
}
