import assert from 'node:assert/strict';
import test from 'node:test';
import type { PathKey } from '../path-key.ts';
import { IndexCursor, TableCursor } from './btree.ts';
import { MemoryPages } from './pages.ts';

// Pages as SQLite never writes them: node:sqlite cannot make these, so they are put together here.

const PAGE = 512;
const INDEX_INTERIOR = 2;
const TABLE_INTERIOR = 5;
const INDEX_LEAF = 10;
const TABLE_LEAF = 13;
const KEY: PathKey = Int32Array.of(0, 1, 0, 1);

interface PageOptions {
  readonly kind: number;
  readonly cells?: readonly (readonly number[])[];
  /** The child behind all cells, of an interior page. */
  readonly right?: number;
}

const bigEndian = (page: number) => [page >>> 24, (page >>> 16) & 0xff, (page >>> 8) & 0xff, page & 0xff];

function encodePage({ kind, cells = [], right = 0 }: PageOptions): Uint8Array {
  const isInterior = kind === INDEX_INTERIOR || kind === TABLE_INTERIOR;
  const bytes = new Uint8Array(PAGE);
  const view = new DataView(bytes.buffer);
  bytes[0] = kind;
  view.setUint16(3, cells.length);
  if (isInterior) view.setUint32(8, right);
  let at = PAGE;
  for (const [i, cell] of cells.entries()) {
    at -= cell.length;
    bytes.set(cell, at);
    view.setUint16((isInterior ? 12 : 8) + 2 * i, at);
  }
  return bytes;
}

/** Page 1 is left empty, so that page numbers are those of the list plus 2. */
function pagesOf(...pages: readonly PageOptions[]): MemoryPages {
  const bytes = new Uint8Array((pages.length + 1) * PAGE);
  for (const [i, page] of pages.entries()) bytes.set(encodePage(page), (i + 1) * PAGE);
  return new MemoryPages(bytes, PAGE);
}

/** A row with one integer column, which holds 1. */
const row = (rowid: number) => [2, rowid, 2, 9];
/** An entry of KEY with a row id of one byte. */
const entry = (rowid: number) => [5, 4, 9, 9, 1, rowid];

const damaged = (why: RegExp) => ({ name: 'ThimbleError', code: 'FORMAT', message: why });

function walkTable(pages: MemoryPages): number[] {
  const cursor = new TableCursor(pages, 0, 2);
  const rowids: number[] = [];
  for (let more = cursor.first(); more; more = cursor.next()) rowids.push(cursor.rowid);
  return rowids;
}

function walkIndex(pages: MemoryPages): number[] {
  const cursor = new IndexCursor(pages, 0, 2);
  const rowids: number[] = [];
  for (let more = cursor.seek(KEY); more && cursor.matches(KEY); more = cursor.next())
    rowids.push(cursor.rowid);
  return rowids;
}

test('the pages made here are read as SQLite would read them', () => {
  const table = pagesOf(
    { kind: TABLE_INTERIOR, cells: [[...bigEndian(3), 2]], right: 4 },
    { kind: TABLE_LEAF, cells: [row(1), row(2)] },
    { kind: TABLE_LEAF, cells: [row(5)] },
  );
  assert.deepEqual(walkTable(table), [1, 2, 5]);
  const index = pagesOf(
    { kind: INDEX_INTERIOR, cells: [[...bigEndian(3), ...entry(2)]], right: 4 },
    { kind: INDEX_LEAF, cells: [entry(1)] },
    { kind: INDEX_LEAF, cells: [entry(3)] },
  );
  assert.deepEqual(walkIndex(index), [1, 2, 3]);
});

test('both cursors stay at the end once they are there, and tell an empty tree from a full one', () => {
  const table = new TableCursor(pagesOf({ kind: TABLE_LEAF, cells: [row(1)] }), 0, 2);
  assert.deepEqual([table.first(), table.next(), table.next()], [true, false, false]);
  assert.ok(!table.seek(2) && !table.seek(0) && table.seek(1));
  const index = new IndexCursor(pagesOf({ kind: INDEX_LEAF, cells: [entry(1)] }), 0, 2);
  assert.deepEqual([index.seek(KEY), index.next(), index.next()], [true, false, false]);
  assert.equal(new TableCursor(pagesOf({ kind: TABLE_LEAF }), 0, 2).first(), false);
  assert.equal(new IndexCursor(pagesOf({ kind: INDEX_LEAF }), 0, 2).seek(KEY), false);
});

