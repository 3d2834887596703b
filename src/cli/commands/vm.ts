import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parseSize } from '../../config/parse-size.ts';
import { ThimbleError } from '../../core/errors.ts';
import { accelerator } from '../../vm/accelerator.ts';
import { runOnTerminal } from '../../vm/machine.ts';
import type { GlobalOptions } from '../terminal.ts';

interface RunOptions extends GlobalOptions {
  readonly memory: string;
  readonly disk?: string;
  readonly diskSize: string;
  readonly tag?: string;
  readonly rootHash?: string;
  readonly port?: string;
  readonly sshKey?: string;
  readonly autologin?: boolean;
  readonly uefi?: boolean;
}

const MIB = 1024 * 1024;

export function configure(vm: Command): void {
  vm.helpCommand(false).addHelpText('after', '\nExample:\n  thimble vm run os.iso --autologin');
  vm.command('run <image>')
    .summary('run a machine, with its console on this terminal')
    .option('--memory <size>', 'memory of the machine', '1G')
    .option('--disk <file>', 'scratch disk for cache and changes; made if it is not there')
    .option('--disk-size <size>', 'size of a new scratch disk; it is sparse', '8G')
    .option('--tag <name>', 'boot the snapshot with this name')
    .option('--root-hash <hash>', 'boot the snapshot with this root hash')
    .option('--port <number>', 'port of this machine that leads to SSH of the other')
    .option('--ssh-key <file>', 'public key that root may log in with')
    .option('--autologin', 'log root in on the console; for a machine that nobody else can reach')
    .option('--uefi', 'boot with UEFI instead of BIOS')
    .addHelpText(
      'after',
      '\nCtrl-A X ends the machine at once, Ctrl-A H shows more keys.\n\nExamples:\n  thimble vm run os.iso --autologin\n  thimble vm run os.iso --disk scratch.img --port 2222 --ssh-key ~/.ssh/id_ed25519.pub\n  thimble vm run os.iso --tag v1',
    )
    .action(async (image: string, _: unknown, command: Command) => run(image, command.optsWithGlobals()));
}

async function run(image: string, options: RunOptions): Promise<void> {
  const settings: string[] = [];
  if (options.tag !== undefined) settings.push(`thimble.tag=${options.tag}`);
  if (options.rootHash !== undefined) settings.push(`thimble.root_hash=${options.rootHash}`);
  if ((await accelerator()) === 'tcg') {
    process.stderr.write('KVM cannot be used here: software emulation is slower by far.\n');
  }
  process.exitCode = await runOnTerminal({
    image,
    memoryMiB: Math.round(parseSize(options.memory) / MIB),
    disk:
      options.disk === undefined ? undefined : { path: options.disk, sizeBytes: parseSize(options.diskSize) },
    settings,
    sshPort: options.port === undefined ? undefined : Number(options.port),
    sshKey: options.sshKey === undefined ? undefined : readKey(options.sshKey),
    autologin: options.autologin ?? false,
    uefi: options.uefi ?? false,
  });
}

function readKey(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read key file ${path}`, { cause: error });
  }
}
