import type { Command } from 'commander';
import { unmountFuse } from '../../node/fuse-mount.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';

export function configure(command: Command): void {
  command
    .argument('<folder>', 'mount point')
    .addHelpText('after', '\nExample:\n  thimble umount /mnt/os')
    .action((folder: string, _: unknown, self: Command) => {
      const { lazily } = unmountFuse(folder);
      const note = lazily ? ': it is still in use, and goes when its last user is gone' : '';
      printResult(self.optsWithGlobals<GlobalOptions>(), { folder, lazily }, `Unmounted ${folder}${note}`);
    });
}
