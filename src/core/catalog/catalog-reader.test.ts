import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import test from 'node:test';
import fc from 'fast-check';
import { fixturePath } from '../../../test/support/fixtures.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { ascii, type ByteString, byteStringOf } from '../bytes/byte-string.ts';
import { decodeHex } from '../bytes/hex.ts';
import { NULL_HASH } from '../content-hash.ts';
import { NO_PARENT, parentPath, pathKeyColumns, pathKeyOf } from '../path-key.ts';
import { CatalogReader, type CatalogRow } from './catalog-reader.ts';
import { COUNTER_NAMES } from './counters.ts';

const FORMAT = { name: 'ThimbleError', code: 'FORMAT' };
const UNSUPPORTED = { name: 'ThimbleError', code: 'UNSUPPORTED' };
const HASH = 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497';

const TABLES = {
  properties: 'CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key))',
  catalog: `CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER,
    hardlinks INTEGER, hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT,
    symlink TEXT, uid INTEGER, gid INTEGER, xattr BLOB, CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2))`,
  parents: 'CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2)',
  chunks: `CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size))`,
  nested:
    'CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_n PRIMARY KEY (path))',
  bind: 'CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_b PRIMARY KEY (path))',
  statistics:
    'CREATE TABLE statistics (counter TEXT, value INTEGER, CONSTRAINT pk_statistics PRIMARY KEY (counter))',
} as const;
type Tables = Partial<Record<keyof typeof TABLES, string>>;

interface CatalogOptions {
  /** Statements instead of those above. */
  readonly tables?: Tables;
  readonly schema?: string;
  readonly revision?: string;
  readonly sql?: string;
  readonly fill?: (database: DatabaseSync) => void;
}

function catalogFile({
  tables = {},
  schema = '2.5',
  revision = '7',
  sql = '',
  fill,
}: CatalogOptions): Uint8Array {
  const database = new DatabaseSync(':memory:');
  try {
    database.enableDefensive(false);
    database.exec(`${Object.values({ ...TABLES, ...tables }).join(';')};`);
    if (tables.properties === undefined) {
      database.prepare("INSERT INTO properties VALUES ('schema', ?)").run(schema);
      database.prepare("INSERT INTO properties VALUES ('schema_revision', ?)").run(revision);
    }
    fill?.(database);
    database.exec(sql);
    return database.serialize();
  } finally {
    database.close();
  }
}

const open = (options: CatalogOptions) => CatalogReader.open(catalogFile(options));
const keyOf = (path: string) => pathKeyOf(nodeHashing, ascii(path));

interface Entry {
  readonly path: ByteString;
  readonly columns?: Readonly<Record<string, SQLInputValue>>;
}

/** A row for a path, all other columns as for an empty file unless given. */
function insertEntry(database: DatabaseSync, { path, columns = {} }: Entry): void {
  const [md5path_1, md5path_2] = pathKeyColumns(pathKeyOf(nodeHashing, path));
  const [parent_1, parent_2] = pathKeyColumns(
    path === '' ? NO_PARENT : pathKeyOf(nodeHashing, parentPath(path)),
  );
  const defaults = { hardlinks: 1, size: 0, mode: 0o100644, mtime: 0, flags: 4, symlink: '' };
  const name = Buffer.from(path.slice(path.lastIndexOf('/') + 1), 'latin1');
  const row = { md5path_1, md5path_2, parent_1, parent_2, name, ...defaults, ...columns };
  // A cast from a blob keeps the bytes of names that are not UTF-8.
  const values = Object.keys(row).map((column) => (column === 'name' ? 'CAST(? AS TEXT)' : '?'));
  database
    .prepare(`INSERT INTO catalog (${Object.keys(row).join(', ')}) VALUES (${values.join(', ')})`)
    .run(...Object.values(row));
}

const withEntries = (...entries: Entry[]) => ({
  fill: (database: DatabaseSync) => entries.forEach((entry) => void insertEntry(database, entry)),
});
const entry = (path: string, columns: Entry['columns'] = {}): Entry => ({ path: ascii(path), columns });

