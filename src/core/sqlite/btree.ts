/**
 * B-trees of an SQLite file (https://www.sqlite.org/fileformat2.html, section 1.6), read-only. Table cursors find rows
 * by row id; index cursors walk entries of indexes whose leading columns are two integers, which is all that catalogs
 * need. Every offset from the file is checked before use.
 */

import type { Bytes } from '../bytes/byte-string.ts';
import type { PathKey } from '../path-key.ts';
import type { PageSource } from './pages.ts';
import { malformed, readVarint, SqliteRecord, varint } from './record.ts';

const INDEX_INTERIOR = 0x02;
const TABLE_INTERIOR = 0x05;
const INDEX_LEAF = 0x0a;
const TABLE_LEAF = 0x0d;
const LEAF_HEADER_BYTES = 8;
const INTERIOR_HEADER_BYTES = 12;

/** No tree that SQLite writes is deeper; a deeper one is a loop. */
const MAX_DEPTH = 32;

/** What both kinds of cursor share: reading page and cell headers. */
class Cells {
  readonly pages: PageSource;
  readonly usableBytes: number;
  /** The row, where its page may have to make room for another while somebody still looks at it. */
  #row: Bytes = new Uint8Array(0);

  constructor(pages: PageSource, reservedBytes: number) {
    this.pages = pages;
    this.usableBytes = pages.pageSize - reservedBytes;
  }

  /** Offset of a page in `pages.bytes`. */
  locate(page: number): number {
    if (page < 1 || page > this.pages.pageCount) throw malformed(`page ${page} does not exist`);
    return this.pages.locate(page);
  }

  /** Offset of the b-tree header; page 1 starts with the file header. */
  header(page: number): number {
    return page === 1 ? this.locate(1) + 100 : this.locate(page);
  }

  cell(page: number, pageStart: number, header: number, headerBytes: number, index: number): number {
    const pointer = header + headerBytes + 2 * index;
    const offset = half(this.pages.bytes, pointer);
    if (pointer + 2 > pageStart + this.pages.pageSize || offset >= this.usableBytes) {
      throw malformed(`cell ${index} of page ${page} lies outside of it`);
    }
    return pageStart + offset;
  }

  /** The record of a cell; pieces on overflow pages are put together. */
  loadPayload(record: SqliteRecord, at: number, size: number, pageStart: number): void {
    const usable = this.usableBytes;
    if (size <= usable - 35) {
      if (at + size > pageStart + usable) throw malformed('a cell runs over the end of its page');
      if (this.pages.isStable) record.load(this.pages.bytes, at, size);
      else this.#loadCopy(record, at, size);
      return;
    }
    const least = Math.floor(((usable - 12) * 32) / 255) - 23;
    const fitting = least + ((size - least) % (usable - 4));
    const local = fitting <= usable - 35 ? fitting : least;
    if (size > this.pages.pageCount * this.pages.pageSize) throw malformed('a row is longer than the file');
    const whole = new Uint8Array(size);
    whole.set(this.pages.bytes.subarray(at, at + local));
    let next = word(this.pages.bytes, at + local);
    let filled = local;
    while (filled < size) {
      const start = this.locate(next);
      const piece = Math.min(usable - 4, size - filled);
      whole.set(this.pages.bytes.subarray(start + 4, start + 4 + piece), filled);
      filled += piece;
      next = word(this.pages.bytes, start);
    }
    record.load(whole, 0, size);
  }

  #loadCopy(record: SqliteRecord, at: number, size: number): void {
    if (this.#row.length < size) this.#row = new Uint8Array(Math.max(this.usableBytes, size));
    const { bytes } = this.pages;
    const row = this.#row;
    for (let i = 0; i < size; i++) row[i] = bytes[at + i]!;
    record.load(row, 0, size);
  }
}

/** Rows of one table, by row id or in row id order. */
export class TableCursor {
  readonly record = new SqliteRecord();
  rowid = 0;
  readonly #cells: Cells;
  readonly #root: number;
  // Path from the root to the current leaf, for `next`.
  readonly #pages = new Int32Array(MAX_DEPTH);
  readonly #indexes = new Int32Array(MAX_DEPTH);
  #depth = -1;
  #pagesEntered = 0;

  constructor(pages: PageSource, reservedBytes: number, root: number) {
    this.#cells = new Cells(pages, reservedBytes);
    this.#root = root;
  }

