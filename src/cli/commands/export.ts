import type { Command } from 'commander';
import type { MountedSnapshot } from '../../client/mounted-snapshot.ts';
import type { Snapshot } from '../../client/repository.ts';
import { SnapshotReader } from '../../client/snapshot-reader.ts';
import type { WalkedEntry } from '../../client/walk.ts';
import { ThimbleError } from '../../core/errors.ts';
import { silentLog } from '../../core/ports.ts';
import type { Tree } from '../../core/tree.ts';
import { S_IFDIR, S_IFMT } from '../../core/vfs.ts';
import {
  EXPORT_FORMATS,
  type ExportFormat,
  type ExportReport,
  exportTree,
} from '../../export/export-tree.ts';
import { SnapshotTree } from '../../export/snapshot-tree.ts';
import { SpoolCache } from '../../export/spool-cache.ts';
import { openRepository } from '../../node/repository-access.ts';
import { resolveAddress } from '../client-settings.ts';
import { openSnapshot } from '../read-repository.ts';
import { addContentOptions, type ContentOptions, selectionOf, symlinkVariables } from '../reader-options.ts';
import { formatBytes, formatCount, printResult, styled, withProgress } from '../terminal.ts';

interface ExportOptions extends ContentOptions {
  readonly format: string;
  readonly output: string;
  readonly path?: string;
  readonly platform?: string;
}

type ExportResult = Omit<ExportReport, 'losses'> & {
  readonly fqrn: string;
  readonly rootHash: string;
  readonly path: string;
  readonly format: string;
  readonly output: string;
  readonly notKept: ExportReport['losses'];
};

export function configure(command: Command): void {
  addContentOptions(
    command
      .argument('<source>', 'address, storage folder or name of a repository')
      .requiredOption('--format <format>', EXPORT_FORMATS.join(', '))
      .requiredOption('--output <path>', 'what to write; - for a tar stream on standard output')
      .option('--path <directory>', 'export only this directory and what is below it', '/')
      .option('--platform <os/arch>', 'what an OCI image says it is for (default: this machine)'),
  )
    .addHelpText(
      'after',
      `
Everything is verified on the way; what a format cannot keep is listed at the end. Folders are made new, files are
replaced when the new one is whole. Symlinks with variables stay as published, unless --variable is given.

Examples:
  thimble export os.example.org --format dir --output ./tree --tag v1
  thimble export http://host:8000/cvmfs/os.example.org --key os.example.org.pub --format tar --output - | tar -t
  thimble export os.example.org --format oci --output ./image && skopeo copy oci:image docker-archive:image.tar
  thimble export os.example.org --format squashfs --output usr.squashfs --path /usr`,
    )
    .action(async (source: string, _: unknown, self: Command) =>
      run(source, self.optsWithGlobals<ExportOptions>()),
    );
}

async function run(source: string, options: ExportOptions): Promise<void> {
  const format = formatOf(options);
  const selection = selectionOf(options);
  const spool = new SpoolCache();
  const access = openRepository(resolveAddress(source, options, options), {
    cacheFolder: undefined,
    cache: spool,
    cacheLimitBytes: 0,
    log: silentLog,
  });
  try {
    const { fqrn } = access.repository;
    const snapshot = await access.repository.resolve(selection);
    const mounted = await openSnapshot(access, snapshot, symlinkVariables(options, fqrn));
    const from = await directoryAt(mounted, options.path ?? '/');
    const tree = new SnapshotTree(fqrn, {
      mounted,
      objects: access.objects,
      spool,
      from,
      expandSymlinks: options.variable !== undefined,
    });
    const report = await exported(tree, format, { fqrn, snapshot }, options);
    const { losses, ...rest } = report;
    show(options, {
      fqrn,
      rootHash: snapshot.rootCatalog,
      path: mounted.vfs.pathOf(from.node) || '/',
      format,
      output: options.output,
      ...rest,
      notKept: losses,
    });
  } finally {
    access.close();
  }
}

/** Throws USAGE. */
function formatOf({ format, output, platform }: ExportOptions): ExportFormat {
  const known = EXPORT_FORMATS.find((name) => name === format);
  if (known === undefined) {
    throw new ThimbleError('USAGE', `Cannot export as ${JSON.stringify(format)}`, {
      hint: `formats are ${EXPORT_FORMATS.join(', ')}`,
    });
  }
  if (output === '-' && known !== 'tar') {
    throw new ThimbleError('USAGE', `Cannot write ${known} to standard output`, {
      hint: 'only tar can be streamed',
    });
  }
  if (output === '-' && process.stdout.isTTY) {
    throw new ThimbleError('USAGE', 'Cannot write an archive to a terminal', {
      hint: 'give a file, or send it on: --output - | tar -t',
    });
  }
  if (platform !== undefined && known !== 'oci') {
    throw new ThimbleError('USAGE', `Cannot use --platform: ${known} has none`);
  }
  return known;
}

/** Throws NOT_FOUND, USAGE. */
async function directoryAt(mounted: MountedSnapshot, path: string): Promise<WalkedEntry> {
  const found = await new SnapshotReader(mounted).find(Buffer.from(path).toString('latin1'));
  if (found === undefined)
    throw new ThimbleError('NOT_FOUND', `Cannot export ${path}: it is not in the snapshot`);
  if ((found.attributes.mode & S_IFMT) === S_IFDIR) return found;
  throw new ThimbleError('USAGE', `Cannot export ${path}: it is not a directory`);
}

function exported(
  tree: Tree,
  format: ExportFormat,
  { fqrn, snapshot }: { readonly fqrn: string; readonly snapshot: Snapshot },
  options: ExportOptions,
): Promise<ExportReport> {
  const title = options.output === '-' ? `Export ${fqrn}` : `Export ${fqrn} to ${options.output}`;
  return withProgress(
    title,
    (progress) =>
      exportTree(tree, {
        format,
        output: options.output === '-' ? process.stdout : options.output,
        fqrn,
        rootHash: snapshot.rootCatalog,
        path: options.path ?? '/',
        ref: snapshot.tag,
        platform: options.platform,
        onProgress: (state) => progress.update(() => describe(state)),
      }),
    describe,
  );
}

function describe({ entries, bytes }: Pick<ExportReport, 'entries' | 'bytes'>): string {
  return `${formatCount(entries)} entries, ${formatBytes(bytes)}`;
}

/** Standard output may be taken by the archive. */
function show(options: ExportOptions, result: ExportResult): void {
  if (!options.json) {
    for (const { what, count, first, why } of result.notKept) {
      process.stderr.write(
        `${styled('yellow', 'not kept:')} ${what} of ${formatCount(count)} ${count === 1 ? 'entry' : 'entries'}, the first ${first}: ${why}\n`,
      );
    }
  }
  if (options.output !== '-') {
    const image = result.digest === undefined ? '' : `, image ${result.digest}`;
    printResult(options, result, `Exported ${result.rootHash} to ${options.output}${image}`);
  } else if (options.json) process.stderr.write(`${JSON.stringify(result)}\n`);
}
