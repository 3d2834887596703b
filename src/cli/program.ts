/** The tree of commands. Each is loaded only when it is the one that runs. */

import { readFileSync } from 'node:fs';
import { Command } from 'commander';

interface CommandModule {
  /** Adds arguments, options, help and the action. */
  configure(command: Command): void;
}

interface CommandRow {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

const COMMANDS: readonly CommandRow[] = [
  {
    name: 'demo',
    summary: 'build a Debian repository, boot machines from it, and show the figures',
    load: () => import('./commands/demo.ts'),
  },
  { name: 'repo', summary: 'create and look after repositories', load: () => import('./commands/repo.ts') },
  {
    name: 'key',
    summary: 'show, change and protect the keys of a repository',
    load: () => import('./commands/key.ts'),
  },
  {
    name: 'publish',
    summary: 'publish a folder, archive, image or transaction as the next revision',
    load: () => import('./commands/publish.ts'),
  },
  {
    name: 'transaction',
    summary: 'open the published tree for changes with any tool',
    load: () => import('./commands/transaction.ts'),
  },
  {
    name: 'abort',
    summary: 'give up what a transaction has changed',
    load: () => import('./commands/abort.ts'),
  },
  {
    name: 'tag',
    summary: 'name snapshots; list, show and remove names',
    load: () => import('./commands/tag.ts'),
  },
  {
    name: 'rollback',
    summary: 'publish an older snapshot again, as the next revision',
    load: () => import('./commands/rollback.ts'),
  },
  { name: 'log', summary: 'list the revisions of a repository', load: () => import('./commands/log.ts') },
  {
    name: 'diff',
    summary: 'show what differs between two snapshots',
    load: () => import('./commands/diff.ts'),
  },
  { name: 'serve', summary: 'serve repositories over HTTP', load: () => import('./commands/serve.ts') },
  {
    name: 'replicate',
    summary: 'make and keep a copy of a repository',
    load: () => import('./commands/replicate.ts'),
  },
  { name: 'mount', summary: 'mount a snapshot of a repository', load: () => import('./commands/mount.ts') },
  {
    name: 'config',
    summary: 'show and check the configuration of mounts',
    load: () => import('./commands/config.ts'),
  },
  { name: 'umount', summary: 'unmount it', load: () => import('./commands/umount.ts') },
  {
    name: 'reload',
    summary: 'serve a mount by a new process, also of another version',
    load: () => import('./commands/reload.ts'),
  },
  {
    name: 'status',
    summary: 'show how mounts are',
    load: () => import('./commands/status.ts'),
  },
  {
    name: 'doctor',
    summary: 'find out why a mount does not work, and what to do',
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'remount',
    summary: 'bring a mount to the newest revision now',
    load: () => import('./commands/remount.ts'),
  },
  {
    name: 'complete',
    summary: 'download the rest of a mount in the background',
    load: () => import('./commands/complete.ts'),
  },
  {
    name: 'preload',
    summary: 'fill a cache folder with a snapshot',
    load: () => import('./commands/preload.ts'),
  },
  {
    name: 'cache',
    summary: 'keep files of a mount in its cache, or drop them',
    load: () => import('./commands/cache.ts'),
  },
  {
    name: 'network',
    summary: 'show and change the servers and proxies of a mount',
    load: () => import('./commands/network.ts'),
  },
  {
    name: 'talk',
    summary: 'say to mounts what scripts say with cvmfs_talk',
    load: () => import('./commands/talk.ts'),
  },
  {
    name: 'log-level',
    summary: 'let a mount log more or less',
    load: () => import('./commands/log-level.ts'),
  },
  { name: 'dump', summary: 'print every entry of a snapshot', load: () => import('./commands/dump.ts') },
  {
    name: 'export',
    summary: 'write a snapshot out as a folder, an archive or an image',
    load: () => import('./commands/export.ts'),
  },
  {
    name: 'check',
    summary: 'check that a snapshot is sound and complete',
    load: () => import('./commands/check.ts'),
  },
  {
    name: 'gc',
    summary: 'delete what no snapshot needs any more',
    load: () => import('./commands/gc.ts'),
  },
  {
    name: 'record',
    summary: 'record which objects a workload reads from a mount',
    load: () => import('./commands/record.ts'),
  },
  {
    name: 'profile',
    summary: 'publish profiles: objects that a mount or a boot streams ahead',
    load: () => import('./commands/profile.ts'),
  },
  { name: 'os', summary: 'build operating system trees', load: () => import('./commands/os.ts') },
  { name: 'image', summary: 'build boot images', load: () => import('./commands/image.ts') },
  { name: 'vm', summary: 'run virtual machines', load: () => import('./commands/vm.ts') },
  {
    name: 'completion',
    summary: 'print a completion script for the shell',
    load: () => import('./commands/completion.ts'),
  },
];

const { version: VERSION } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string };

/** The whole command tree; only the commands in `wanted` know their options, or all if it is `undefined`. */
export async function buildProgram(wanted: readonly string[] | undefined): Promise<Command> {
  const program = new Command('thimble')
    .description('Operating systems on demand: publish once, boot from a tiny image.')
    .version(VERSION)
    .option('--json', 'print results and errors as JSON')
    .option('--debug', 'print stacks of errors')
    .option(
      '--config <folder>',
      'folder with settings and keys (default: /etc/thimble, or ~/.config/thimble)',
    )
    .option(
      '--passphrase-file <file>',
      'passphrase of private keys (default: THIMBLE_PASSPHRASE_FILE, or asked for)',
    )
    .helpCommand(false)
    .addHelpText('after', '\nExample:\n  thimble demo');
  for (const { name, summary, load } of COMMANDS) {
    const command = program.command(name).summary(summary);
    if (wanted === undefined || wanted.includes(name)) (await load()).configure(command);
    else command.allowUnknownOption();
  }
  return program;
}
