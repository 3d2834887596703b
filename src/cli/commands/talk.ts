import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { messageOf, ThimbleError } from '../../core/errors.ts';
import { STATE_FILES, stateFolderOf } from '../../mount/state-folder.ts';
import { findMounts, mountAt } from '../../mount/status-mounts.ts';
import { talk } from '../../mount/talk-client.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';

interface TalkOptions extends GlobalOptions {
  readonly instance?: string;
  readonly socket?: string;
}

interface Place {
  readonly name: string;
  readonly socketPath: string;
}

/** Pinning a large file fetches it. */
const TIMEOUT_MS = 3600 * 1000;

export function configure(command: Command): void {
  command
    .argument('<command...>', 'as cvmfs_talk takes it, such as: cache size')
    .option('-i, --instance <name>', 'repository, or mount point (default: all mounts of this machine)')
    .option('-p, --socket <path>', 'this socket, also one of the CernVM-FS client')
    .addHelpText(
      'after',
      '\nSays to mounts what scripts for the CernVM-FS client say with cvmfs_talk.\n\nExamples:\n  thimble talk -i os.example.org revision\n  thimble talk -i /mnt/os host info',
    )
    .action(async (words: string[], _: unknown, self: Command) => {
      const options = self.optsWithGlobals<TalkOptions>();
      const places = placesOf(options);
      const answers = [];
      for (const { name, socketPath } of places) {
        const asked = talk(socketPath, words.join(' '), TIMEOUT_MS);
        // One that does not answer is no reason not to ask the others.
        const answer = places.length === 1 ? asked : asked.catch((error) => `${messageOf(error)}\n`);
        answers.push({ name, answer: await answer });
      }
      const texts = answers.map(({ name, answer }) => (places.length > 1 ? `${name}:\n${answer}` : answer));
      printResult(options, { answers }, texts.join('').trimEnd());
    });
}

/** Throws NOT_FOUND. */
function placesOf({ instance, socket }: TalkOptions): Place[] {
  if (socket !== undefined) return [{ name: socket, socketPath: socket }];
  const mounts = findMounts();
  const named = mounts.filter(({ fqrn }) => instance === undefined || fqrn === instance);
  const isFolder = instance?.includes('/') || (named.length === 0 && existsSync(instance ?? ''));
  const found = isFolder ? [mountAt(instance!)] : named;
  if (found.length > 0) {
    return found.map(({ fqrn, mountpoint }) => ({
      name: fqrn,
      socketPath: join(stateFolderOf(mountpoint), STATE_FILES.talk),
    }));
  }
  const known = mounts.map(({ fqrn }) => fqrn).join(', ');
  throw new ThimbleError('NOT_FOUND', `Cannot find a mount of ${instance ?? 'any repository'}`, {
    hint: known === '' ? 'nothing is mounted; see: thimble mount --help' : `mounted are: ${known}`,
  });
}
