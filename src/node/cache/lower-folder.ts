/**
 * A cache folder that is read and never written, for instance on a boot medium. Each object is compared with its line in `sums`
 * when it is first used; a damaged one is not there.
 */

import { closeSync } from 'node:fs';
import type { CacheId, LowerStatus } from '../../client/cache.ts';
import type { Bytes } from '../../core/bytes/byte-string.ts';
import { COUNTED_HITS, COUNTED_READ_FAILURES, COUNTERS_BYTES, FolderCacheReader } from './folder-reader.ts';
import { checksumOf, SumTable } from './sum-table.ts';

export class LowerFolder extends FolderCacheReader {
  protected override readonly marksUse = false;
  #sums: SumTable | undefined;
  /** Of the table's slots, whether the object has been checked. */
  #isChecked = new Uint8Array(0);

  constructor(folder: string) {
    super(folder, new SharedArrayBuffer(COUNTERS_BYTES));
  }

  override has(id: CacheId): boolean {
    try {
      const fd = super.has(id) ? this.openFile(id) : undefined;
      if (fd !== undefined) closeSync(fd);
      return fd !== undefined;
    } catch (error) {
      this.onReadFailed(id, error);
      return false;
    }
  }

  load(id: CacheId): Bytes | undefined {
    return this.loadFile(id);
  }

  /** It cannot be removed: it is not looked at again. */
  override discard(id: CacheId): void {
    this.shadow(id);
  }

  status(): LowerStatus {
    return {
      folder: this.folder,
      hits: this.counters[COUNTED_HITS]!,
      damaged: this.counters[COUNTED_READ_FAILURES]!,
    };
  }

  protected override openFile(id: CacheId): number | undefined {
    const fd = super.openFile(id);
    if (fd === undefined || this.#isWhole(id, fd)) return fd;
    closeSync(fd);
    this.counters[COUNTED_READ_FAILURES]!++;
    this.shadow(id);
    return undefined;
  }

  #isWhole(id: CacheId, fd: number): boolean {
    if (this.#sums === undefined) {
      this.#sums = SumTable.read(`${this.folder}/sums`);
      this.#isChecked = new Uint8Array(this.#sums.slots);
    }
    const slot = this.#sums.slotOf(id);
    if (slot === undefined) return false;
    if (this.#isChecked[slot] === 1) return true;
    if (!this.#sums.matches(id, checksumOf(fd))) return false;
    this.#isChecked[slot] = 1;
    return true;
  }
}
