/** Where the pages of an SQLite file come from. */

import type { Bytes } from '../bytes/byte-string.ts';

export interface PageSource {
  readonly pageSize: number;
  readonly pageCount: number;
  /** Every page that `locate` answers with lies in here. */
  readonly bytes: Bytes;
  /** Offset in `bytes` of a page; pages count from 1, and the caller has checked the range. */
  locate(page: number): number;
}

/** A whole database file in memory. */
export class MemoryPages implements PageSource {
  readonly bytes: Bytes;
  readonly pageSize: number;
  readonly pageCount: number;

  constructor(bytes: Bytes, pageSize: number) {
    this.bytes = bytes;
    this.pageSize = pageSize;
    this.pageCount = Math.floor(bytes.length / pageSize);
  }

  locate(page: number): number {
    return (page - 1) * this.pageSize;
  }
}
