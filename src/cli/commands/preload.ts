import { join } from 'node:path';
import type { Command } from 'commander';
import { Completion, type CompletionStatus } from '../../client/complete.ts';
import { parseSize } from '../../config/parse-size.ts';
import { utf8 } from '../../core/bytes/utf8.ts';
import { ThimbleError } from '../../core/errors.ts';
import { silentLog } from '../../core/ports.ts';
import { nodeClock } from '../../node/clock.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { openRepository } from '../../node/repository-access.ts';
import { resolveAddress } from '../client-settings.ts';
import { completionText, parseRate } from '../completion-progress.ts';
import { addReaderOptions, collect, type ReaderOptions, selectionOf } from '../reader-options.ts';
import { printResult, withProgress } from '../terminal.ts';

interface PreloadOptions extends ReaderOptions {
  readonly cache: string;
  readonly cacheSize: string;
  readonly rate?: string;
  readonly externalServer?: readonly string[];
}

interface PreloadResult extends CompletionStatus {
  readonly fqrn: string;
  readonly rootCatalog: string;
  readonly revision: number | undefined;
  readonly folder: string;
}

/** Left free on the disk, if it is not a small one. */
const KEEP_FREE_BYTES = 64 * 1024 ** 2;

export function configure(command: Command): void {
  addReaderOptions(
    command
      .argument('<source>', 'address, storage folder or name of a repository')
      .argument(
        '[paths...]',
        'files and folders of the tree, such as /usr/lib; all of it where none is given',
      ),
  )
    .requiredOption('--cache <folder>', 'cache folder to fill, as "thimble mount --cache" takes it')
    .option('--cache-size <size>', 'limit of the cache', '1T')
    .option('--external-server <url>', 'where external files are, by path; may be given again', collect)
    .option('--rate <size>', 'bytes of content each second, such as 10M')
    .addHelpText(
      'after',
      '\nWhat is there is not fetched again: a preload that was broken off goes on. The folder can be the cache of mounts, or be\ncopied to a medium where mounts find it as a read-only tier below their own.\n\nExamples:\n  thimble preload http://host:8000/cvmfs/os.example.org --key os.example.org.pub --cache /srv/cache\n  thimble preload os.example.org /usr/bin /usr/lib --tag v1 --cache /media/stick',
    )
    .action(async (source: string, paths: string[], _: unknown, self: Command) =>
      preload(source, paths, self.optsWithGlobals<PreloadOptions>()),
    );
}

async function preload(source: string, paths: readonly string[], options: PreloadOptions): Promise<void> {
  const address = resolveAddress(source, options, options);
  const selection = selectionOf(options);
  const rateBytesPerSecond = parseRate(options.rate);
  const folder = join(options.cache, 'objects');
  const limitBytes = parseSize(options.cacheSize);
  const access = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: 0,
    cacheSettings: { folder, limitBytes, keepFreeBytes: KEEP_FREE_BYTES, lowerFolders: [] },
    log: silentLog,
  });
  try {
    const snapshot = await access.repository.resolve(selection);
    const { objects, cache } = access;
    const completion = new Completion(
      snapshot,
      { objects, cache, hashing: nodeHashing, clock: nodeClock },
      { paths: paths.map(utf8), rateBytesPerSecond },
    );
    const stop = () => completion.cancel();
    process.once('SIGINT', stop).once('SIGTERM', stop);
    const status = await withProgress(
      `Preloading ${address.fqrn}`,
      async (progress) => {
        const timer = setInterval(() => progress.update(() => completionText(completion.status())), 200);
        try {
          await completion.count();
          await completion.run();
        } finally {
          clearInterval(timer);
        }
        return completion.status();
      },
      completionText,
    );
    const { rootCatalog, revision } = snapshot;
    const result: PreloadResult = {
      fqrn: address.fqrn,
      rootCatalog,
      revision,
      folder: options.cache,
      ...status,
    };
    printResult(options, result, `${options.cache} has ${completionText(status)}`);
    verifyNothingIsMissing(status);
  } finally {
    access.close();
  }
}

/** Throws NOT_FOUND. */
function verifyNothingIsMissing({ missingObjects, lastError }: CompletionStatus): void {
  if (missingObjects === 0) return;
  throw new ThimbleError('NOT_FOUND', `Cannot fetch ${missingObjects} objects: ${lastError}`, {
    hint: 'see which with: thimble check --data',
  });
}
