import assert from 'node:assert/strict';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import test from 'node:test';
import fc from 'fast-check';
import { ascii, bytesOf } from '../bytes/byte-string.ts';
import { encodeUtf8 } from '../bytes/utf8.ts';
import type { PathKey } from '../path-key.ts';
import type { TableCursor } from './btree.ts';
import { decodeSqliteHeader, parseColumnNames, readTextPairs, SqliteDatabase } from './database.ts';
import type { SqliteRecord } from './record.ts';

type Value = null | bigint | number | string | Uint8Array;

/** What SQLite makes of statements: the file, and whatever `query` asks it. */
function written<T>(
  sql: string,
  use: (database: DatabaseSync) => T,
  pageSize = 4096,
): { file: Uint8Array; result: T } {
  const database = new DatabaseSync(':memory:');
  try {
    database.exec(`PRAGMA page_size = ${pageSize}; ${sql}`);
    const result = use(database);
    return { result, file: database.serialize() };
  } finally {
    database.close();
  }
}

const fileOf = (sql: string) => written(sql, () => undefined).file;

const MAX = BigInt(Number.MAX_SAFE_INTEGER);
const signed64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  // The borders between the serial types.
  fc
    .tuple(
      fc.constantFrom(8n, 16n, 24n, 32n, 48n, 53n, 63n),
      fc.constantFrom(-2n, -1n, 0n, 1n),
      fc.constantFrom(1n, -1n),
    )
    .map(([bits, off, sign]) => BigInt.asIntN(64, sign * (2n ** (bits - 1n) + off))),
);
const anyValue: fc.Arbitrary<Value> = fc.oneof(
  fc.constant(null),
  signed64,
  fc.double({ noNaN: true }),
  fc.string({ unit: fc.constantFrom('a', "'", '\u00e9', '\u20ac', '\u{1f600}') }),
  fc.uint8Array({ maxLength: 60 }),
  // Beyond a page, so that overflow pages are needed.
  fc
    .tuple(fc.integer({ min: 100, max: 9000 }), fc.nat(255))
    .map(([size, byte]) => new Uint8Array(size).fill(byte)),
);

function assertColumn(record: SqliteRecord, column: number, value: Value): void {
  if (value === null) {
    assert.ok(record.isNull(column));
    assert.equal(record.number(column), 0);
  } else if (typeof value === 'bigint') {
    assert.equal((BigInt(record.high(column)) << 32n) | BigInt(record.low(column) >>> 0), value);
    if (value <= MAX && value >= -MAX) assert.equal(record.number(column), Number(value));
    else assert.throws(() => record.number(column), { name: 'ThimbleError', code: 'LIMIT' });
  } else if (typeof value === 'number') {
    assert.ok(record.isNumber(column));
    assert.throws(() => record.number(column), { name: 'ThimbleError', code: 'FORMAT' });
  } else {
    const bytes = typeof value === 'string' ? encodeUtf8(value) : value;
    assert.ok(!record.isNull(column) && !record.isNumber(column));
    assert.deepEqual(record.blob(column), bytes);
    assert.deepEqual(bytesOf(record.text(column)), bytes);
  }
}

function rowidsOf(cursor: TableCursor): bigint[] {
  const rowids: bigint[] = [];
  for (let more = cursor.first(); more; more = cursor.next()) rowids.push(BigInt(cursor.rowid));
  return rowids;
}

const anyTable = fc.integer({ min: 1, max: 6 }).chain((width) =>
  fc.record({
    pageSize: fc.constantFrom(512, 1024, 4096, 65536),
    rows: fc.uniqueArray(
      fc.tuple(
        fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
        fc.array(anyValue, { minLength: width, maxLength: width }),
      ),
      { selector: ([rowid]) => rowid, maxLength: 60, size: 'max' },
    ),
    width: fc.constant(width),
  }),
);

test('SqliteDatabase reads the rows of any table as SQLite wrote them, in order and one by one', () => {
  fc.assert(
    fc.property(anyTable, ({ pageSize, rows, width }) => {
      const columns = Array.from({ length: width }, (_, i) => `c${i}`);
      const { file } = written(
        `CREATE TABLE t (${columns.join(', ')})`,
        (database) => {
          const insert = database.prepare(
            `INSERT INTO t (rowid, ${columns.join(', ')}) VALUES (?${', ?'.repeat(width)})`,
          );
          for (const [rowid, values] of rows) insert.run(BigInt(rowid), ...(values as SQLInputValue[]));
        },
        pageSize,
      );
      const database = SqliteDatabase.open(file);
      assert.deepEqual(
        [...database.columns('t')],
        columns.map((name, i) => [name, i]),
      );
      const cursor = database.table('t');
      const sorted = rows.map(([rowid]) => BigInt(rowid)).sort((a, b) => (a < b ? -1 : 1));
      assert.deepEqual(rowidsOf(cursor), sorted);
      for (const [rowid, values] of rows) {
        assert.ok(cursor.seek(rowid));
        for (const [i, value] of values.entries()) assertColumn(cursor.record, i, value);
        assert.equal(
          cursor.seek(rowid - 1),
          rows.some(([other]) => other === rowid - 1),
        );
      }
    }),
    { numRuns: 80 },
  );
});