  /** Loads the row `rowid` into `record`; false if there is none. */
  seek(rowid: number): boolean {
    // Rows of one directory mostly follow each other: try the neighbour before descending.
    if (rowid === this.rowid + 1 && this.stepWithinPage() && this.rowid === rowid) return true;
    const bytes = this.#cells.pages.bytes;
    let page = this.#root;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const start = this.#cells.locate(page);
      const header = this.#cells.header(page);
      const count = half(bytes, header + 3);
      const kind = bytes[header];
      let low = 0;
      let high = count;
      if (kind === TABLE_INTERIOR) {
        while (low < high) {
          const middle = (low + high) >> 1;
          const cell = this.#cells.cell(page, start, header, INTERIOR_HEADER_BYTES, middle);
          readVarint(bytes, cell + 4, start + this.#cells.usableBytes);
          if (varint < rowid) low = middle + 1;
          else high = middle;
        }
        this.#pages[depth] = page;
        this.#indexes[depth] = low;
        page = this.#child(page, start, header, low, count);
      } else if (kind === TABLE_LEAF) {
        while (low < high) {
          const middle = (low + high) >> 1;
          const cell = this.#cells.cell(page, start, header, LEAF_HEADER_BYTES, middle);
          const keyAt = readVarint(bytes, cell, start + this.#cells.usableBytes);
          readVarint(bytes, keyAt, start + this.#cells.usableBytes);
          if (varint < rowid) low = middle + 1;
          else high = middle;
        }
        this.#pages[depth] = page;
        this.#indexes[depth] = low;
        this.#depth = depth;
        return low < count && this.#loadCell(page, start, header, low) && this.rowid === rowid;
      } else {
        throw malformed(`page ${page} is not of a table`);
      }
    }
    throw malformed('a tree is deeper than any that SQLite writes');
  }

  /** Goes to the first row; false if the table is empty. */
  first(): boolean {
    this.#pagesEntered = 0;
    this.#depth = -1;
    return this.#descend(this.#root, 0);
  }

  /** Goes to the following row; false after the last. */
  next(): boolean {
    const leaf = this.#pages[this.#depth]!;
    const header = this.#cells.header(leaf);
    const index = this.#indexes[this.#depth]! + 1;
    if (index < half(this.#cells.pages.bytes, header + 3)) {
      this.#indexes[this.#depth] = index;
      return this.#loadCell(leaf, this.#cells.locate(leaf), header, index);
    }
    return this.#climb(this.#depth - 1);
  }

  #climb(from: number): boolean {
    for (let depth = from; depth >= 0; depth--) {
      const page = this.#pages[depth]!;
      const start = this.#cells.locate(page);
      const header = this.#cells.header(page);
      const count = half(this.#cells.pages.bytes, header + 3);
      const index = this.#indexes[depth]! + 1;
      if (index > count) continue;
      this.#indexes[depth] = index;
      return this.#descend(this.#child(page, start, header, index, count), depth + 1);
    }
    return false;
  }

  #descend(from: number, fromDepth: number): boolean {
    const bytes = this.#cells.pages.bytes;
    let page = from;
    for (let depth = fromDepth; depth < MAX_DEPTH; depth++) {
      if (++this.#pagesEntered > this.#cells.pages.pageCount) throw malformed('pages of a tree form a loop');
      const start = this.#cells.locate(page);
      const header = this.#cells.header(page);
      const count = half(bytes, header + 3);
      this.#pages[depth] = page;
      this.#indexes[depth] = 0;
      if (bytes[header] === TABLE_INTERIOR) {
        page = this.#child(page, start, header, 0, count);
      } else if (bytes[header] === TABLE_LEAF) {
        this.#depth = depth;
        if (count > 0) return this.#loadCell(page, start, header, 0);
        return this.#climb(depth - 1);
      } else {
        throw malformed(`page ${page} is not of a table`);
      }
    }
    throw malformed('a tree is deeper than any that SQLite writes');
  }

  #child(page: number, start: number, header: number, index: number, count: number): number {
    const at =
      index < count
        ? this.#cells.cell(page, start, header, INTERIOR_HEADER_BYTES, index)
        : header + LEAF_HEADER_BYTES;
    return word(this.#cells.pages.bytes, at);
  }

  /** Goes to the following row if it is on the same page; false, without moving, if it is not. */
  stepWithinPage(): boolean {
    if (this.#depth < 0) return false;
    const page = this.#pages[this.#depth]!;
    const header = this.#cells.header(page);
    const index = this.#indexes[this.#depth]! + 1;
    if (index >= half(this.#cells.pages.bytes, header + 3)) return false;
    this.#indexes[this.#depth] = index;
    return this.#loadCell(page, this.#cells.locate(page), header, index);
  }

  #loadCell(page: number, start: number, header: number, index: number): true {
    const bytes = this.#cells.pages.bytes;
    const end = start + this.#cells.usableBytes;
    let at = this.#cells.cell(page, start, header, LEAF_HEADER_BYTES, index);
    at = readVarint(bytes, at, end);
    const size = varint;
    at = readVarint(bytes, at, end);
    this.rowid = varint;
    this.#cells.loadPayload(this.record, at, size, start);
    return true;
  }
}

/** Entries of an index whose first two columns are integers, in key order; the last column is the row id. */
export class IndexCursor {
  readonly record = new SqliteRecord();
  readonly #cells: Cells;
  readonly #root: number;
  readonly #pages = new Int32Array(MAX_DEPTH);
  readonly #indexes = new Int32Array(MAX_DEPTH);
  #depth = -1;
  #pagesEntered = 0;

  constructor(pages: PageSource, reservedBytes: number, root: number) {
    this.#cells = new Cells(pages, reservedBytes);
    this.#root = root;
  }

  get rowid(): number {
    return this.record.number(this.record.count - 1);
  }

  /** True while the entry in `record` has this key in its first two columns. */
  matches(key: PathKey): boolean {
    const record = this.record;
    return (
      record.low(0) === key[1] &&
      record.high(0) === key[0] &&
      record.low(1) === key[3] &&
      record.high(1) === key[2]
    );
  }

  /** Loads the first entry with this key and a row id above `afterRowid`; false if there is none. */
  seek(key: PathKey, afterRowid = 0): boolean {
    const bytes = this.#cells.pages.bytes;
    this.#pagesEntered = 0;
    let page = this.#root;
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const start = this.#cells.locate(page);
      const header = this.#cells.header(page);
      const kind = bytes[header];
      if (kind !== INDEX_INTERIOR && kind !== INDEX_LEAF) throw malformed(`page ${page} is not of an index`);
      const count = half(bytes, header + 3);
      let low = 0;
      let high = count;
      while (low < high) {
        const middle = (low + high) >> 1;
        this.#load(page, start, header, kind, middle);
        if (this.#isBefore(key, afterRowid)) low = middle + 1;
        else high = middle;
      }
      this.#pages[depth] = page;
      this.#indexes[depth] = low;
      if (kind === INDEX_LEAF) {
        this.#depth = depth;
        return this.#settle() && this.matches(key);
      }
      page = this.#child(page, start, header, low, count);
    }
    throw malformed('a tree is deeper than any that SQLite writes');
  }

  /** Goes to the following entry; false after the last. */
  next(): boolean {
    const page = this.#pages[this.#depth]!;
    const header = this.#cells.header(page);
    const bytes = this.#cells.pages.bytes;
    this.#indexes[this.#depth]!++;
    if (bytes[header] === INDEX_INTERIOR) {
      // The entry was one of an interior page: the smallest of the subtree right of it follows.
      const start = this.#cells.locate(page);
      this.#descend(this.#child(page, start, header, this.#indexes[this.#depth]!, half(bytes, header + 3)));
    }
    return this.#settle();
  }

  #descend(from: number): void {
    const bytes = this.#cells.pages.bytes;
    let page = from;
    while (++this.#depth < MAX_DEPTH) {
      if (++this.#pagesEntered > this.#cells.pages.pageCount) throw malformed('pages of a tree form a loop');
      const start = this.#cells.locate(page);
      const header = this.#cells.header(page);
      this.#pages[this.#depth] = page;
      this.#indexes[this.#depth] = 0;
      if (bytes[header] === INDEX_LEAF) return;
      if (bytes[header] !== INDEX_INTERIOR) throw malformed(`page ${page} is not of an index`);
      page = this.#child(page, start, header, 0, half(bytes, header + 3));
    }
    throw malformed('a tree is deeper than any that SQLite writes');
  }

  /** Loads the entry at the cursor, climbing out of pages that are at their end. */
  #settle(): boolean {
    for (; this.#depth >= 0; this.#depth--) {
      const page = this.#pages[this.#depth]!;
      const header = this.#cells.header(page);
      const bytes = this.#cells.pages.bytes;
      if (this.#indexes[this.#depth]! < half(bytes, header + 3)) {
        this.#load(page, this.#cells.locate(page), header, bytes[header]!, this.#indexes[this.#depth]!);
        return true;
      }
    }
    return false;
  }

  #child(page: number, start: number, header: number, index: number, count: number): number {
    const at =
      index < count
        ? this.#cells.cell(page, start, header, INTERIOR_HEADER_BYTES, index)
        : header + LEAF_HEADER_BYTES;
    return word(this.#cells.pages.bytes, at);
  }

  #load(page: number, start: number, header: number, kind: number, index: number): void {
    const bytes = this.#cells.pages.bytes;
    const interior = kind === INDEX_INTERIOR;
    const headerBytes = interior ? INTERIOR_HEADER_BYTES : LEAF_HEADER_BYTES;
    const cell = this.#cells.cell(page, start, header, headerBytes, index) + (interior ? 4 : 0);
    const at = readVarint(bytes, cell, start + this.#cells.usableBytes);
    const size = varint;
    // Entries of a few integers never leave their page.
    if (at + size > start + this.#cells.usableBytes)
      throw malformed('an index entry runs over the end of its page');
    this.record.load(bytes, at, size);
    if (this.record.count < 3) throw malformed('an index entry has fewer than three columns');
  }

  #isBefore(key: PathKey, afterRowid: number): boolean {
    const record = this.record;
    let difference = record.high(0) - key[0]! || (record.low(0) >>> 0) - (key[1]! >>> 0);
    if (difference === 0) difference = record.high(1) - key[2]! || (record.low(1) >>> 0) - (key[3]! >>> 0);
    return difference !== 0 ? difference < 0 : this.rowid <= afterRowid;
  }
}

function half(bytes: Bytes, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function word(bytes: Bytes, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
