import type { Command } from 'commander';
import { silentLog } from '../../core/ports.ts';
import { openRepository } from '../../node/repository-access.ts';
import { addReaderOptions, type ReaderOptions } from '../reader-options.ts';
import { resolveAddress } from '../settings.ts';
import { printResult } from '../terminal.ts';

const MEMORY_BYTES = 64 * 1024 * 1024;

export function configure(tag: Command): void {
  tag.helpCommand(false).addHelpText('after', '\nExample:\n  thimble tag list os.example.org');
  addReaderOptions(tag.command('list <source>'))
    .summary('list the named snapshots, newest first')
    .addHelpText('after', '\nExample:\n  thimble tag list os.example.org')
    .action(async (source: string, _: unknown, command: Command) => list(source, command.optsWithGlobals()));
}

async function list(source: string, options: ReaderOptions): Promise<void> {
  const address = resolveAddress(source, options, options);
  const access = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: MEMORY_BYTES,
    log: silentLog,
  });
  try {
    const { tags } = await access.repository.fetchHistory(await access.repository.fetchManifest());
    const lines = tags.map(({ name, revision, timestampSeconds, rootCatalog, description }) => {
      const time = new Date(timestampSeconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
      return `${name.padEnd(24)} ${String(revision).padStart(6)}  ${time}  ${rootCatalog}  ${description}`.trimEnd();
    });
    printResult(options, tags, lines.join('\n') || 'There are no tags.');
  } finally {
    access.close();
  }
}