test('SqliteDatabase reads rows of every size around those that start to overflow', () => {
  const sizes = Array.from({ length: 1200 }, (_, i) => i);
  const { file } = written(
    'CREATE TABLE t (a)',
    (database) => {
      const insert = database.prepare('INSERT INTO t VALUES (?)');
      for (const size of sizes) insert.run(new Uint8Array(size).fill(size));
    },
    512,
  );
  const cursor = SqliteDatabase.open(file).table('t');
  for (const size of sizes) {
    assert.ok(cursor.seek(size + 1));
    assertColumn(cursor.record, 0, new Uint8Array(size).fill(size));
  }
});

test('TableCursor finds every row of a deep tree, in any order of asking', () => {
  const count = 20_000;
  const { file } = written(
    `CREATE TABLE t (a, b); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
     INSERT INTO t (rowid, a, b) SELECT i * 3, i, hex(zeroblob(20)) FROM n`,
    () => undefined,
    512,
  );
  const database = SqliteDatabase.open(file);
  const cursor = database.table('t');
  assert.equal(rowidsOf(cursor).length, count);
  for (let i = 0; i < count; i++) {
    const wanted = 1 + ((i * 7919) % count);
    assert.ok(cursor.seek(wanted * 3));
    assert.equal(cursor.record.number(0), wanted);
    assert.ok(!cursor.seek(wanted * 3 + 1));
  }
  for (let wanted = 1; wanted <= count; wanted++)
    assert.ok(cursor.seek(wanted * 3) && cursor.rowid === wanted * 3);
});

const pathKey = (a: bigint, b: bigint): PathKey =>
  Int32Array.from([a >> 32n, a, b >> 32n, b], (half) => Number(BigInt.asIntN(32, half)));

test('IndexCursor finds and walks the entries of a key as SQLite does', () => {
  const part = fc.oneof(
    fc.constantFrom(0n, 1n, -1n, 2n ** 32n, -(2n ** 32n), 2n ** 31n, 2n ** 63n - 1n, -(2n ** 63n)),
    signed64,
  );
  // Few different keys, so that entries of one key fill pages.
  const keys = fc.uniqueArray(fc.tuple(part, part), { selector: String, minLength: 2, maxLength: 6 });
  fc.assert(
    fc.property(keys, fc.array(fc.nat(5), { minLength: 1, maxLength: 400, size: 'max' }), (all, picks) => {
      const { file } = written(
        'CREATE TABLE t (a INTEGER, b INTEGER); CREATE INDEX i ON t (a, b)',
        (database) => {
          const insert = database.prepare('INSERT INTO t VALUES (?, ?)');
          for (const pick of picks) insert.run(...all[pick % all.length]!);
        },
        512,
      );
      const cursor = SqliteDatabase.open(file).index('i');
      for (const [i, [a, b]] of all.entries()) {
        const key = pathKey(a, b);
        const expected = picks.flatMap((pick, at) => (pick % all.length === i ? [at + 1] : []));
        const walked: number[] = [];
        for (let more = cursor.seek(key); more && cursor.matches(key); more = cursor.next())
          walked.push(cursor.rowid);
        assert.deepEqual(walked, expected);
        for (const after of [0, ...expected]) {
          const next = expected.find((rowid) => rowid > after);
          assert.equal(cursor.seek(key, after) ? cursor.rowid : undefined, next);
        }
      }
    }),
    { numRuns: 80 },
  );
});

test('SqliteDatabase finds its way in a schema that fills more than one page', () => {
  const tables = Array.from({ length: 200 }, (_, i) => `CREATE TABLE table_number_${i} (column_${i} TEXT);`);
  const database = SqliteDatabase.open(fileOf(tables.join(' ')));
  assert.ok(database.hasTable('table_number_199') && !database.hasTable('table_number_200'));
  assert.deepEqual([...database.columns('table_number_123').keys()], ['column_123']);
});

test('SqliteDatabase takes columns that were added later for NULL in older rows', () => {
  const database = SqliteDatabase.open(
    fileOf('CREATE TABLE t (a); INSERT INTO t VALUES (1); ALTER TABLE t ADD b TEXT'),
  );
  const cursor = database.table('t');
  assert.ok(cursor.first());
  assert.equal(database.columns('t').get('b'), 1);
  assert.ok(cursor.record.isNull(1));
});

test('SqliteDatabase reads a file from which much was deleted', () => {
  const file =
    fileOf(`CREATE TABLE t (a); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO t SELECT zeroblob(100) FROM n; DELETE FROM t WHERE rowid % 100 != 0`);
  const rowids = rowidsOf(SqliteDatabase.open(file).table('t'));
  assert.deepEqual(
    rowids,
    Array.from({ length: 30 }, (_, i) => BigInt(100 * (i + 1))),
  );
});

