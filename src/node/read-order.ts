/** Recognises reads of files in the order of their catalog, at the cost of a comparison for each: most are in none. */

import type { NodeId } from '../core/vfs.ts';

/** Between one file and the next there may be rows of others, and files that need not be asked for. */
const MAX_ROWS_BETWEEN = 256;
const READS_IN_A_ROW = 3;

export class ReadOrder {
  #last = Number.NEGATIVE_INFINITY;
  #run = 1;

  /** Whether this is one of several reads, each a little behind the one before. */
  goesOn(node: NodeId): boolean {
    this.#run = node > this.#last && node - this.#last <= MAX_ROWS_BETWEEN ? this.#run + 1 : 1;
    this.#last = node;
    return this.#run >= READS_IN_A_ROW;
  }
}
