/** How much memory the engine may take for speed, in processes that stay. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Whoever waited for the start is busy with other things by then. */
const SETTLED_MS = 1000;

/** Arguments of Node for such a process. The last word counts. */
export const SMALL_HEAP = ['--max-semi-space-size=2'];

/**
 * To be called when all is loaded: some 50 MB less are resident after much reading, which takes a tenth longer. As an argument it would make the
 * engine refuse code that was compiled without it, also its own: a start takes half as long again.
 */
export function preferSmallHeap(): void {
  setFlagsFromString('--optimize-for-size');
  setFlagsFromString('--expose-gc');
  // What the start has left behind, 8 MB, would stay as long as nothing happens.
  setTimeout(() => (runInNewContext('gc') as () => void)(), SETTLED_MS).unref();
}