function namesBelow(reader: CatalogReader, path: string, afterRowid = 0): string[] {
  const names: string[] = [];
  reader.children(keyOf(path), afterRowid, (row) => names.push(row.name) > 0);
  return names;
}

test('CatalogRow shows every column of a row', () => {
  const reader = open(
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
  const reader = open(withEntries(entry('/a', { flags: 7 << 8 })));
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
    const reader = open({ tables, ...withEntries(entry('/a', columns)) });
    assert.ok(reader.find(keyOf('/a')));
    assert.throws(() => read(reader.row), error);
  });
}

const { hardlinks } = JSON.parse(readFileSync(fixturePath('format-vectors/vectors.json'), 'utf8')) as {
  hardlinks: { group: number; linkcount: number; value: string }[];
};

for (const { group, linkcount, value } of hardlinks) {
  test(`CatalogRow divides hardlinks ${value} as the format vectors do`, () => {
    const reader = open(withEntries(entry('/a', { hardlinks: BigInt(value) })));
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
      const reader = open(withEntries(...tree.map(([folder, name]) => entry(`${folder}/n${name}`))));
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
  const reader = open(withEntries(entry('/a'), entry('/b'), entry('/c')));
  const seen: string[] = [];
  reader.children(keyOf(''), 0, (row) => seen.push(row.name) < 2);
  assert.deepEqual(seen, ['a', 'b']);
});

test('CatalogReader.entries() visits every row, in row order', () => {
  const paths = Array.from({ length: 500 }, (_, i) => `/d${i % 7}/n${i}`);
  const names: string[] = [];
  open(withEntries(...paths.map((path) => entry(path)))).entries((row) => void names.push(row.name));
  assert.deepEqual(
    names,
    paths.map((path) => path.slice(4)),
  );
});

test('CatalogReader.hardlinkGroups() names the lowest row of each group of a directory', () => {
  const grouped = (path: string, group: number) => entry(path, { hardlinks: (BigInt(group) << 32n) | 2n });
  const reader = open(
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
  const reader = open({ ...withEntries(entry('/a')), sql: FOREIGN_INDEX });
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
  return open({
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

const without = (statement: string, ...columns: string[]) =>
  columns.reduce((sql, column) => sql.replace(new RegExp(`\\s*\\b${column}\\b [A-Z]+,`), ''), statement);
const SIZELESS = without(TABLES.nested, 'size');

const OLDER: readonly [why: string, options: CatalogOptions][] = [
  ['schema 2.4', { schema: '2.4', revision: '0' }],
  ['a schema that was written as a float', { schema: '2.4000000953674', revision: '0' }],
  ['schema 2.5 without a revision', { revision: '0' }],
  ['revision 1 of schema 2.5', { revision: '1' }],
];

for (const [why, options] of OLDER) {
  test(`CatalogReader reads ${why}, which has neither attributes nor nanoseconds nor bind mount points`, () => {
    const tables = {
      catalog: without(TABLES.catalog, 'mtimens', 'xattr').replace(/\s*xattr BLOB,/, ''),
      bind: '',
    };
    assert.doesNotMatch(tables.catalog, /xattr|mtimens/);
    const reader = open({ ...options, tables, ...withEntries(entry('/a', { mtime: 5, uid: 6 })) });
    assert.ok(reader.find(keyOf('/a')));
    const { row } = reader;
    assert.deepEqual([row.mtimeSeconds, row.mtimeNs, row.uid, row.hasXattrs], [5, 0, 6, false]);
    assert.deepEqual(reader.bindMountpoints, []);
  });
}

test('CatalogReader does not look at columns that the revision of the schema does not have', () => {
  const columns = { mtimens: 5, xattr: Uint8Array.of(9, 9) };
  for (const [revision, mtimeNs, hasXattrs] of [
    ['1', 0, false],
    ['6', 0, true],
    ['7', 5, true],
  ] as const) {
    const reader = open({ revision, ...withEntries(entry('/a', columns)) });
    assert.ok(reader.find(keyOf('/a')));
    assert.deepEqual([reader.row.mtimeNs, reader.row.hasXattrs], [mtimeNs, hasXattrs]);
  }
});

test('CatalogReader takes owners for root where the catalog has no columns for them', () => {
  const tables = { catalog: without(TABLES.catalog, 'uid', 'gid') };
  const reader = open({ tables, ...withEntries(entry('/a')) });
  assert.ok(reader.find(keyOf('/a')));
  assert.deepEqual([reader.row.uid, reader.row.gid], [0, 0]);
});

test('CatalogReader reads a newer revision of schema 2.5, with columns and tables it does not know', () => {
  const tables = { catalog: TABLES.catalog.replace('xattr BLOB', 'xattr BLOB, novelty TEXT DEFAULT (1)') };
  const reader = open({
    revision: '8',
    tables,
    ...withEntries(entry('/a', { mtimens: 3 })),
    sql: 'CREATE TABLE novel (a)',
  });
  assert.ok(reader.find(keyOf('/a')));
  assert.equal(reader.row.mtimeNs, 3);
});

for (const schema of ['2.6', '2.3', '3.0', '1.0', '', 'newest']) {
  test(`CatalogReader refuses schema ${JSON.stringify(schema)}`, () => {
    assert.throws(() => open({ schema }), { ...UNSUPPORTED, message: /schema/ });
  });
}

test('CatalogReader refuses a catalog without a schema, which is of a legacy one', () => {
  assert.throws(() => open({ sql: "DELETE FROM properties WHERE key = 'schema'" }), UNSUPPORTED);
});

for (const [why, tables] of [
  ['without properties', { properties: 'CREATE TABLE p (a)' }],
  ['without its main table', { catalog: 'CREATE TABLE c (parent_1, parent_2)', parents: '' }],
  ['without the index of parents', { parents: '' }],
  ['without a column', { catalog: without(TABLES.catalog, 'symlink') }],
  ['without keys', { catalog: TABLES.catalog.replace(/, CONSTRAINT.*\)\)$/, ')') }],
] as const) {
  test(`CatalogReader refuses a catalog ${why}`, () => assert.throws(() => open({ tables }), FORMAT));
}

test('CatalogReader reads properties, nested catalogs and bind mount points', () => {
  const reader = open({
    sql: `INSERT INTO properties VALUES ('root_prefix', '/usr'), ('TTL', 240);
      INSERT INTO nested_catalogs VALUES ('/usr/lib', '${HASH}-shake128', 4096), ('/usr/b', '${NULL_HASH}', 0);
      INSERT INTO bind_mountpoints VALUES ('/.cvmfs/v1', '${HASH}', 1)`,
  });
  assert.equal(reader.rootPrefix, '/usr');
  assert.equal(reader.properties.get(ascii('TTL')), '240');
  assert.deepEqual(reader.nested, [
    { path: '/usr/lib', hash: `${HASH}-shake128`, sizeBytes: 4096 },
    { path: '/usr/b', hash: NULL_HASH, sizeBytes: 0 },
  ]);
  assert.deepEqual(reader.bindMountpoints, [{ path: '/.cvmfs/v1', hash: HASH, sizeBytes: 1 }]);
  assert.equal(open({}).rootPrefix, '');
});

test('CatalogReader takes the size of nested catalogs for unknown where an older schema does not have it', () => {
  const sql = `INSERT INTO nested_catalogs VALUES ('/usr', '${HASH}')`;
  const reader = open({ revision: '0', tables: { nested: SIZELESS }, sql });
  assert.deepEqual(reader.nested, [{ path: '/usr', hash: HASH, sizeBytes: 0 }]);
});

test('CatalogReader refuses a nested catalog whose hash is none', () => {
  assert.throws(() => open({ sql: "INSERT INTO nested_catalogs VALUES ('/usr', '', 0)" }), FORMAT);
});

test('CatalogReader.counters() reads what it knows, and takes missing counters for zero', () => {
  const { self, subtree } = open({
    sql: "INSERT INTO statistics VALUES ('self_regular', 7), ('subtree_dir', 2), ('self_novelty', 9), ('other', 1)",
  }).counters();
  for (const name of COUNTER_NAMES) {
    assert.equal(self[name], name === 'regular' ? 7 : 0);
    assert.equal(subtree[name], name === 'dir' ? 2 : 0);
  }
  assert.throws(() => open({ tables: { statistics: '' } }).counters(), FORMAT);
});
