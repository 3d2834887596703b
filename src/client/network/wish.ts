/** What a request to servers is made of. */

import type { CancelSignal } from '../../core/cancellation.ts';
import type { ByteRange } from '../../core/vfs.ts';
import type { SourceFile } from './source.ts';
import type { Urgency } from './urgency.ts';

/** Makes something of a file. All of it, further requests included, is to be over at `untilMs`, on the clock's `monotonicMs`. */
export type Consume<T> = (file: SourceFile, untilMs: number) => Promise<T>;

/** One file that somebody wants. */
export interface Wish<T> {
  readonly path: string;
  readonly range: ByteRange | undefined;
  readonly headOnly: boolean;
  readonly background: boolean;
  readonly urgency: Urgency | undefined;
  readonly noCache: boolean;
  readonly signal: CancelSignal | undefined;
  readonly deadlineMs: number;
  readonly consume: Consume<T>;
}
