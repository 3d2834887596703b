/** Which schemas and tables CatalogReader reads, and what they say of the catalog as a whole. */

import assert from 'node:assert/strict';
import test from 'node:test';
import {
  type CatalogOptions,
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
import { ascii } from '../bytes/byte-string.ts';
import { NULL_HASH } from '../content-hash.ts';
import { pathKeyColumns } from '../path-key.ts';
import { COUNTER_NAMES } from './counters.ts';

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
    const reader = openCatalog({ ...options, tables, ...withEntries(entry('/a', { mtime: 5, uid: 6 })) });
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
    const reader = openCatalog({ revision, ...withEntries(entry('/a', columns)) });
    assert.ok(reader.find(keyOf('/a')));
    assert.deepEqual([reader.row.mtimeNs, reader.row.hasXattrs], [mtimeNs, hasXattrs]);
  }
});

test('CatalogReader takes owners for root where the catalog has no columns for them', () => {
  const tables = { catalog: without(TABLES.catalog, 'uid', 'gid') };
  const reader = openCatalog({ tables, ...withEntries(entry('/a')) });
  assert.ok(reader.find(keyOf('/a')));
  assert.deepEqual([reader.row.uid, reader.row.gid], [0, 0]);
});

test('CatalogReader reads a newer revision of schema 2.5, with columns and tables it does not know', () => {
  const tables = { catalog: TABLES.catalog.replace('xattr BLOB', 'xattr BLOB, novelty TEXT DEFAULT (1)') };
  const reader = openCatalog({
    revision: '8',
    tables,
    ...withEntries(entry('/a', { mtimens: 3 })),
    sql: 'CREATE TABLE novel (a)',
  });
  assert.ok(reader.find(keyOf('/a')));
  assert.equal(reader.row.mtimeNs, 3);
});

const LEGACY = {
  catalog: without(TABLES.catalog, 'uid', 'gid', 'mtimens').replace(/\s*xattr BLOB,/, ''),
  nested: SIZELESS,
  chunks: '',
  bind: '',
  statistics: '',
};

for (const [why, schema, sql] of [
  ['schema 1.0', '1.0', ''],
  ['schema 1.2', '1.2', ''],
  ['schema 2.0', '2.0', ''],
  ['a catalog without a schema', '', "DELETE FROM properties WHERE key = 'schema'"],
] as const) {
  test(`CatalogReader reads ${why}: no hard links, owners, attributes, nanoseconds, chunks and counters`, () => {
    assert.doesNotMatch(LEGACY.catalog, /uid|xattr|mtimens/);
    const reader = openCatalog({
      schema,
      revision: '7',
      tables: LEGACY,
      ...withEntries(entry('/a', { hardlinks: 2 ** 40, mtime: 5, hash: Buffer.from(HASH, 'hex'), size: 9 })),
      sql: `ALTER TABLE catalog RENAME COLUMN hardlinks TO inode; ${sql}`,
    });
    assert.ok(reader.find(keyOf('/a')));
    const { linkCount, hardlinkGroup, uid, gid, mtimeSeconds, mtimeNs, hasXattrs, hash, sizeBytes } =
      reader.row;
    assert.deepEqual([linkCount, hardlinkGroup, uid, gid], [1, 0, 0, 0]);
    assert.deepEqual([mtimeSeconds, mtimeNs, hasXattrs, hash, sizeBytes], [5, 0, false, HASH, 9]);
    assert.deepEqual(reader.hardlinkGroups(keyOf('')), new Map());
    assert.deepEqual(reader.counters().self, openCatalog({}).counters().self);
    assert.deepEqual([reader.nested, reader.bindMountpoints], [[], []]);
  });
}

for (const schema of ['2.1', '2.3']) {
  test(`CatalogReader reads schema ${schema}, with hard links, chunks and counters`, () => {
    const tables = { catalog: without(TABLES.catalog, 'mtimens').replace(/\s*xattr BLOB,/, ''), bind: '' };
    const file = entry('/a', { hardlinks: 2 ** 32 + 2, size: 30, flags: 68, uid: 7 });
    const reader = openCatalog({
      schema,
      tables: { ...tables, nested: SIZELESS },
      fill: (database) => {
        insertEntry(database, file);
        const insert = database.prepare(`INSERT INTO chunks VALUES (?, ?, ?, 10, X'${HASH}')`);
        for (const offset of [0, 10, 20]) insert.run(...pathKeyColumns(keyOf('/a')), offset);
      },
      sql: "INSERT INTO statistics VALUES ('self_regular', 1)",
    });
    assert.ok(reader.find(keyOf('/a')));
    const { linkCount, hardlinkGroup, uid, flags } = reader.row;
    assert.deepEqual([linkCount, hardlinkGroup, uid], [2, 1, 7]);
    assert.equal(reader.chunks(keyOf('/a'), 30, flags).length, 3);
    assert.equal(reader.counters().self.regular, 1);
  });
}

for (const schema of ['2.6', '3.0', '2.45', '', 'newest']) {
  test(`CatalogReader refuses schema ${JSON.stringify(schema)}, and says so`, () => {
    assert.throws(() => openCatalog({ schema }), {
      ...UNSUPPORTED,
      message: `Cannot open catalog: its schema is ${JSON.stringify(schema)}; those up to 2.5 are known`,
    });
  });
}

for (const [why, tables] of [
  ['without properties', { properties: 'CREATE TABLE p (a)' }],
  ['without its main table', { catalog: 'CREATE TABLE c (parent_1, parent_2)', parents: '' }],
  ['without the index of parents', { parents: '' }],
  ['without hard links', { catalog: TABLES.catalog.replace('hardlinks', 'inode') }],
  ['without a column', { catalog: without(TABLES.catalog, 'symlink') }],
  ['without keys', { catalog: TABLES.catalog.replace(/, CONSTRAINT.*\)\)$/, ')') }],
] as const) {
  test(`CatalogReader refuses a catalog ${why}`, () => assert.throws(() => openCatalog({ tables }), FORMAT));
}

test('CatalogReader reads properties, nested catalogs and bind mount points', () => {
  const reader = openCatalog({
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
  assert.equal(openCatalog({}).rootPrefix, '');
});

test('CatalogReader takes the size of nested catalogs for unknown where an older schema does not have it', () => {
  const sql = `INSERT INTO nested_catalogs VALUES ('/usr', '${HASH}')`;
  const reader = openCatalog({ revision: '0', tables: { nested: SIZELESS }, sql });
  assert.deepEqual(reader.nested, [{ path: '/usr', hash: HASH, sizeBytes: 0 }]);
});

test('CatalogReader refuses a nested catalog whose hash is none', () => {
  assert.throws(() => openCatalog({ sql: "INSERT INTO nested_catalogs VALUES ('/usr', '', 0)" }), FORMAT);
});

test('CatalogReader.counters() reads what it knows, and takes missing counters for zero', () => {
  const { self, subtree } = openCatalog({
    sql: "INSERT INTO statistics VALUES ('self_regular', 7), ('subtree_dir', 2), ('self_novelty', 9), ('other', 1)",
  }).counters();
  for (const name of COUNTER_NAMES) {
    assert.equal(self[name], name === 'regular' ? 7 : 0);
    assert.equal(subtree[name], name === 'dir' ? 2 : 0);
  }
  assert.throws(() => openCatalog({ tables: { statistics: '' } }).counters(), FORMAT);
});
