import type { Command } from 'commander';
import { callControlJson } from '../../mount/control-client.ts';
import { ANSWER_TIMEOUT_MS, controlSocketOf } from '../../mount/status-mounts.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';

export function configure(command: Command): void {
  command
    .argument('<folder>', 'mount point')
    .argument('<level>', 'debug, info, warn or error: what is less than this is not written')
    .addHelpText(
      'after',
      '\nLasts until the mount ends. The log itself shows: thimble status DIR --log\n\nExample:\n  thimble log-level /mnt/os debug',
    )
    .action(async (folder: string, level: string, _: unknown, self: Command) => {
      const call = {
        method: 'POST',
        path: '/log-level',
        body: { level },
        timeoutMs: ANSWER_TIMEOUT_MS,
      } as const;
      const result = await callControlJson<{ level: string }>(controlSocketOf(folder), call);
      printResult(self.optsWithGlobals<GlobalOptions>(), result, `${folder} logs ${result.level} and above`);
    });
}
