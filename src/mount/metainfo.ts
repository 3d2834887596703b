/** What a publisher says about a repository: `user.repo_metainfo` has it, and it is fetched by the first who asks. */

import type { Objects } from '../client/objects.ts';
import type { Repository } from '../client/repository.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { messageOf } from '../core/errors.ts';

const MAX_METAINFO_BYTES = 1024 * 1024;

export class Metainfo {
  readonly #repository: Pick<Repository, 'manifest'>;
  readonly #objects: Pick<Objects, 'load'>;
  /** What is known of this object. */
  #known: { readonly hash: ContentHash; readonly text: string; readonly isFailure: boolean } | undefined;

  constructor(repository: Pick<Repository, 'manifest'>, objects: Pick<Objects, 'load'>) {
    this.#repository = repository;
    this.#objects = objects;
  }

  /** Its text, or why there is none, or a promise of either, which never rejects. */
  value(): string | Promise<void> {
    const { manifest } = this.#repository;
    if (manifest === undefined) return 'manifest not available';
    const { metainfo } = manifest;
    if (metainfo === undefined) return 'metainfo not available';
    const known = this.#known;
    if (known?.hash !== metainfo) return this.#fetch(metainfo);
    // Whoever asks the next time may have more luck.
    if (known.isFailure) this.#known = undefined;
    return known.text;
  }

  async #fetch(hash: ContentHash): Promise<void> {
    try {
      const bytes = await this.#objects.load(hash, 'M', MAX_METAINFO_BYTES, 'metainfo');
      this.#known = { hash, text: Buffer.from(bytes).toString('utf8'), isFailure: false };
    } catch (error) {
      this.#known = { hash, text: `metainfo not available: ${messageOf(error)}`, isFailure: true };
    }
  }
}
