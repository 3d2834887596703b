/**
 * Which catalogs of a partial replica lack something below them, and by which choice of paths (docs/manual/replicate.md#a-part-of-a-tree).
 * A catalog that is stored and not named here is complete with all below it: so nothing is looked at twice.
 */

import { byteStringOf } from '../core/bytes/byte-string.ts';
import { encodeHex } from '../core/bytes/hex.ts';
import { encodeUtf8 } from '../core/bytes/utf8.ts';
import { type ContentHash, isContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Hashing } from '../core/ports.ts';
import type { Storage } from '../storage/storage.ts';
import type { PathFilter } from './path-filter.ts';

export const INCOMPLETE_CATALOGS_PATH = '.thimble_incomplete_catalogs';

export class IncompleteCatalogs {
  readonly #storage: Storage;
  /** Of the present choice; empty where everything is taken. */
  readonly #choice: string;
  readonly #choiceOf: Map<ContentHash, string>;
  #isSaved = true;

  constructor(storage: Storage, choice: string, choiceOf: Map<ContentHash, string>) {
    this.#storage = storage;
    this.#choice = choice;
    this.#choiceOf = choiceOf;
  }

  /** Throws STORAGE, FORMAT. */
  static async open(
    storage: Storage,
    filter: PathFilter | undefined,
    hashing: Hashing,
  ): Promise<IncompleteCatalogs> {
    const choice = filter === undefined ? '' : encodeHex(hashing.digest('sha1', encodeUtf8(filter.text)));
    const choiceOf = new Map<ContentHash, string>();
    const bytes = (await storage.read(INCOMPLETE_CATALOGS_PATH)) ?? new Uint8Array(0);
    for (const line of byteStringOf(bytes).split('\n').slice(0, -1)) {
      const [hash = '', recorded = ''] = line.split(' ');
      if (!isContentHash(hash) || !/^[0-9a-f]{40}$/.test(recorded)) throw damaged(storage, line);
      choiceOf.set(hash, recorded);
    }
    return new IncompleteCatalogs(storage, choice, choiceOf);
  }

  has(hash: ContentHash): boolean {
    return this.#choiceOf.has(hash);
  }

  /** True if all that is wanted below the catalog is there, though not everything. */
  isAsWanted(hash: ContentHash): boolean {
    return this.#choiceOf.get(hash) === this.#choice;
  }

  /** Says whether a catalog lacks something; `save` has to come before it is stored. */
  set(hash: ContentHash, isIncomplete: boolean): void {
    if (isIncomplete ? this.isAsWanted(hash) : !this.has(hash)) return;
    if (isIncomplete) this.#choiceOf.set(hash, this.#choice);
    else this.#choiceOf.delete(hash);
    this.#isSaved = false;
  }

  /** Throws STORAGE. */
  async save(): Promise<void> {
    if (this.#isSaved) return;
    const lines = Array.from(this.#choiceOf, ([hash, choice]) => `${hash} ${choice}\n`);
    if (lines.length === 0) await this.#storage.remove([INCOMPLETE_CATALOGS_PATH]);
    else await this.#storage.replace(INCOMPLETE_CATALOGS_PATH, encodeUtf8(lines.join('')));
    this.#isSaved = true;
  }
}

function damaged(storage: Storage, line: string): ThimbleError {
  const what = `${INCOMPLETE_CATALOGS_PATH} in ${storage.name}`;
  return new ThimbleError(
    'FORMAT',
    `Cannot read ${what}: ${JSON.stringify(line.slice(0, 80))} is no catalog`,
    {
      hint: 'it says what a partial replica lacks: without it, make the replica anew in an empty folder',
    },
  );
}
