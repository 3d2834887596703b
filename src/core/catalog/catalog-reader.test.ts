import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import {
  catalogFile,
  entry,
  FORMAT,
  HASH,
  insertEntry,
  keyOf,
  openCatalog,
  TABLES,
  UNSUPPORTED,
  withEntries,
} from '../../../test/support/catalog-file.ts';
import { fixturePath } from '../../../test/support/fixtures.ts';
import { byteStringOf } from '../bytes/byte-string.ts';
import { decodeHex } from '../bytes/hex.ts';
import { pathKeyColumns } from '../path-key.ts';
import { CatalogReader, type CatalogRow } from './catalog-reader.ts';

function namesBelow(reader: CatalogReader, path: string, afterRowid = 0): string[] {
  const names: string[] = [];
  reader.children(keyOf(path), afterRowid, (row) => names.push(row.name) > 0);
  return names;
}

test('CatalogRow shows every column of a row', () => {
  const reader = openCatalog(
    withEntries(
      entry('/usr/\xff', {
        hardlinks: 30064771075n,
        hash: decodeHex(HASH),
        size: 5_000_000_000,
        mode: 0o104755,
        mtime: -5,
        mtimens: 999_999_999,
        flags: 4 | (1 << 8) | (1 << 11),
        uid: 4_294_967_294,
        gid: 100,
        symlink: 'target',
        xattr: decodeHex('0101010161' + '31'),
      }),
    ),
  );
  assert.ok(reader.find(keyOf('/usr/\xff')));
  const { row } = reader;
  const scratch = new Int32Array(4);
  assert.deepEqual(row.key(scratch), keyOf('/usr/\xff'));
  assert.deepEqual(row.parentKey(scratch), keyOf('/usr'));
  assert.ok(row.hasParent(keyOf('/usr')) && !row.hasParent(keyOf('')));
  assert.deepEqual([row.hardlinkGroup, row.linkCount], [7, 3]);
  assert.equal(row.hash, `${HASH}-rmd160`);
  assert.equal(row.compression, 'none');
  assert.deepEqual([row.sizeBytes, row.mode], [5_000_000_000, 0o104755]);
  assert.deepEqual([row.mtimeSeconds, row.mtimeNs, row.hasMtimeNs], [-5, 999_999_999, true]);
  assert.deepEqual([row.uid, row.gid], [4_294_967_294, 100]);
  assert.deepEqual([row.name, row.symlink], ['\xff', 'target']);
  assert.equal(byteStringOf(row.record.bytes, row.nameStart, row.nameStart + row.nameLength), '\xff');
  assert.ok(row.hasXattrs);
  assert.deepEqual(row.xattrs, new Map([['a', Uint8Array.of(0x31)]]));
  assert.ok(!reader.find(keyOf('/usr')));
});

test('CatalogRow shows what is NULL as absent', () => {
  const reader = openCatalog(withEntries(entry('/a', { flags: 7 << 8 })));
  assert.ok(reader.find(keyOf('/a')));
  const { row } = reader;
  assert.deepEqual(
    [row.hash, row.xattrBlob, row.hasXattrs, row.hasMtimeNs],
    [undefined, undefined, false, false],
  );
  assert.deepEqual([row.mtimeNs, row.uid, row.gid], [0, 0, 0]);
  assert.deepEqual(row.xattrs, new Map());
});

for (const [why, error, columns, read] of [
  [
    'a hash of an unknown algorithm',
    UNSUPPORTED,
    { flags: 4 | (5 << 8), hash: decodeHex(HASH) },
    (row: CatalogRow) => row.hash,
  ],
  ['an unknown compression', UNSUPPORTED, { flags: 4 | (5 << 11) }, (row: CatalogRow) => row.compression],
  ['a hash of 16 bytes', FORMAT, { hash: new Uint8Array(16) }, (row: CatalogRow) => row.hash],
  ['attributes that are damaged', FORMAT, { xattr: Uint8Array.of(1, 1) }, (row: CatalogRow) => row.xattrs],
  ['a size that is text', FORMAT, { size: 'large' }, (row: CatalogRow) => row.sizeBytes],
  ['a name that is a number', FORMAT, { symlink: 5 }, (row: CatalogRow) => row.symlink],
] as const) {
  test(`CatalogRow refuses ${why} with ${error.code}`, () => {
    // A column of no affinity keeps numbers as they are.
    const tables = { catalog: TABLES.catalog.replace('symlink TEXT', 'symlink') };
    const reader = openCatalog({ tables, ...withEntries(entry('/a', columns)) });
    assert.ok(reader.find(keyOf('/a')));
    assert.throws(() => read(reader.row), error);
  });
}

