import type { Command } from 'commander';
import { callControlJson } from '../../mount/control-client.ts';
import type { RemountResult } from '../../mount/control-mount.ts';
import { controlSocketOf } from '../../mount/status-mounts.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';

/** A new root catalog has to be fetched within this. */
const TIMEOUT_MS = 120_000;

export function configure(command: Command): void {
  command
    .argument('<folder>', 'mount point')
    .addHelpText(
      'after',
      '\nA mount looks by itself from time to time; this makes it look now. Open files keep their content.\n\nExample:\n  thimble remount /mnt/os',
    )
    .action(async (folder: string, _: unknown, self: Command) => {
      const call = { method: 'POST', path: '/remount', timeoutMs: TIMEOUT_MS } as const;
      const result = await callControlJson<RemountResult>(controlSocketOf(folder), call);
      const { before, revision } = result;
      const text =
        before === revision
          ? `Up to date: revision ${revision}`
          : `Went from revision ${before} to ${revision}`;
      printResult(self.optsWithGlobals<GlobalOptions>(), result, text);
    });
}
