import type { Command } from 'commander';
import { MountedSnapshot } from '../../client/mounted-snapshot.ts';
import { silentLog } from '../../core/ports.ts';
import { variablesOf } from '../../node/fuse-worker.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { openRepository } from '../../node/repository-access.ts';
import { dumpEntries, formatEntry } from '../dump-entries.ts';
import { addReaderOptions, type ReaderOptions, selectionOf } from '../reader-options.ts';
import { processVariables, resolveAddress } from '../settings.ts';

interface DumpOptions extends ReaderOptions {
  readonly content?: boolean;
}

/** Catalogs, and one file at a time. */
const MEMORY_BYTES = 64 * 1024 * 1024;
const WRITE_CHARACTERS = 64 * 1024;

export function configure(command: Command): void {
  addReaderOptions(command.argument('<source>', 'address, storage folder or name of a repository'))
    .option('--content', 'read every file, and show the SHA-256 of its content')
    .addHelpText(
      'after',
      '\nOne line an entry, in the order of paths: the dumps of two snapshots can be compared with diff.\n\nExamples:\n  thimble dump os.example.org --tag v1\n  thimble dump http://host:8000/cvmfs/os.example.org --key os.example.org.pub --json',
    )
    .action(async (source: string, _: unknown, self: Command) =>
      dump(source, self.optsWithGlobals<DumpOptions>()),
    );
}

async function dump(source: string, options: DumpOptions): Promise<void> {
  const address = resolveAddress(source, options, options);
  const selection = selectionOf(options);
  const access = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: MEMORY_BYTES,
    log: silentLog,
  });
  try {
    const snapshot = await access.repository.resolve(selection);
    const mounted = await MountedSnapshot.open(snapshot, access.objects, {
      hashing: nodeHashing,
      variable: variablesOf({ ...processVariables(), CVMFS_FQRN: address.fqrn }),
    });
    const { rootCatalog, revision, tag } = snapshot;
    const head = { fqrn: address.fqrn, revision, root_hash: rootCatalog, tag };
    await write(lines(options, head, dumpEntries(mounted, options.content ?? false)));
  } finally {
    access.close();
  }
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

/** Writes in pieces, no faster than the reader takes them. */
async function write(parts: AsyncIterable<string>): Promise<void> {
  let text = '';
  const flush = async () => {
    const isTaken = process.stdout.write(text);
    text = '';
    if (!isTaken) await new Promise((resolve) => process.stdout.once('drain', resolve));
  };
  for await (const part of parts) {
    text += part;
    if (text.length >= WRITE_CHARACTERS) await flush();
  }
  await flush();
}