const { hardlinks } = JSON.parse(readFileSync(fixturePath('format-vectors/vectors.json'), 'utf8')) as {
  hardlinks: { group: number; linkcount: number; value: string }[];
};

for (const { group, linkcount, value } of hardlinks) {
  test(`CatalogRow divides hardlinks ${value} as the format vectors do`, () => {
    const reader = openCatalog(withEntries(entry('/a', { hardlinks: BigInt(value) })));
    assert.ok(reader.find(keyOf('/a')));
    assert.deepEqual([reader.row.hardlinkGroup, reader.row.linkCount], [group, linkcount]);
  });
}

// Directories side by side, their entries mixed: what no publisher does, but any may.
const shuffledTree = fc.uniqueArray(fc.tuple(fc.constantFrom('', '/a', '/b', '/a/b'), fc.nat(500)), {
  selector: String,
  maxLength: 250,
  size: 'max',
});

test('CatalogReader.children() lists the entries of each directory in row order, from any row on', () => {
  fc.assert(
    fc.property(shuffledTree, (tree) => {
      const reader = openCatalog(withEntries(...tree.map(([folder, name]) => entry(`${folder}/n${name}`))));
      for (const folder of ['', '/a', '/b', '/a/b', '/missing']) {
        const expected = tree.flatMap(([where, name], i) =>
          where === folder ? [{ name: `n${name}`, rowid: i + 1 }] : [],
        );
        assert.deepEqual(
          namesBelow(reader, folder),
          expected.map(({ name }) => name),
        );
        for (const [i, { rowid }] of expected.entries()) {
          assert.deepEqual(
            namesBelow(reader, folder, rowid),
            expected.slice(i + 1).map(({ name }) => name),
          );
        }
      }
    }),
    { numRuns: 30 },
  );
});

test('CatalogReader.children() stops where the visitor has enough', () => {
  const reader = openCatalog(withEntries(entry('/a'), entry('/b'), entry('/c')));
  const seen: string[] = [];
  reader.children(keyOf(''), 0, (row) => seen.push(row.name) < 2);
  assert.deepEqual(seen, ['a', 'b']);
});

test('CatalogReader.entries() visits every row, in row order', () => {
  const paths = Array.from({ length: 500 }, (_, i) => `/d${i % 7}/n${i}`);
  const names: string[] = [];
  openCatalog(withEntries(...paths.map((path) => entry(path)))).entries((row) => void names.push(row.name));
  assert.deepEqual(
    names,
    paths.map((path) => path.slice(4)),
  );
});

test('CatalogReader.hardlinkGroups() names the lowest row of each group of a directory', () => {
  const grouped = (path: string, group: number) => entry(path, { hardlinks: (BigInt(group) << 32n) | 2n });
  const reader = openCatalog(
    withEntries(
      grouped('/x/o', 1),
      grouped('/a', 2),
      grouped('/b', 1),
      entry('/c'),
      grouped('/d', 2),
      grouped('/e', 1),
    ),
  );
  assert.deepEqual(
    reader.hardlinkGroups(keyOf('')),
    new Map([
      [2, 2],
      [1, 3],
    ]),
  );
});

/** The index of the parents is replaced by one whose rows do not exist. */
const FOREIGN_INDEX = `CREATE TABLE other (a INTEGER, b INTEGER); CREATE INDEX foreign_index ON other (a, b);
  INSERT INTO other (rowid, a, b) SELECT 900, parent_1, parent_2 FROM catalog LIMIT 1; PRAGMA writable_schema = ON;
  UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'foreign_index')
  WHERE name = 'idx_catalog_parent'`;

