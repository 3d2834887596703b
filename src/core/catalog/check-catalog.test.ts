/** One defect at a time, made with SQLite in a sound catalog: each rule has one that only it finds. */

import assert from 'node:assert/strict';
import type { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { catalogFile, entry, HASH, insertEntry, keyOf, TABLES } from '../../../test/support/catalog-file.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { type ByteString, bytesOf } from '../bytes/byte-string.ts';
import { pathKeyColumns } from '../path-key.ts';
import { checkCatalog, type ExpectedCatalog, type ReferencedObject } from './check-catalog.ts';
import { DIRECTORY_RULES, ENTRY_RULES } from './check-entry.ts';
import { CATALOG_RULES, checkSubtreeCounters } from './check-whole.ts';
import { COUNTER_NAMES } from './counters.ts';

const DIGEST = Buffer.from(HASH, 'hex');
const DIRECTORY = { mode: 0o040755, size: 4096, flags: 1 };
const ATTRIBUTES = Buffer.from([1, 1, 6, 1, ...Buffer.from('user.av')]);
const COUNTERS: Readonly<Record<string, number>> = {
  regular: 7,
  symlink: 1,
  special: 1,
  dir: 5,
  nested: 1,
  chunked: 1,
  chunks: 2,
  file_size: 1060,
  chunked_size: 1000,
  xattr: 1,
  external: 1,
  external_file_size: 10,
};

function insertChunk(database: DatabaseSync, path: string, offset: number, size: number): void {
  const key = pathKeyColumns(keyOf(path));
  database.prepare('INSERT INTO chunks VALUES (?, ?, ?, ?, ?)').run(...key, offset, size, DIGEST);
}

/** A nested catalog for `/opt` with some of everything, and one more nested in it. */
function fillSound(database: DatabaseSync): void {
  const file = { hash: DIGEST, size: 10 };
  const group = 2 ** 32 + 2;
  for (const one of [
    entry('/opt', { ...DIRECTORY, hardlinks: 5, flags: 33 }),
    entry('/opt/.cvmfscatalog', file),
    entry('/opt/a', { ...file, hardlinks: group }),
    entry('/opt/b', { ...file, hardlinks: group }),
    entry('/opt/chunked', { size: 1000, flags: 68 }),
    entry('/opt/dev', { mode: 0o020666, size: 259, flags: 20 }),
    entry('/opt/dir', { ...DIRECTORY, hardlinks: 3 }),
    entry('/opt/dir/empty', { ...DIRECTORY, hardlinks: 2 }),
    entry('/opt/dir/other', file),
    entry('/opt/external', { ...file, flags: 132 }),
    entry('/opt/link', { mode: 0o120777, size: 1, flags: 12, symlink: 'a' }),
    entry('/opt/nested', { ...DIRECTORY, hardlinks: 9, flags: 3 }),
    entry('/opt/snapshot', { ...DIRECTORY, hardlinks: 2, flags: 0x4001 }),
    entry('/opt/x', { ...file, xattr: ATTRIBUTES }),
  ]) {
    insertEntry(database, one);
  }
  insertChunk(database, '/opt/chunked', 0, 600);
  insertChunk(database, '/opt/chunked', 600, 400);
  const properties = {
    revision: '3',
    last_modified: '1700000000',
    previous_revision: HASH,
    root_prefix: '/opt',
  };
  for (const [key, value] of Object.entries(properties))
    database.prepare('INSERT INTO properties VALUES (?, ?)').run(key, value);
  database.prepare("INSERT INTO nested_catalogs VALUES ('/opt/nested', ?, 0)").run(HASH);
  database.prepare("INSERT INTO bind_mountpoints VALUES ('/opt/snapshot', ?, 0)").run(HASH);
  for (const [name, value] of Object.entries(COUNTERS))
    database.prepare('INSERT INTO statistics VALUES (?, ?)').run(`self_${name}`, value);
}

interface Found {
  readonly rule: string;
  readonly path: string;
  readonly message: string;
}

function check(file: Uint8Array, expected: Partial<ExpectedCatalog> = {}) {
  const findings: Found[] = [];
  const objects: ReferencedObject[] = [];
  const summary = checkCatalog(
    file,
    { mountpoint: '/opt' as ByteString, sizeBytes: 0, ...expected },
    {
      hashing: nodeHashing,
      report: (rule, path, message) => findings.push({ rule, path, message }),
      onObject: (object) => objects.push(object),
    },
  );
  return { summary, findings, objects };
}

/** The sound catalog with a change; without foreign keys, which would keep some defects out. */
const damaged = (sql: string) =>
  catalogFile({
    fill: (database) => {
      database.exec('PRAGMA foreign_keys = OFF');
      fillSound(database);
      database.exec(sql);
    },
  });

const where = (path: string) => {
  const [key1, key2] = pathKeyColumns(keyOf(path));
  return `WHERE md5path_1 = ${key1} AND md5path_2 = ${key2}`;
};
const set = (path: string, assignment: string) => `UPDATE catalog SET ${assignment} ${where(path)}`;
const counter = (name: string, change: number) =>
  `UPDATE statistics SET value = value + ${change} WHERE counter = 'self_${name}'`;
const property = (key: string, value: string) =>
  `UPDATE properties SET value = '${value}' WHERE key = '${key}'`;

interface Case {
  readonly rule: string;
  readonly what: string;
  readonly path?: string;
  readonly sql?: string;
  readonly expected?: Partial<ExpectedCatalog>;
}

const CASES: readonly Case[] = [
  { rule: 'path-key', what: 'another key', path: '/opt/x', sql: set('/opt/x', 'md5path_1 = 1') },
  {
    rule: 'parent-key',
    what: 'a root below another directory',
    path: '/opt',
    sql: set('/opt', 'parent_1 = 1'),
  },
  { rule: 'name', what: 'another name of the root', path: '/opt', sql: set('/opt', "name = 'opd'") },
  { rule: 'name', what: 'no name', path: '/opt/', sql: set('/opt/x', "name = ''") },
  { rule: 'name', what: 'a slash in a name', path: '/opt/x/y', sql: set('/opt/x', "name = 'x/y'") },
  { rule: 'name', what: 'the name ..', path: '/opt/..', sql: set('/opt/x', "name = '..'") },
  { rule: 'mode-flags', what: 'a file flagged as symlink', path: '/opt/x', sql: set('/opt/x', 'flags = 12') },
  {
    rule: 'mode-flags',
    what: 'a device without its flag',
    path: '/opt/dev',
    sql: set('/opt/dev', 'flags = 4'),
  },
  {
    rule: 'catalog-flags',
    what: 'two kinds of mount point',
    path: '/opt/nested',
    sql: set('/opt/nested', 'flags = 0x4003'),
  },
  { rule: 'catalog-flags', what: 'a root without its flag', path: '/opt', sql: set('/opt', 'flags = 1') },
  { rule: 'catalog-flags', what: 'a root within', path: '/opt/dir', sql: set('/opt/dir', 'flags = 33') },
  { rule: 'catalog-flags', what: 'a file as mount point', path: '/opt/x', sql: set('/opt/x', 'flags = 6') },
  {
    rule: 'file-flags',
    what: 'an external symlink',
    path: '/opt/link',
    sql: set('/opt/link', 'flags = 140'),
  },
  {
    rule: 'file-flags',
    what: 'direct I/O of a directory',
    path: '/opt/dir',
    sql: set('/opt/dir', 'flags = 0x10001'),
  },
  {
    rule: 'encoding',
    what: 'an unknown hash algorithm',
    path: '/opt/x',
    sql: set('/opt/x', 'flags = 0x704'),
  },
  { rule: 'encoding', what: 'an unknown compression', path: '/opt/x', sql: set('/opt/x', 'flags = 0x3804') },
  { rule: 'content-hash', what: 'no hash of a file', path: '/opt/x', sql: set('/opt/x', 'hash = NULL') },
  { rule: 'content-hash', what: 'a short hash', path: '/opt/x', sql: set('/opt/x', "hash = x'00'") },
  {
    rule: 'content-hash',
    what: 'a hash of a symlink',
    path: '/opt/link',
    sql: set('/opt/link', 'hash = zeroblob(20)'),
  },
  {
    rule: 'content-hash',
    what: 'a hash of a device',
    path: '/opt/dev',
    sql: set('/opt/dev', 'hash = zeroblob(20)'),
  },
  {
    rule: 'size',
    what: 'a negative size',
    path: '/opt/x',
    sql: `${set('/opt/x', 'size = -1')}; ${counter('file_size', -11)}`,
  },
  { rule: 'symlink-target', what: 'NULL', path: '/opt/x', sql: set('/opt/x', 'symlink = NULL') },
  {
    rule: 'symlink-target',
    what: 'an empty target',
    path: '/opt/link',
    sql: set('/opt/link', "symlink = ''"),
  },
  {
    rule: 'symlink-target',
    what: 'a target of a device',
    path: '/opt/dev',
    sql: set('/opt/dev', "symlink = 'a'"),
  },
  { rule: 'link-count', what: 'link count 0', path: '/opt/x', sql: set('/opt/x', 'hardlinks = 0') },
  { rule: 'time', what: 'too many nanoseconds', path: '/opt/x', sql: set('/opt/x', 'mtimens = 1000000000') },
  {
    rule: 'xattrs',
    what: 'another version of attributes',
    path: '/opt/x',
    sql: set('/opt/x', "xattr = x'0200'"),
  },
  {
    rule: 'directory-link-count',
    what: 'a directory too few',
    path: '/opt/dir',
    sql: set('/opt/dir', 'hardlinks = 2'),
  },
  {
    rule: 'hardlink-groups',
    what: 'a member that differs',
    path: '/opt',
    sql: set('/opt/b', 'mode = 33152'),
  },
  {
    rule: 'hardlink-groups',
    what: 'another link count',
    path: '/opt',
    sql: "UPDATE catalog SET hardlinks = (1 << 32) | 3 WHERE name IN ('a', 'b')",
  },
  {
    rule: 'hardlink-groups',
    what: 'members in two directories',
    path: '/opt/dir',
    sql: `UPDATE catalog SET hardlinks = (1 << 32) | 2 WHERE name IN ('a', 'b'); ${set('/opt/dir/other', 'hardlinks = (1 << 32) | 1')}`,
  },
  {
    rule: 'catalog-marker',
    what: 'no marker',
    path: '/opt',
    sql:
      set('/opt/.cvmfscatalog', 'mode = 16895, flags = 1, hash = NULL, hardlinks = 2') +
      `; ${set('/opt', 'hardlinks = 6')}; ${counter('regular', -1)}; ${counter('dir', 1)}; ${counter('file_size', -10)}`,
  },
  { rule: 'transition-empty', what: 'an entry in front', path: '/opt/nested' },
  { rule: 'catalog-marker', what: 'a marker without catalog', path: '/opt/dir' },
  { rule: 'unique-names', what: 'a name twice', path: '/opt', sql: set('/opt/x', "name = 'external'") },
  {
    rule: 'chunks',
    what: 'a hole',
    path: '/opt/chunked',
    sql: 'UPDATE chunks SET offset = 601 WHERE offset = 600',
  },
  {
    rule: 'chunks',
    what: 'a wrong sum',
    path: '/opt/chunked',
    sql: 'UPDATE chunks SET size = 399 WHERE offset = 600',
  },
  {
    rule: 'chunks',
    what: 'no chunk',
    path: '/opt/chunked',
    sql: `DELETE FROM chunks; ${counter('chunks', -2)}`,
  },
  {
    rule: 'chunk-rows',
    what: 'chunks of nothing',
    path: '/opt',
    sql: `INSERT INTO chunks VALUES (1, 2, 0, 5, x'00')`,
  },
  {
    rule: 'properties',
    what: 'no revision',
    path: '/opt',
    sql: "DELETE FROM properties WHERE key = 'revision'",
  },
  { rule: 'properties', what: 'another revision', path: '/opt', expected: { revision: 4 } },
  { rule: 'properties', what: 'no time', path: '/opt', sql: property('last_modified', 'now') },
  { rule: 'properties', what: 'no hash', path: '/opt', sql: property('previous_revision', 'abc') },
  { rule: 'root-prefix', what: 'another prefix', path: '/opt', sql: property('root_prefix', '/usr') },
  { rule: 'catalog-size', what: 'another size', path: '/opt', expected: { sizeBytes: 4096 } },
  {
    rule: 'catalog-root',
    what: 'no root',
    path: '/opt',
    sql: `DELETE FROM catalog ${where('/opt')}; ${counter('dir', -1)}`,
  },
  {
    rule: 'orphans',
    what: 'an entry in no directory',
    path: '/opt',
    sql: set('/opt/dir/other', 'parent_1 = 5'),
  },
  { rule: 'self-counters', what: 'a wrong counter', path: '/opt', sql: counter('xattr', 1) },
  {
    rule: 'self-counters',
    what: 'a missing counter',
    path: '/opt',
    sql: "DELETE FROM statistics WHERE counter = 'self_special'",
  },
  {
    rule: 'nested-registered',
    what: 'no registration',
    path: '/opt/nested',
    sql: `DELETE FROM nested_catalogs; ${counter('nested', -1)}`,
  },
  {
    rule: 'nested-registered',
    what: 'no bind mount point',
    path: '/opt/snapshot',
    sql: 'DELETE FROM bind_mountpoints',
  },
  {
    rule: 'nested-transition',
    what: 'no transition',
    path: '/opt/nested',
    sql: `${set('/opt/nested', 'flags = 1, hardlinks = 2')}`,
  },
  {
    rule: 'nested-transition',
    what: 'no bind directory',
    path: '/opt/snapshot',
    sql: set('/opt/snapshot', 'flags = 1'),
  },
  {
    rule: 'catalog-format',
    what: 'no table',
    path: '/opt',
    sql: 'DROP TABLE nested_catalogs; DROP TABLE catalog',
  },
  { rule: 'catalog-format', what: 'an unknown schema', path: '/opt', sql: property('schema', '2.6') },
];

/** Defects that need more than a statement. */
const FILLED: Readonly<Record<string, (database: DatabaseSync) => void>> = {
  'an entry in front': (database) => addFile(database, '/opt/nested/early'),
  'a marker without catalog': (database) => addFile(database, '/opt/dir/.cvmfscatalog'),
};

function addFile(database: DatabaseSync, path: string): void {
  insertEntry(database, entry(path, { hash: DIGEST, size: 10 }));
  database.exec(`${counter('regular', 1)}; ${counter('file_size', 10)}`);
}

/** What else a defect cannot but break. */
const ALONG: Readonly<Record<string, readonly string[]>> = {
  'no name': ['path-key'],
  'a slash in a name': ['path-key'],
  'the name ..': ['path-key'],
  'a name twice': ['path-key'],
  'a file flagged as symlink': ['self-counters'],
  'a device without its flag': ['self-counters'],
  'two kinds of mount point': ['nested-registered'],
  'a file as mount point': ['nested-registered'],
  'an external symlink': ['self-counters'],
  'an entry in no directory': ['self-counters'],
};

for (const { rule, what, path, sql = '', expected } of CASES) {
  test(`checkCatalog() finds ${what} by rule ${rule}`, () => {
    const file = catalogFile({
      fill: (database) => {
        fillSound(database);
        FILLED[what]?.(database);
        database.exec(sql);
      },
    });
    const { findings } = check(file, expected);
    const found = findings.find((finding) => finding.rule === rule);
    assert.ok(found, JSON.stringify(findings));
    assert.equal(found.path, path);
    assert.notEqual(found.message, '');
    const others = new Set(findings.map((finding) => finding.rule));
    others.delete(rule);
    for (const also of ALONG[what] ?? []) others.delete(also);
    assert.deepEqual([...others], [], JSON.stringify(findings));
  });
}

test('there is a defect for every rule', () => {
  const rules = [ENTRY_RULES, DIRECTORY_RULES, CATALOG_RULES].flatMap((table) => Object.keys(table));
  assert.deepEqual(
    rules.filter((rule) => CASES.every((one) => one.rule !== rule)),
    [],
  );
});

test('checkCatalog() finds nothing in a sound catalog, and names its content and what is nested in it', () => {
  const file = damaged('');
  const { summary, findings, objects } = check(file, { sizeBytes: file.length, revision: 3 });
  assert.deepEqual(findings, []);
  assert.equal(summary!.rows, 14);
  assert.deepEqual([...summary!.transitions.keys()], ['/opt/nested']);
  assert.equal(summary!.root!.linkCount, 5);
  assert.deepEqual(
    objects.map(({ path, type, sizeBytes }) => `${path}${type === '' ? '' : ' P'} ${sizeBytes}`).sort(),
    [
      '/opt/.cvmfscatalog 10',
      '/opt/a 10',
      '/opt/b 10',
      '/opt/chunked P 400',
      '/opt/chunked P 600',
      '/opt/dir/other 10',
      '/opt/x 10',
    ],
  );
});

test('checkCatalog() finds a file that is no database, one cut off, and one left in WAL mode', () => {
  const sound = damaged('');
  const inWal = sound.slice();
  inWal[18] = 2;
  inWal[19] = 2;
  for (const [file, message] of [
    [bytesOf('not a database, whatever it says'.repeat(10) as ByteString), /does not start like one/],
    [sound.subarray(0, sound.length / 2), /page \d+ does not exist/],
    [inWal, /WAL/],
  ] as const) {
    const { summary, findings } = check(file);
    assert.equal(summary, undefined);
    assert.deepEqual(findings.map(({ rule }) => rule).slice(-1), ['catalog-format']);
    assert.match(findings.at(-1)!.message, message);
  }
});

test('checkCatalog() ends on catalogs whose directories contain themselves', () => {
  const key = pathKeyColumns(keyOf('/opt/dir'));
  const { findings } = check(damaged(set('/opt/dir', `parent_1 = ${key[0]}, parent_2 = ${key[1]}`)));
  assert.ok(
    findings.some(({ rule }) => rule === 'orphans'),
    JSON.stringify(findings),
  );
});

test('checkCatalog() takes catalogs of older schemas as they are', () => {
  const { findings } = check(
    catalogFile({
      revision: '1',
      tables: { bind: 'SELECT 1', properties: TABLES.properties },
      fill: (database) => {
        database.exec("INSERT INTO properties VALUES ('schema', '2.5'), ('schema_revision', '1')");
        database.exec("INSERT INTO properties VALUES ('revision', '1')");
        insertEntry(database, entry('', { ...DIRECTORY, hardlinks: 2 }));
        insertEntry(database, entry('/fifo', { mode: 0o010644, flags: 4 }));
        for (const name of COUNTER_NAMES.filter((one) => !/xattr|external|special/.test(one))) {
          const value = { regular: 1, dir: 1 }[name as string] ?? 0;
          database.prepare('INSERT INTO statistics VALUES (?, ?)').run(`self_${name}`, value);
        }
      },
    }),
    { mountpoint: '' as ByteString },
  );
  assert.deepEqual(findings, []);
});

test('checkCatalog() asks a catalog of before schema 2.0 for nothing that it cannot have', () => {
  const { findings, summary } = check(
    catalogFile({
      tables: { statistics: 'SELECT 1', bind: 'SELECT 1' },
      schema: '1.0',
      revision: '0',
      fill: (database) => {
        insertEntry(database, entry('', DIRECTORY));
        insertEntry(database, entry('/sub', DIRECTORY));
      },
    }),
    { mountpoint: '' as ByteString },
  );
  assert.deepEqual(findings, []);
  assert.equal(summary!.rows, 2);
});

test('checkSubtreeCounters() compares with the sum of what is nested', () => {
  const counters = (self: number, subtree: number) =>
    new Map([
      ['self_dir', self],
      ['subtree_dir', subtree],
    ]);
  const children = [counters(2, 3), counters(4, 0)];
  assert.deepEqual([...checkSubtreeCounters(counters(1, 9), children)], []);
  assert.match([...checkSubtreeCounters(counters(1, 8), children)][0]!.message, /subtree_dir is 8, .* 9/);
  assert.match(
    [...checkSubtreeCounters(new Map([['self_dir', 1]]), [])][0]!.message,
    /no counter subtree_dir/,
  );
});