test('TableCursor passes over empty leaves', () => {
  const pages = pagesOf(
    { kind: TABLE_INTERIOR, cells: [[...bigEndian(3), 1]], right: 4 },
    { kind: TABLE_LEAF },
    { kind: TABLE_LEAF, cells: [row(2)] },
  );
  assert.deepEqual(walkTable(pages), [2]);
});

for (const [why, message, pages] of [
  ['a page that is its own child', /loop|deeper/, pagesOf({ kind: TABLE_INTERIOR, right: 2 })],
  [
    'a leaf that is the child of many',
    /loop/,
    pagesOf(
      { kind: TABLE_INTERIOR, cells: [1, 2, 3, 4].map((key) => [...bigEndian(3), key]), right: 3 },
      { kind: TABLE_LEAF, cells: [row(1)] },
    ),
  ],
  ['a child that does not exist', /page 9 does not exist/, pagesOf({ kind: TABLE_INTERIOR, right: 9 })],
  ['page 0 as a child', /page 0 does not exist/, pagesOf({ kind: TABLE_INTERIOR, right: 0 })],
  ['a page of an index', /not of a table/, pagesOf({ kind: INDEX_LEAF, cells: [entry(1)] })],
  ['a row that runs over its page', /over the end/, pagesOf({ kind: TABLE_LEAF, cells: [[3, 1, 2, 9]] })],
  [
    'a row that is longer than the file',
    /longer than the file/,
    pagesOf({ kind: TABLE_LEAF, cells: [[0xff, 0x7f, 1, ...new Array<number>(100).fill(0)]] }),
  ],
  [
    'an overflow page that does not exist',
    /page 0 does not exist/,
    pagesOf(
      { kind: TABLE_LEAF, cells: [[0x84, 0x00, 1, ...new Array<number>(100).fill(0)]] },
      { kind: TABLE_LEAF },
    ),
  ],
] as const) {
  test(`TableCursor refuses ${why}`, () => {
    assert.throws(() => walkTable(pages), damaged(message));
  });
}

test('TableCursor.seek() refuses pages that lead in a circle', () => {
  const cursor = new TableCursor(pagesOf({ kind: TABLE_INTERIOR, right: 2 }), 0, 2);
  assert.throws(() => cursor.seek(1), damaged(/deeper/));
});

test('TableCursor refuses a cell pointer that leads out of its page', () => {
  const pages = pagesOf({ kind: TABLE_LEAF, cells: [row(1)] });
  new DataView(pages.bytes.buffer).setUint16(PAGE + 8, PAGE);
  assert.throws(() => walkTable(pages), damaged(/lies outside/));
});

for (const [why, message, pages] of [
  ['a page that is its own child', /deeper|loop/, pagesOf({ kind: INDEX_INTERIOR, right: 2 })],
  ['a page of a table', /not of an index/, pagesOf({ kind: TABLE_LEAF, cells: [row(1)] })],
  [
    'an entry that runs over its page',
    /over the end/,
    pagesOf({ kind: INDEX_LEAF, cells: [[9, 4, 9, 9, 1, 1]] }),
  ],
  ['an entry of two columns', /fewer than three/, pagesOf({ kind: INDEX_LEAF, cells: [[3, 3, 9, 9]] })],
  [
    'a text instead of an integer',
    /integer expected/,
    pagesOf({ kind: INDEX_LEAF, cells: [[5, 4, 15, 9, 9, 0x61]] }),
  ],
] as const) {
  test(`IndexCursor refuses ${why}`, () => {
    assert.throws(() => walkIndex(pages), damaged(message));
  });
}

test('IndexCursor refuses pages that share their children, before it has visited 2^30 of them', () => {
  const levels = 30;
  const interior = (_: unknown, i: number): PageOptions => ({
    kind: INDEX_INTERIOR,
    cells: [[...bigEndian(i + 3), ...entry(1)]],
    right: i + 3,
  });
  const pages = pagesOf(...Array.from({ length: levels }, interior), { kind: INDEX_LEAF, cells: [entry(1)] });
  assert.throws(() => walkIndex(pages), damaged(/loop/));
});