test('CatalogReader.children() refuses an index that names missing rows', () => {
  const reader = openCatalog({ ...withEntries(entry('/a')), sql: FOREIGN_INDEX });
  assert.throws(() => namesBelow(reader, ''), { ...FORMAT, message: /index names a row/ });
  assert.deepEqual(reader.hardlinkGroups(keyOf('')), new Map());
});

test('CatalogReader.children() comes to an end where row ids do not ascend', () => {
  let root = 0;
  const file = catalogFile({
    fill: (database) => {
      for (const name of 'abcdef') insertEntry(database, entry(`/${name}`));
      root = Number(
        database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'catalog'").get()!['rootpage'],
      );
    },
  });
  // The last cell of the only page of the table: its size, which is one byte, then its row id, 6.
  const page = (root - 1) * 4096;
  const cell = page + new DataView(file.buffer, file.byteOffset).getUint16(page + 8 + 2 * 5);
  assert.equal(file[cell + 1], 6);
  file[cell + 1] = 1;
  assert.throws(() => namesBelow(CatalogReader.open(file), ''), { ...FORMAT, message: /index names a row/ });
});

type ChunkRow = readonly [offset: number, sizeBytes: number];

function readerWithChunks(rows: readonly ChunkRow[], hash: Uint8Array = decodeHex(HASH)): CatalogReader {
  return openCatalog({
    fill: (database) => {
      const insert = database.prepare('INSERT INTO chunks VALUES (?, ?, ?, ?, ?)');
      for (const [offset, size] of rows) insert.run(...pathKeyColumns(keyOf('/big')), offset, size, hash);
      // Those of another file must not be taken.
      insert.run(...pathKeyColumns(keyOf('/other')), 0, 7, hash);
    },
  });
}

const CHUNKED = 4 | 64 | (2 << 8);

test('CatalogReader.chunks() gives the chunks of a file in order of their offsets', () => {
  const chunks = readerWithChunks([
    [80, 20],
    [0, 40],
    [40, 40],
  ]).chunks(keyOf('/big'), 100, CHUNKED);
  const hash = `${HASH}-shake128`;
  assert.deepEqual(chunks, [
    { offset: 0, sizeBytes: 40, hash },
    { offset: 40, sizeBytes: 40, hash },
    { offset: 80, sizeBytes: 20, hash },
  ]);
});

test('CatalogReader.chunks() gives thousands of chunks', () => {
  const rows = Array.from({ length: 3000 }, (_, i): ChunkRow => [i * 10, 10]);
  const chunks = readerWithChunks(rows).chunks(keyOf('/big'), 30_000, CHUNKED);
  assert.deepEqual(
    chunks.map((chunk) => chunk.offset),
    rows.map(([offset]) => offset),
  );
});

for (const [why, rows, size] of [
  ['there are none', [], 100],
  ['there are none for an empty file', [], 0],
  ['the first is missing', [[40, 60]], 100],
  [
    'one in the middle is missing',
    [
      [0, 40],
      [80, 20],
    ],
    100,
  ],
  [
    'the last is missing',
    [
      [0, 40],
      [40, 40],
    ],
    100,
  ],
  [
    'two overlap',
    [
      [0, 50],
      [40, 60],
    ],
    100,
  ],
  [
    'two are at the same place',
    [
      [0, 40],
      [0, 100],
    ],
    100,
  ],
  [
    'they hold more than the file',
    [
      [0, 40],
      [40, 61],
    ],
    100,
  ],
  [
    'one is empty',
    [
      [0, 0],
      [0, 100],
    ],
    100,
  ],
  [
    'one has a negative size',
    [
      [0, -5],
      [-5, 105],
    ],
    100,
  ],
] as const) {
  test(`CatalogReader.chunks() refuses the chunks of a file where ${why}`, () => {
    const reader = readerWithChunks(rows);
    assert.throws(() => reader.chunks(keyOf('/big'), size, CHUNKED), FORMAT);
  });
}

test('CatalogReader.chunks() refuses unknown hash algorithms and digests of another length', () => {
  assert.throws(() => readerWithChunks([[0, 9]]).chunks(keyOf('/big'), 9, 4 | 64 | (5 << 8)), UNSUPPORTED);
  assert.throws(
    () => readerWithChunks([[0, 9]], new Uint8Array(3)).chunks(keyOf('/big'), 9, CHUNKED),
    FORMAT,
  );
});
