import { resolve } from 'node:path';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import { ownerOf, stateFolderOf } from '../../mount/state-folder.ts';
import { isServerGone } from '../../mount/supervisor.ts';
import { unmountFuse } from '../../node/fuse-mount.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';

interface UmountOptions extends GlobalOptions {
  readonly lazy?: boolean;
}

export function configure(command: Command): void {
  command
    .argument('<folder>', 'mount point')
    .option('--lazy', 'do not wait: the mount point is free at once, users of the mount can go on')
    .addHelpText('after', '\nExamples:\n  thimble umount /mnt/os\n  thimble umount /mnt/os --lazy')
    .action(async (folder: string, _: unknown, self: Command) => {
      const options = self.optsWithGlobals<UmountOptions>();
      const owner = ownerOf(stateFolderOf(resolve(folder)));
      const { lazily } = unmountFuse(folder, options.lazy);
      if (!lazily && owner !== undefined && !(await isServerGone(owner))) {
        throw new ThimbleError('CONFLICT', `Cannot end process ${owner} of ${folder}, which is unmounted`, {
          hint: 'another mount namespace may still have it, such as that of a container',
        });
      }
      const note = lazily ? ': it is still in use, and goes when its last user is gone' : '';
      const text = options.lazy ? `Unmounted ${folder} lazily` : `Unmounted ${folder}${note}`;
      printResult(options, { folder, lazily }, text);
    });
}
