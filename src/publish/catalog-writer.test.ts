import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { contentsOf, HASH, inTwo, OTHER, ROOT, whole } from '../../test/support/catalog-contents.ts';
import { entry } from '../../test/support/memory-tree.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { openDatabase } from '../../test/support/storage-place.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { type ContentHash, NULL_HASH } from '../core/content-hash.ts';
import type { CatalogContents } from './catalog-rows.ts';
import { encodeCatalog } from './catalog-writer.ts';

function encode(
  t: TestContext,
  contents: CatalogContents,
  properties: object = ROOT,
): ReturnType<typeof openDatabase> {
  const scratch = scratchFolder(t);
  const bytes = encodeCatalog(contents, properties as typeof ROOT, join(scratch, 'temporary'));
  const database = openDatabase(bytes, scratch);
  t.after(() => database.close());
  return database;
}

const rowsOf = (database: ReturnType<typeof openDatabase>, sql: string) => {
  const statement = database.prepare(sql);
  statement.setReadBigInts(true);
  return statement.all().map((row) => ({ ...row }));
};

const pairsOf = (database: ReturnType<typeof openDatabase>, table: string) =>
  Object.fromEntries(
    database
      .prepare(`SELECT * FROM ${table}`)
      .all()
      .map((row) => Object.values(row)),
  ) as Record<string, unknown>;

test('a root catalog has the properties of schema 2.5, revision 7', async (t) => {
  const database = encode(t, (await contentsOf([entry('')])).get('')!);
  assert.deepEqual(pairsOf(database, 'properties'), {
    schema: '2.5',
    schema_revision: '7',
    revision: '7',
    last_modified: '1750000000',
    previous_revision: HASH,
    TTL: '240',
  });
});

test('a nested catalog has a root prefix and no TTL', async (t) => {
  const contents = (await contentsOf([entry('/a'), entry('/a/.cvmfscatalog', { content: '' })])).get('/a')!;
  const { ttlSeconds: _, ...nested } = {
    ...ROOT,
    previousRevision: NULL_HASH,
    rootPrefix: '/a' as ByteString,
  };
  assert.deepEqual(pairsOf(encode(t, contents, nested), 'properties'), {
    schema: '2.5',
    schema_revision: '7',
    revision: '7',
    last_modified: '1750000000',
    previous_revision: NULL_HASH,
    root_prefix: '/a',
  });
});

test('the file has a rollback journal header, pages of 4096 bytes, and passes the check of SQLite', async (t) => {
  const scratch = scratchFolder(t);
  const temporary = join(scratch, 'temporary');
  const bytes = Buffer.from(encodeCatalog((await contentsOf([entry('/a')])).get('')!, ROOT, temporary));
  assert.deepEqual([...bytes.subarray(16, 20)], [0x10, 0x00, 1, 1]);
  assert.equal(existsSync(temporary), false);
  const database = openDatabase(bytes, scratch);
  assert.deepEqual(pairsOf(database, 'pragma_integrity_check'), { ok: undefined });
  assert.deepEqual(
    database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
      .all()
      .map((row) => row['name']),
    ['idx_catalog_parent'],
  );
  database.close();
});

test('the same contents give the same bytes', async (t) => {
  const contents = (await contentsOf([entry('/a'), entry('/b', { content: 'x' })])).get('')!;
  const temporary = join(scratchFolder(t), 'temporary');
  assert.deepEqual(encodeCatalog(contents, ROOT, temporary), encodeCatalog(contents, ROOT, temporary));
});

test('rows are found under the MD5 of their path, and under that of their folder; the root has no parent', async (t) => {
  const database = encode(
    t,
    (await contentsOf([entry('/usr'), entry('/usr/bin'), entry('/usr/bin/bash', { content: 'x' })])).get('')!,
  );
  const rows = rowsOf(database, 'SELECT name, md5path_1, md5path_2, parent_1, parent_2 FROM catalog');
  const keys = (path: string) => {
    const digest = createHash('md5').update(path, 'latin1').digest();
    return [digest.readBigInt64LE(0), digest.readBigInt64LE(8)];
  };
  assert.deepEqual(
    rows.map((row) => Object.values(row)),
    [
      ['', ...keys(''), 0n, 0n],
      ['usr', ...keys('/usr'), ...keys('')],
      ['bin', ...keys('/usr/bin'), ...keys('/usr')],
      ['bash', ...keys('/usr/bin/bash'), ...keys('/usr/bin')],
    ],
  );
  // As in docs/format.md, so that the test does not repeat an error.
  assert.equal(rows[3]!['md5path_1'], 5447899406954305397n);
});

