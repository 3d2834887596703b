import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { MountedSnapshot } from '../../client/mounted-snapshot.ts';
import { defaultCacheFolder } from '../../config/places.ts';
import { ThimbleError } from '../../core/errors.ts';
import { silentLog } from '../../core/ports.ts';
import { buildIso, type ImageParts } from '../../image/build-image.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { openRepository } from '../../node/repository-access.ts';
import { resolveAddress } from '../client-settings.ts';
import { addReaderOptions, type ReaderOptions, selectionOf } from '../reader-options.ts';
import { formatBytes, printResult, withProgress } from '../terminal.ts';

interface BuildOptions extends ReaderOptions {
  readonly repo: string;
  readonly format: string;
  readonly output: string;
  readonly from?: string;
  readonly profile?: string;
}

const MEMORY_BYTES = 512 * 1024 * 1024;

export function configure(image: Command): void {
  image
    .helpCommand(false)
    .addHelpText(
      'after',
      '\nExample:\n  thimble image build --repo http://10.0.2.2:8000/cvmfs/os.example.org --key os.example.org.pub --output os.iso',
    );
  addReaderOptions(
    image
      .command('build')
      .summary('make a bootable image of a kernel and an initrd')
      .requiredOption('--repo <address>', 'the repository, as the machine will reach it')
      .requiredOption('--output <file>', 'image to write')
      .option('--format <format>', 'iso', 'iso')
      .option('--profile <name>', 'stream the objects of a profile while the machine boots')
      .option('--from <source>', 'read the kernel from here instead, for instance from the storage folder'),
  )
    .addHelpText(
      'after',
      '\nWithout --tag, --date or --root-hash the machine boots the newest snapshot of the day.\n\nExample:\n  thimble image build --repo http://10.0.2.2:8000/cvmfs/os.example.org --key os.example.org.pub --output os.iso',
    )
    .action(async (_: unknown, command: Command) => build(command.optsWithGlobals()));
}

async function build(options: BuildOptions): Promise<void> {
  if (options.format !== 'iso') {
    throw new ThimbleError('UNSUPPORTED', `Cannot build an image in format ${options.format}`, {
      hint: 'iso is the one there is',
    });
  }
  const parts = await buildImage(options);
  const bytes = statSync(options.output).size;
  printResult(
    options,
    { output: options.output, bytes, ...parts },
    `Built ${options.output}, ${formatBytes(bytes)}: kernel ${parts.kernelVersion} (${formatBytes(parts.kernelBytes)}), initrd ${formatBytes(parts.initrdBytes)} with ${parts.modules} modules and ${parts.engine}`,
  );
}

export async function buildImage(options: BuildOptions): Promise<ImageParts> {
  const asMachine = resolveAddress(options.repo, options, options);
  const asBuilder = options.from === undefined ? asMachine : resolveAddress(options.from, options, options);
  if (asBuilder.fqrn !== asMachine.fqrn) {
    throw new ThimbleError(
      'USAGE',
      `Cannot build image: --repo is ${asMachine.fqrn}, --from is ${asBuilder.fqrn}`,
    );
  }
  if (asMachine.servers.some((server) => !/^https?:/.test(server))) {
    throw new ThimbleError('USAGE', `Cannot build image: a machine cannot reach ${asMachine.servers[0]}`, {
      hint: 'give --repo the address of a web server, and --from the folder to read from',
    });
  }
  const selection = selectionOf(options);
  const access = openRepository(asBuilder, {
    cacheFolder: undefined,
    cacheLimitBytes: MEMORY_BYTES,
    log: silentLog,
  });
  return withProgress(
    `Build ${options.output}`,
    async (progress) => {
      try {
        const snapshot = await access.repository.resolve(selection);
        const mounted = await MountedSnapshot.open(snapshot, access.objects, { hashing: nodeHashing });
        return await buildIso(mounted, {
          fqrn: asMachine.fqrn,
          servers: asMachine.servers,
          proxies: asMachine.proxies,
          tag: options.tag,
          profile: options.profile,
          minimumRevision: snapshot.tag === undefined ? snapshot.revision : undefined,
          // A date is resolved now; the machine has no history to look it up in.
          rootHash: options.rootHash ?? (options.date === undefined ? undefined : snapshot.rootCatalog),
          keys: asMachine.keyFiles.map((file) => readFileSync(file)),
          blacklists: (asMachine.blacklistFiles ?? []).map((file) => readFileSync(file)),
          output: options.output,
          cacheFolder: join(defaultCacheFolder(), 'initrd'),
          onProgress: (what) => progress.update(() => what),
        });
      } finally {
        access.close();
      }
    },
    ({ kernelVersion }) => `kernel ${kernelVersion}, ${formatBytes(statSync(options.output).size)}`,
  );
}
