/** Somebody beside the thread that fetches, who takes over what no reader waits for. */

import type { Bytes } from '../core/bytes/byte-string.ts';
import type { NodeId, ObjectNeed } from '../core/vfs.ts';

export interface Filler {
  /** The kernel gets files before anybody reads them. */
  readonly handsOver: boolean;
  /**
   * Verifies and inflates what a server sent, and puts it into the cache; then the kernel gets it, as the content of `node`.
   * Resolves with false if anything is wrong: whoever does the same again is told what. `undefined`: there is enough to do
   * without it.
   */
  fill(need: ObjectNeed, stored: Bytes, node: NodeId | undefined): Promise<boolean> | undefined;
  /** The kernel gets the content of `node`, which is in the cache. */
  offer(need: ObjectNeed, node: NodeId): void;
  /** Somebody waits for one of those now. */
  hurry(): void;
  /** Resolves when it has ended in order; it takes nothing from now on. */
  close(): Promise<void>;
}