/** One row of each kind, as docs/format.md gives it: flags, size, hash, link target. */
const KINDS = [
  { what: 'a folder', one: entry('/x'), flags: 1, size: 4096, hash: null, symlink: '' },
  { what: 'a file', one: entry('/x', { content: 'a' }), flags: 4 | 0x200, size: 1, hash: 'ab', symlink: '' },
  {
    what: 'a chunked file',
    one: entry('/x', { content: 'a' }),
    content: inTwo,
    flags: 68 | 0x200,
    size: 3000,
    hash: null,
    symlink: '',
  },
  {
    what: 'an empty file',
    one: entry('/x', { content: '' }),
    content: whole(0),
    flags: 4 | 0x200,
    size: 0,
    hash: 'ab',
    symlink: '',
  },
  {
    what: 'a symlink',
    one: entry('/x', { symlink: '$(A)/ü' }),
    flags: 12,
    size: 6,
    hash: null,
    symlink: '$(A)/ü',
  },
  {
    what: 'a character device',
    one: entry('/x', { mode: 0o020666, rdev: 259 }),
    flags: 20,
    size: 259,
    hash: null,
    symlink: '',
  },
  {
    what: 'a block device',
    one: entry('/x', { mode: 0o060660, rdev: 2049 }),
    flags: 20,
    size: 2049,
    hash: null,
    symlink: '',
  },
  { what: 'a FIFO', one: entry('/x', { mode: 0o010644 }), flags: 20, size: 0, hash: null, symlink: '' },
  { what: 'a socket', one: entry('/x', { mode: 0o140755 }), flags: 20, size: 0, hash: null, symlink: '' },
];
for (const { what, one, content, flags, size, hash, symlink } of KINDS) {
  test(`${what} has flags ${flags} and size ${size}`, async (t) => {
    const database = encode(
      t,
      (await contentsOf([one], content === undefined ? {} : { '/x': content })).get('')!,
    );
    const row = database
      .prepare(
        "SELECT mode, flags, size, hash, CAST(symlink AS BLOB) AS symlink, hardlinks, typeof(symlink) AS type FROM catalog WHERE name = 'x'",
      )
      .get()!;
    assert.equal(row['mode'], one.mode);
    assert.equal(row['flags'], flags);
    assert.equal(row['size'], size);
    assert.equal(
      row['hash'] === null ? null : Buffer.from(row['hash'] as Uint8Array).toString('hex'),
      hash === null ? null : hash.repeat(20),
    );
    assert.equal(Buffer.from(row['symlink'] as Uint8Array).toString('latin1'), symlink);
    assert.equal(row['type'], 'text');
    assert.equal(row['hardlinks'], what === 'a folder' ? 2 : 1);
  });
}

for (const [hashAlgorithm, compression, flags] of [
  ['sha1', 'zlib', 4],
  ['sha1', 'none', 2052],
  ['rmd160', 'zlib', 260],
  ['shake128', 'zlib', 516],
  ['shake128', 'none', 2564],
] as const) {
  test(`a file stored as ${hashAlgorithm} and ${compression} has flags ${flags}`, async (t) => {
    const suffix = hashAlgorithm === 'sha1' ? '' : `-${hashAlgorithm}`;
    const stored = { ...whole(1), hash: `${'ab'.repeat(20)}${suffix}` as ContentHash, compression };
    const contents = (await contentsOf([entry('/x', { content: 'a' })], { '/x': stored })).get('')!;
    assert.equal(
      encode(t, contents).prepare("SELECT flags FROM catalog WHERE name = 'x'").get()!['flags'],
      flags,
    );
  });
}