for (const [why, use] of [
  ['a table that is not there', (database: SqliteDatabase) => database.table('missing')],
  ['columns of a table that is not there', (database: SqliteDatabase) => database.columns('missing')],
  ['an index that is not there', (database: SqliteDatabase) => database.index('t')],
  ['a table WITHOUT ROWID', (database: SqliteDatabase) => database.table('w').first()],
  ['a negative row id', (database: SqliteDatabase) => database.table('negative').first()],
] as const) {
  test(`SqliteDatabase refuses ${why}`, () => {
    const database = SqliteDatabase.open(
      fileOf(`CREATE TABLE t (a); CREATE TABLE w (a PRIMARY KEY) WITHOUT ROWID; INSERT INTO w VALUES (1);
        CREATE TABLE negative (a); INSERT INTO negative (rowid, a) VALUES (-5, 1)`),
    );
    const code = why === 'a negative row id' ? 'LIMIT' : 'FORMAT';
    assert.throws(() => use(database), { name: 'ThimbleError', code });
  });
}

test('SqliteDatabase refuses a schema of more than 1000 tables', () => {
  const tables = Array.from({ length: 1001 }, (_, i) => `CREATE TABLE t${i} (a);`);
  const code = { name: 'ThimbleError', code: 'FORMAT' };
  assert.throws(() => SqliteDatabase.open(fileOf(`BEGIN; ${tables.join(' ')} COMMIT`)), code);
});

for (const [why, code, change] of [
  ['that is shorter than its header', 'FORMAT', (file: Uint8Array) => file.subarray(0, 99)],
  ['that ends within its first page', 'FORMAT', (file: Uint8Array) => file.subarray(0, 4095)],
  ['with another magic', 'FORMAT', (file: Uint8Array) => patched(file, 15, 1)],
  ['with a page size that is no power of two', 'FORMAT', (file: Uint8Array) => patched(file, 16, 0x11)],
  ['with a page size below 512', 'FORMAT', (file: Uint8Array) => patched(file, 16, 0x01, 0x00 /* 256 */)],
  ['written in WAL mode', 'UNSUPPORTED', (file: Uint8Array) => patched(file, 18, 2, 2)],
  ['to be read in WAL mode', 'UNSUPPORTED', (file: Uint8Array) => patched(file, 19, 2)],
  ['with UTF-16 text', 'UNSUPPORTED', (file: Uint8Array) => patched(file, 59, 2)],
] as const) {
  test(`SqliteDatabase.open() refuses a file ${why} with ${code}`, () => {
    const file = fileOf('CREATE TABLE t (a)');
    assert.throws(() => SqliteDatabase.open(change(file)), { name: 'ThimbleError', code });
  });
}

test('decodeSqliteHeader() refuses more reserved bytes than a page can spare', () => {
  const { file } = written('CREATE TABLE t (a)', () => undefined, 512);
  assert.deepEqual(decodeSqliteHeader(patched(file, 20, 32)), { pageSize: 512, reservedBytes: 32 });
  assert.throws(() => decodeSqliteHeader(patched(file, 20, 33)), { name: 'ThimbleError', code: 'FORMAT' });
});

function patched(file: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = file.slice();
  copy.set(bytes, at);
  return copy;
}

for (const sql of [
  'CREATE TABLE t (a INTEGER, b TEXT, CONSTRAINT pk_t PRIMARY KEY (a, b))',
  'CREATE TABLE t ("a b" TEXT, `c` BLOB, [d e] NUMERIC DEFAULT (1 + 2), f)',
  'CREATE TABLE t (a INTEGER PRIMARY KEY, b DECIMAL(10, 2) CHECK (b > max(1, 2)), UNIQUE (a, b), CHECK (a > 0))',
  'CREATE TABLE t (\n  a TEXT,\n  b TEXT,\n  FOREIGN KEY (a) REFERENCES t (b))',
  'CREATE TABLE t (constraints TEXT, uniqueness TEXT, "primary" TEXT, checks TEXT)',
]) {
  test(`parseColumnNames() sees the columns of ${sql.replace(/\s+/g, ' ')}`, () => {
    const { result } = written(sql, (database) =>
      database.prepare('SELECT name FROM pragma_table_info(?)').all('t'),
    );
    const names = result.map((row) => String(row['name']));
    assert.deepEqual(
      [...parseColumnNames(sql)],
      names.map((name, i) => [name, i]),
    );
  });
}

test('parseColumnNames() refuses a statement without columns', () => {
  assert.throws(() => parseColumnNames('CREATE TABLE t'), { name: 'ThimbleError', code: 'FORMAT' });
});

test('readTextPairs() reads text and numbers, and refuses a table without keys or values', () => {
  const database = SqliteDatabase.open(
    fileOf(`CREATE TABLE p (key TEXT, value); INSERT INTO p VALUES ('a', 'x'), ('b', 42), ('c', NULL), ('a', 'y');
      CREATE TABLE q (key TEXT); INSERT INTO q VALUES ('a')`),
  );
  assert.deepEqual(
    [...readTextPairs(database, 'p')],
    [
      [ascii('a'), 'y'],
      [ascii('b'), '42'],
      [ascii('c'), ''],
    ],
  );
  assert.throws(() => readTextPairs(database, 'q'), { name: 'ThimbleError', code: 'FORMAT' });
});
