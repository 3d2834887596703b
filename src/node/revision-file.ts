/** The memory of the highest revision as a file: one small JSON object for each repository and its keys. */

import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { NO_MEMORY, type RememberedRevision, type RevisionMemory } from '../client/revision-memory.ts';
import { isContentHash } from '../core/content-hash.ts';
import { messageOf } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import { nodeHashing } from './hashing.ts';
import { makeFolder } from './make-folder.ts';
import { replaceFile } from './replace-file.ts';

/** `THIMBLE_DATA`, `/var/lib/thimble` for root, else the user's state folder. */
export function revisionFolder(environment: NodeJS.ProcessEnv = process.env): string {
  if (environment['THIMBLE_DATA'] !== undefined)
    return join(resolve(environment['THIMBLE_DATA']), 'revisions');
  if (process.getuid?.() === 0) return '/var/lib/thimble/revisions';
  return join(environment['XDG_STATE_HOME'] ?? join(homedir(), '.local/state'), 'thimble/revisions');
}

/**
 * A repository that was made anew under an old name has other keys, and so another memory. What cannot be read counts as
 * nothing seen, with a line in the log.
 */
export class RevisionFile implements RevisionMemory {
  readonly #path: string;
  readonly #log: Log;

  private constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /** Without keys there is nothing to be deceived about: a pinned snapshot is its own proof. */
  static of(folder: string, fqrn: string, keyFiles: readonly string[], log: Log): RevisionMemory {
    if (keyFiles.length === 0) return NO_MEMORY;
    const keys = keyFiles.map((file) => readFileSync(file, 'latin1').trim()).sort();
    const digest = nodeHashing.digest('shake128', Buffer.from(keys.join('\n'), 'latin1'));
    const name = `${fqrn}-${Buffer.from(digest).toString('hex').slice(0, 16)}.json`;
    return new RevisionFile(join(folder, name), log);
  }

  recall(): RememberedRevision | undefined {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#complain('read', error);
      return undefined;
    }
    try {
      return parse(text);
    } catch (error) {
      this.#complain('read', error);
      return undefined;
    }
  }

  remember({ revision, rootCatalog }: RememberedRevision): void {
    const known = this.recall();
    if (known !== undefined && known.revision >= revision) return;
    try {
      makeFolder(dirname(this.#path), 0o700);
      replaceFile(this.#path, `${JSON.stringify({ revision, rootCatalog })}\n`);
    } catch (error) {
      this.#complain('write', error);
    }
  }

  #complain(what: string, error: unknown): void {
    this.#log.warn(`cannot ${what} the memory of revisions`, { file: this.#path, error: messageOf(error) });
  }
}

function parse(text: string): RememberedRevision {
  const value: unknown = JSON.parse(text);
  if (typeof value === 'object' && value !== null) {
    const { revision, rootCatalog } = value as Record<string, unknown>;
    if (Number.isSafeInteger(revision) && typeof rootCatalog === 'string' && isContentHash(rootCatalog))
      return { revision: revision as number, rootCatalog };
  }
  throw new Error('it is not what was written there');
}