test('owners, times before 1970, nanoseconds, all mode bits and extended attributes are in their columns', async (t) => {
  const one = entry('/x', {
    content: 'a',
    mode: 0o106755,
    uid: 4_294_967_294,
    gid: 65534,
    mtimeSeconds: -5,
    mtimeNs: 999_999_999,
    xattrs: { 'user.foo': 'bar' },
  });
  const row = encode(t, (await contentsOf([one])).get('')!)
    .prepare("SELECT mode, uid, gid, mtime, mtimens, hex(xattr) AS xattr FROM catalog WHERE name = 'x'")
    .get()!;
  assert.deepEqual(
    { ...row },
    {
      mode: 0o106755,
      uid: 4_294_967_294,
      gid: 65534,
      mtime: -5,
      mtimens: 999_999_999,
      xattr: '01010803757365722E666F6F626172',
    },
  );
});

test('names are stored as text of the bytes they are, UTF-8 or not', async (t) => {
  const database = encode(
    t,
    (await contentsOf([entry('/\xff\xfe\n', { content: 'a' }), entry(`/${'n'.repeat(255)}`)])).get('')!,
  );
  const rows = database
    .prepare("SELECT hex(CAST(name AS BLOB)) AS name, typeof(name) AS type FROM catalog WHERE name <> ''")
    .all();
  assert.deepEqual(
    rows.map((row) => ({ ...row })),
    [
      { name: '6E'.repeat(255), type: 'text' },
      { name: 'FFFE0A', type: 'text' },
    ],
  );
});

test('chunks stand in their table, with offsets, sizes and hashes', async (t) => {
  const database = encode(t, (await contentsOf([entry('/x', { content: 'a' })], { '/x': inTwo })).get('')!);
  assert.deepEqual(
    database
      .prepare(
        'SELECT offset, chunks.size AS size, hex(chunks.hash) AS hash, name FROM chunks JOIN catalog USING (md5path_1, md5path_2) ORDER BY offset',
      )
      .all()
      .map((row) => Object.values(row)),
    [
      [0, 2000, 'AB'.repeat(20), 'x'],
      [2000, 1000, 'CD'.repeat(20), 'x'],
    ],
  );
});

test('names of one file in a folder share a group and a link count; groups count from 1 in each catalog', async (t) => {
  const linked = (path: string, linkKey: string, content?: string) =>
    entry(path, { linkKey, ...(content === undefined ? { mode: 0o100644 } : { content }) });
  const catalogs = await contentsOf([
    linked('/b1', 'b', 'x'),
    linked('/a1', 'a', 'x'),
    linked('/a2', 'a'),
    linked('/b2', 'b'),
    linked('/b3', 'b'),
    linked('/alone', 'c', 'x'),
    entry('/n'),
    entry('/n/.cvmfscatalog', { content: '' }),
    linked('/n/b4', 'b'),
    linked('/n/b5', 'b'),
  ]);
  const groups = (path: string) =>
    Object.fromEntries(
      rowsOf(encode(t, catalogs.get(path)!), 'SELECT name, hardlinks FROM catalog WHERE mode = 33188').map(
        (row) => [
          row['name'],
          `${(row['hardlinks'] as bigint) >> 32n}:${(row['hardlinks'] as bigint) & 0xffffffffn}`,
        ],
      ),
    );
  assert.deepEqual(groups(''), { a1: '1:2', a2: '1:2', alone: '0:1', b1: '2:3', b2: '2:3', b3: '2:3' });
  assert.deepEqual(groups('/n'), { '.cvmfscatalog': '0:1', b4: '1:2', b5: '1:2' });
});

