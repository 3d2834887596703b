import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import type { Tree } from '../../core/tree.ts';
import { FolderTree } from '../../publish/folder-tree.ts';
import type { PublishResult } from '../../publish/publisher.ts';
import type { PublishProgress } from '../../publish/store-tree.ts';
import { TarTree } from '../../publish/tar-tree.ts';
import { openPublisher } from '../publisher-ports.ts';
import { formatBytes, formatCount, type GlobalOptions, printResult, withProgress } from '../terminal.ts';

interface PublishCommandOptions extends GlobalOptions {
  readonly tag?: string;
  readonly message?: string;
}

export function configure(command: Command): void {
  command
    .argument('<fqrn>', 'repository')
    .argument('<source>', 'a folder, a tar file, or - for a tar stream on standard input')
    .option('--tag <name>', 'name the new snapshot')
    .option('--message <text>', 'what is new in it')
    .addHelpText(
      'after',
      '\nExamples:\n  thimble publish os.example.org ./tree --tag v1 --message "first release"\n  mmdebstrap trixie - | thimble publish os.example.org - --tag v2',
    )
    .action(async (name: string, source: string, _: unknown, self: Command) =>
      run(name, source, self.optsWithGlobals()),
    );
}

async function run(name: string, source: string, options: PublishCommandOptions): Promise<void> {
  const result = await publishTree(name, await openTree(source), options);
  const summary = result.changed
    ? `Revision ${result.revision} of ${name}, root hash ${result.rootCatalog}`
    : `Nothing has changed: ${name} stays at revision ${result.revision}`;
  printResult(options, result, summary);
}

export async function publishTree(
  name: string,
  tree: Tree,
  options: PublishCommandOptions,
): Promise<PublishResult> {
  if (options.message !== undefined && options.tag === undefined) {
    throw new ThimbleError('USAGE', 'Cannot keep a message without a tag', { hint: 'give --tag NAME too' });
  }
  const publisher = openPublisher(name, options);
  const tag =
    options.tag === undefined ? undefined : { name: options.tag, description: options.message ?? '' };
  return withProgress(
    `Publish ${tree.name}`,
    (progress) =>
      publisher.publish(tree, { tag, onProgress: (state) => progress.update(() => describe(state)) }),
    ({ entries, catalogs, newObjects, newBytes }) =>
      `${formatCount(entries)} entries in ${catalogs} catalogs, ${formatCount(newObjects)} new objects, ${formatBytes(newBytes)}`,
  );
}

function describe({ phase, entries, readBytes }: PublishProgress): string {
  if (phase !== 'files') return phase;
  return `${formatCount(entries)} entries, ${formatBytes(readBytes)} read`;
}

export async function openTree(source: string): Promise<Tree> {
  if (source === '-') return new TarTree(process.stdin, 'standard input');
  try {
    if ((await stat(source)).isDirectory()) return new FolderTree(source);
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read ${source}`, {
      hint: 'the source is a folder, a tar file, or - for standard input',
      cause: error,
    });
  }
  return new TarTree(readArchive(source), source);
}

async function* readArchive(path: string): AsyncGenerator<Uint8Array> {
  const stream = createReadStream(path, { highWaterMark: 1024 * 1024 });
  try {
    yield* stream;
  } catch (error) {
    // Only what the file system says; what the reader of this throws goes elsewhere.
    throw new ThimbleError('STORAGE', `Cannot read ${path}`, { cause: error });
  }
}
