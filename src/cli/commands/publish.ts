import { createReadStream, existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type ByteString, byteStringOf } from '../../core/bytes/byte-string.ts';
import { encodeUtf8 } from '../../core/bytes/utf8.ts';
import { ThimbleError } from '../../core/errors.ts';
import { parseFqrn } from '../../core/fqrn.ts';
import type { Tree } from '../../core/tree.ts';
import { FolderMemory } from '../../publish/folder-memory.ts';
import type { PublishOptions, PublishResult } from '../../publish/publisher.ts';
import type { PublishProgress } from '../../publish/store-tree.ts';
import { openPublisher } from '../publisher-ports.ts';
import { registry } from '../settings.ts';
import { formatBytes, formatCount, type GlobalOptions, printResult, withProgress } from '../terminal.ts';
import { warnOfOwnExpiry } from '../whitelist-warning.ts';

export interface PublishCommandOptions extends GlobalOptions {
  readonly tag?: string;
  readonly message?: string;
  readonly force?: boolean;
  readonly keepOpen?: boolean;
  readonly into?: string;
  /** False with `--no-delete`. */
  readonly delete?: boolean;
  readonly external?: boolean;
  readonly directIo?: boolean;
  readonly platform?: string;
}

export function configure(command: Command): void {
  command
    .argument('<fqrn>', 'repository')
    .argument(
      '[source]',
      'a folder, a tar file, - for a tar stream on standard input, or oci:PATH[:TAG] for an image in an OCI layout; without it, the open transaction',
    )
    .option('--tag <name>', 'name the new snapshot')
    .option('--message <text>', 'what is new in it')
    .option('--force', 'publish a transaction while files are open for writing')
    .option('--keep-open', 'open the next transaction at once, in the same folder')
    .option('--into <path>', 'publish as this directory of the repository, and leave the rest as it is')
    .option('--no-delete', 'keep what is published and not in the source')
    .option('--external', 'publish hashes only: clients fetch the files by path from other servers')
    .option('--direct-io', 'have clients read the files past the page cache')
    .option('--platform <os/arch>', 'which image of an OCI layout (default: the only one, or this machine)')
    .addHelpText(
      'after',
      '\nExamples:\n  thimble publish os.example.org ./tree --tag v1 --message "first release"\n  mmdebstrap trixie - | thimble publish os.example.org - --tag v2\n  thimble publish os.example.org oci:./image:latest --platform linux/arm64\n  thimble publish os.example.org --tag v3     # what the open transaction has changed',
    )
    .action(async (name: string, source: string | undefined, _: unknown, self: Command) =>
      run(name, source, self.optsWithGlobals()),
    );
}

async function run(name: string, source: string | undefined, options: PublishCommandOptions): Promise<void> {
  if (options.message !== undefined && options.tag === undefined) {
    throw new ThimbleError('USAGE', 'Cannot keep a message without a tag', { hint: 'give --tag NAME too' });
  }
  if (source === undefined) {
    const { publishTransaction } = await import('../publish-transaction.ts');
    return publishTransaction(name, options);
  }
  if (options.force || options.keepOpen) {
    throw new ThimbleError('USAGE', 'Cannot publish: --force and --keep-open are for transactions only');
  }
  const tree = await openTree(source, sourceMemory(name, options), options.platform);
  const result = await publishTree(name, tree, options);
  printResult(options, result, describeResult(name, result));
  await warnOfOwnExpiry(name, options);
}

export function describeResult(name: string, result: PublishResult): string {
  return result.changed
    ? `Revision ${result.revision} of ${name}, root hash ${result.rootCatalog}`
    : `Nothing has changed: ${name} stays at revision ${result.revision}`;
}

export async function publishTree(
  name: string,
  tree: Tree,
  options: PublishCommandOptions,
): Promise<PublishResult> {
  const publisher = openPublisher(name, options);
  return withPublishProgress(tree.name, options, (more) =>
    publisher.publish(tree, {
      ...more,
      into: directoryPath(options.into),
      keepsOthers: options.delete === false,
      isExternal: options.external === true,
      isDirectIo: options.directIo === true,
    }),
  );
}

export async function withPublishProgress<T extends PublishResult>(
  what: string,
  { tag, message }: PublishCommandOptions,
  publish: (options: PublishOptions) => Promise<T>,
): Promise<T> {
  return withProgress(
    `Publish ${what}`,
    (progress) =>
      publish({
        tag: tag === undefined ? undefined : { name: tag, description: message ?? '' },
        onProgress: (state) => progress.update(() => describe(state)),
      }),
    ({ entries, catalogs, newObjects, newBytes }) =>
      `${formatCount(entries)} entries in ${catalogs} catalogs, ${formatCount(newObjects)} new objects, ${formatBytes(newBytes)}`,
  );
}

function describe({ phase, entries, readBytes }: PublishProgress): string {
  if (phase !== 'files') return phase;
  return `${formatCount(entries)} entries, ${formatBytes(readBytes)} read`;
}

/** Where the publisher keeps what it knows of the folder that was published last. */
function sourceMemory(name: string, options: PublishCommandOptions): FolderMemory {
  const path = join(registry(options).folderOf(parseFqrn(name)), 'source.index');
  return new FolderMemory(path, directoryPath(options.into));
}

/** `/` and an empty text are the root. Throws USAGE. */
function directoryPath(text = ''): ByteString {
  const names = text.split('/').filter((name) => name !== '');
  if (text !== '' && !text.startsWith('/')) {
    throw new ThimbleError('USAGE', `Cannot publish into ${text}: it is not an absolute path`, {
      hint: `paths in a repository begin with a slash: --into /${text}`,
    });
  }
  return byteStringOf(encodeUtf8(names.map((one) => `/${one}`).join('')));
}

/** `memory` is of use for folders only, `platform` for images only. */
export async function openTree(source: string, memory?: FolderMemory, platform?: string): Promise<Tree> {
  if (source.startsWith('oci:') || existsSync(join(source, 'oci-layout'))) {
    const { OciTree } = await import('../../publish/oci-tree.ts');
    // As skopeo has it: what is behind the first colon is the name of the image.
    const [, path = source, ref] = /^oci:([^:]*)(?::(.*))?$/s.exec(source) ?? [];
    return OciTree.open(path, { ref, platform });
  }
  if (platform !== undefined) {
    throw new ThimbleError('USAGE', `Cannot use --platform: ${source} is no OCI image layout`);
  }
  const [{ FolderTree }, { TarTree }] = await Promise.all([
    import('../../publish/folder-tree.ts'),
    import('../../publish/tar-tree.ts'),
  ]);
  if (source === '-') return new TarTree(process.stdin, 'standard input');
  try {
    if ((await stat(source)).isDirectory()) return new FolderTree(source, memory);
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read ${source}`, {
      hint: 'the source is a folder, a tar file, oci:PATH for an image, or - for standard input',
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
