/** What a format, a file system or a user without rights cannot keep: counted, and told at the end. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';

export type LossKind = 'owner' | 'set-id-bits' | 'device' | 'socket' | 'xattr' | 'time';

export interface Loss {
  readonly what: LossKind;
  readonly count: number;
  /** The first entry that has lost it, in a form for people. */
  readonly first: string;
  readonly why: string;
}

export class Losses {
  readonly #losses = new Map<LossKind, Loss>();

  note(what: LossKind, path: ByteString, why: string): void {
    const known = this.#losses.get(what);
    if (known === undefined) {
      this.#losses.set(what, { what, count: 1, first: displayBytes(path === '' ? '/' : path), why });
    } else this.#losses.set(what, { ...known, count: known.count + 1 });
  }

  list(): Loss[] {
    return [...this.#losses.values()];
  }
}
