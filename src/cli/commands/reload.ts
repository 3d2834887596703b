import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import { reloadServer } from '../../mount/supervisor.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';

interface ReloadOptions extends GlobalOptions {
  readonly to?: string;
}

export function configure(command: Command): void {
  command
    .argument('<folder>', 'mount point')
    .option('--to <installation>', 'folder of another Thimble, which serves the mount from now on')
    .addHelpText(
      'after',
      '\nThe mount stays, its users wait a moment. Settings are read again.\n\nExamples:\n  thimble reload /mnt/os\n  thimble reload /mnt/os --to /opt/thimble-1.2',
    )
    .action(async (folder: string, _: unknown, self: Command) => {
      const options = self.optsWithGlobals<ReloadOptions>();
      const program = options.to === undefined ? undefined : [launcherIn(resolve(options.to))];
      const serverPid = await reloadServer(resolve(folder), program);
      printResult(options, { folder, serverPid }, `Process ${serverPid} serves ${folder} now`);
    });
}

function launcherIn(installation: string): string {
  const launcher = join(installation, 'thimble');
  try {
    accessSync(launcher, constants.X_OK);
    return launcher;
  } catch (error) {
    throw new ThimbleError(
      'USAGE',
      `Cannot use ${installation} as an installation: it has no program thimble`,
      {
        cause: error,
      },
    );
  }
}
