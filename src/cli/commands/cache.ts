import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import type { CacheChange } from '../../mount/control-cache.ts';
import { callControlJson } from '../../mount/control-client.ts';
import { controlSocketOf } from '../../mount/status-mounts.ts';
import { formatBytes, formatCount, type GlobalOptions, printResult } from '../terminal.ts';

/** Pinning fetches what is not there yet. */
const TIMEOUT_MS = 24 * 3600 * 1000;

interface Row {
  readonly name: string;
  readonly summary: string;
  readonly help: string;
  readonly method: 'POST' | 'DELETE';
  readonly path: string;
  readonly done: string;
}

const ROWS: readonly Row[] = [
  {
    name: 'pin',
    summary: 'fetch files, and never drop them from the cache',
    help: '\nOf a folder, all files in it and below. They stay until they are unpinned.\n\nExample:\n  thimble cache pin /mnt/os/usr/lib/modules /mnt/os/usr/bin/ssh',
    method: 'POST',
    path: '/pin',
    done: 'Pinned',
  },
  {
    name: 'unpin',
    summary: 'let the cache drop files again',
    help: '\nExample:\n  thimble cache unpin /mnt/os/usr/lib/modules',
    method: 'DELETE',
    path: '/pin',
    done: 'Unpinned',
  },
  {
    name: 'evict',
    summary: 'drop files from the cache now',
    help: '\nThey are fetched again when they are next read. Pinned files stay.\n\nExample:\n  thimble cache evict /mnt/os/usr/share/doc',
    method: 'POST',
    path: '/evict',
    done: 'Dropped',
  },
];

export function configure(cache: Command): void {
  cache.helpCommand(false).addHelpText('after', '\nExample:\n  thimble cache pin /mnt/os/usr/bin/ssh');
  for (const { name, summary, help, method, path, done } of ROWS) {
    cache
      .command(`${name} <paths...>`)
      .summary(summary)
      .addHelpText('after', help)
      .action(async (paths: string[], _: unknown, self: Command) => {
        const body = { paths: paths.map((one) => resolve(one)) };
        const call = { method, path, body, timeoutMs: TIMEOUT_MS };
        const result = await callControlJson<CacheChange>(socketOf(paths), call);
        const { files, objects, bytes } = result;
        const text = `${done} ${formatCount(files)} files, ${formatCount(objects)} objects, ${formatBytes(bytes)}`;
        printResult(self.optsWithGlobals<GlobalOptions>(), result, text);
      });
  }
}

/** Throws USAGE unless all are of one mount, NOT_FOUND. */
function socketOf(paths: readonly string[]): string {
  const [socket, ...others] = new Set(paths.map(controlSocketOf));
  if (socket !== undefined && others.length === 0) return socket;
  throw new ThimbleError('USAGE', 'Cannot use paths of several mounts at once');
}