test('folders have as many links as they have folders, and two more; transition points and roots agree', async (t) => {
  const catalogs = await contentsOf([
    entry('/n', { uid: 4, xattrs: { 'user.a': '1' } }),
    entry('/n/.cvmfscatalog', { content: '' }),
    entry('/n/a'),
    entry('/n/b'),
    entry('/m'),
  ]);
  const columns =
    'md5path_1, md5path_2, parent_1, parent_2, hardlinks, size, mode, mtime, mtimens, uid, gid, xattr, name';
  const outer = encode(t, catalogs.get('')!);
  const inner = encode(t, catalogs.get('/n')!);
  const [point] = rowsOf(outer, `SELECT ${columns} FROM catalog WHERE name = 'n'`);
  assert.deepEqual(rowsOf(inner, `SELECT ${columns} FROM catalog WHERE name = 'n'`), [point]);
  assert.equal(point!['hardlinks'], 4n);
  assert.deepEqual(
    rowsOf(outer, "SELECT flags, hardlinks FROM catalog WHERE name IN ('', 'n') ORDER BY name"),
    [
      { flags: 1n, hardlinks: 4n },
      { flags: 3n, hardlinks: 4n },
    ],
  );
  assert.deepEqual(rowsOf(inner, "SELECT flags FROM catalog WHERE name = 'n'"), [{ flags: 33n }]);
  assert.deepEqual(rowsOf(outer, 'SELECT path, sha1, size FROM nested_catalogs'), [
    { path: '/n', sha1: OTHER, size: 4096n },
  ]);
  assert.deepEqual(rowsOf(outer, "SELECT name FROM catalog WHERE name IN ('a', 'b')"), []);
});

test('statistics count what each catalog has itself, and what is below it, at every level', async (t) => {
  const catalogs = await contentsOf(
    [
      entry('/file', { content: 'x', xattrs: { 'user.a': '1' } }),
      entry('/link', { symlink: 'file' }),
      entry('/dev', { mode: 0o020666, rdev: 259 }),
      entry('/n'),
      entry('/n/.cvmfscatalog', { content: '' }),
      entry('/n/chunked', { content: 'x' }),
      entry('/n/d', { xattrs: { 'user.a': '1' } }),
      entry('/n/m'),
      entry('/n/m/.cvmfscatalog', { content: '' }),
      entry('/n/m/one', { content: 'x', linkKey: 'k' }),
      entry('/n/m/two', { mode: 0o100644, linkKey: 'k' }),
      entry('/n/m/fifo', { mode: 0o010644 }),
    ],
    { '/n/chunked': inTwo, '/file': whole(10), '/n/m/one': whole(100), '/n/m/two': whole(100) },
  );
  const nonZero = (path: string) =>
    Object.fromEntries(
      Object.entries(pairsOf(encode(t, catalogs.get(path)!), 'statistics')).filter(
        ([, value]) => value !== 0,
      ),
    );
  // Each nested root is counted by its own catalog and by the one above; markers are files of one byte here.
  assert.deepEqual(nonZero('/n/m'), { self_dir: 1, self_regular: 3, self_special: 1, self_file_size: 201 });
  assert.deepEqual(nonZero('/n'), {
    self_dir: 3,
    self_regular: 2,
    self_nested: 1,
    self_chunked: 1,
    self_chunks: 2,
    self_file_size: 3001,
    self_chunked_size: 3000,
    self_xattr: 1,
    subtree_dir: 1,
    subtree_regular: 3,
    subtree_special: 1,
    subtree_file_size: 201,
  });
  assert.deepEqual(nonZero(''), {
    self_dir: 2,
    self_regular: 1,
    self_symlink: 1,
    self_special: 1,
    self_nested: 1,
    self_file_size: 10,
    self_xattr: 1,
    subtree_dir: 4,
    subtree_regular: 5,
    subtree_special: 1,
    subtree_nested: 1,
    subtree_chunked: 1,
    subtree_chunks: 2,
    subtree_file_size: 3202,
    subtree_chunked_size: 3000,
    subtree_xattr: 1,
  });
  assert.equal(Object.keys(pairsOf(encode(t, catalogs.get('')!), 'statistics')).length, 24);
});

test('a temporary file that cannot be written gives STORAGE and its name', async (t) => {
  const temporary = join(scratchFolder(t), 'no/such/folder');
  const contents = (await contentsOf([entry('/a')])).get('')!;
  assert.throws(() => encodeCatalog(contents, ROOT, temporary), {
    code: 'STORAGE',
    message: `Cannot write temporary file ${temporary}`,
  });
});
