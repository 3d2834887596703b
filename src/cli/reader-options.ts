/** Options that commands share which read a repository. */

import type { Command } from 'commander';
import type { Selection } from '../client/repository.ts';
import { parseDate } from '../config/parse-date.ts';
import { parseContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { AddressOptions } from './settings.ts';
import type { GlobalOptions } from './terminal.ts';

export interface SelectionOptions {
  readonly tag?: string;
  readonly date?: string;
  readonly rootHash?: string;
}

export interface ReaderOptions extends AddressOptions, SelectionOptions, GlobalOptions {}

/** Of commands that show files and links, not only names. */
export interface ContentOptions extends ReaderOptions {
  readonly variable?: readonly string[];
}

export const collect = (value: string, list: readonly string[] = []) => [...list, value];

export function addReaderOptions(command: Command): Command {
  return addSelectionOptions(addAddressOptions(command));
}

/** Which repository. */
export function addAddressOptions(command: Command): Command {
  return command
    .option('--key <file>', 'public key of the repository, or a folder of them; may be given again', collect)
    .option('--blacklist <file>', 'certificates and revisions to refuse; may be given again', collect)
    .option('--server <address>', 'another server to fall back to; may be given again', collect)
    .option('--proxy <address>', 'HTTP proxy, or DIRECT; may be given again', collect);
}

/** Which snapshot of it. */
export function addSelectionOptions(command: Command): Command {
  return command
    .option('--tag <name>', 'the snapshot with this name')
    .option('--date <time>', 'the newest snapshot that is as old as this')
    .option('--root-hash <hash>', 'the snapshot with this root hash; needs no key');
}

export function addContentOptions(command: Command): Command {
  return addReaderOptions(command)
    .option('--external-server <url>', 'where external files are, by path; may be given again', collect)
    .option('--variable <name=value>', 'replaces $(NAME) in symlinks; may be given again', collect);
}

/**
 * The variables that symlinks may show: those named, and the name of the repository. None of the environment: a link would
 * show it to everybody who can read the mount. Throws USAGE.
 */
export function symlinkVariables({ variable = [] }: ContentOptions, fqrn: string): Record<string, string> {
  const given = variable.map((text): [string, string] => {
    const divides = text.indexOf('=');
    if (divides > 0) return [text.slice(0, divides), text.slice(divides + 1)];
    throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as a variable`, {
      hint: 'variables look like NAME=VALUE',
    });
  });
  return Object.fromEntries([...given, ['CVMFS_FQRN', fqrn]]);
}

/** Throws USAGE. */
export function selectionOf(options: SelectionOptions): Selection {
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
