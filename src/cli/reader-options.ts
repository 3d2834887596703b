/** Options that all commands share which read a repository. */

import type { Command } from 'commander';
import type { Selection } from '../client/repository.ts';
import { parseContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { type AddressOptions, parseDate } from './settings.ts';
import type { GlobalOptions } from './terminal.ts';

export interface ReaderOptions extends AddressOptions, GlobalOptions {
  readonly tag?: string;
  readonly date?: string;
  readonly rootHash?: string;
}

export function addReaderOptions(command: Command): Command {
  const collect = (value: string, list: readonly string[] = []) => [...list, value];
  return command
    .option('--key <file>', 'public key of the repository; may be given again', collect)
    .option('--server <address>', 'another server to fall back to; may be given again', collect)
    .option('--proxy <address>', 'HTTP proxy, or DIRECT; may be given again', collect)
    .option('--tag <name>', 'the snapshot with this name')
    .option('--date <time>', 'the newest snapshot that is as old as this')
    .option('--root-hash <hash>', 'the snapshot with this root hash; needs no key');
}

/** Throws USAGE. */
export function selectionOf(options: ReaderOptions): Selection {
  const given = [options.tag, options.date, options.rootHash].filter((value) => value !== undefined);
  if (given.length > 1) {
    throw new ThimbleError(
      'USAGE',
      'Cannot use more than one of --tag, --date and --root-hash: each names a snapshot',
    );
  }
  try {
    return {
      tag: options.tag,
      dateSeconds: options.date === undefined ? undefined : parseDate(options.date),
      rootHash:
        options.rootHash === undefined ? undefined : parseContentHash(options.rootHash, '--root-hash'),
    };
  } catch (error) {
    if (error instanceof ThimbleError && error.code === 'FORMAT')
      throw new ThimbleError('USAGE', error.message);
    throw error;
  }
}
