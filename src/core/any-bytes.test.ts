/** Whatever bytes a decoder gets, it decodes them or refuses them with a code: no other error, and no endless loop. */

import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import test from 'node:test';
import fc from 'fast-check';
import { nodeHashing } from '../node/hashing.ts';
import { nodeSignatures } from '../node/signatures.ts';
import { ascii, type Bytes, byteStringOf, bytesOf, concatBytes } from './bytes/byte-string.ts';
import { decodeBase64, decodeHex } from './bytes/hex.ts';
import { parseUnsigned } from './bytes/integer.ts';
import { decodeUtf8, displayBytes } from './bytes/utf8.ts';
import { CatalogReader, type CatalogRow } from './catalog/catalog-reader.ts';
import { decodeXattrs } from './catalog/xattrs.ts';
import { decodePemCertificate } from './certificate.ts';
import { hashBytes, parseContentHash, parseFingerprint } from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import { decodeHistory, findTagByDate } from './history.ts';
import { parseManifest } from './manifest.ts';
import { NO_PARENT, type PathKey, pathKeyColumns, pathKeyOf } from './path-key.ts';
import { parseSignedText } from './signed-text.ts';
import { SqliteDatabase } from './sqlite/database.ts';
import { expandSymlink } from './symlink-variables.ts';
import { importMasterKeys } from './trust.ts';
import { parseWhitelist } from './whitelist.ts';

const SEED = 20_260_101;
const REFUSALS: readonly string[] = ['FORMAT', 'LIMIT', 'INTEGRITY', 'UNSUPPORTED'];

const HASH = 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497';
const FINGERPRINT = `${HASH.toUpperCase().replace(/..(?!$)/g, '$&:')}-SHAKE128`;
const text = (value: string) => bytesOf(ascii(value));
const MANIFEST = text(
  `C${HASH}\nB57344\nRd41d8cd98f00b204e9800998ecf8427e\nD240\nS3\nGyes\nAno\nNa.example.org\nX${HASH}\nH${HASH}\nT1700000000\n`,
);
const WHITELIST = text(`20231114221320\nE20991231235959\nNa.example.org\n${FINGERPRINT} # mine\n`);

/** The text with the hash line that belongs to it, so that what is behind the hash check is reached. */
function hashed(lines: Bytes): Bytes {
  return concatBytes([lines, text(`--\n${hashBytes(nodeHashing, 'sha1', lines)}\nsignature`)]);
}

function databaseOf(sql: string, fill: (database: DatabaseSync) => void = () => {}): Bytes {
  const database = new DatabaseSync(':memory:');
  try {
    // Small pages make many of them, and deep trees.
    database.exec(`PRAGMA page_size = 512; ${sql}`);
    fill(database);
    return database.serialize();
  } finally {
    database.close();
  }
}

const KEYED = 'CREATE TABLE properties (key TEXT, value TEXT);';
const ROOT = pathKeyOf(nodeHashing, ascii(''));
const FILE = pathKeyOf(nodeHashing, ascii('/n7'));

const CATALOG = databaseOf(
  `${KEYED} INSERT INTO properties VALUES ('schema', '2.5'), ('schema_revision', '7');
  CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, hardlinks INTEGER,
    hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT, symlink TEXT,
    uid INTEGER, gid INTEGER, xattr BLOB, PRIMARY KEY (md5path_1, md5path_2));
  CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2);
  CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    PRIMARY KEY (md5path_1, md5path_2, offset, size));
  CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER);
  INSERT INTO nested_catalogs VALUES ('/usr', '${HASH}', 4096);
  CREATE TABLE statistics (counter TEXT, value INTEGER);
  INSERT INTO statistics VALUES ('self_regular', 7), ('subtree_dir', 2);`,
  (database) => {
    const row = database.prepare(
      `INSERT INTO catalog VALUES (?, ?, ?, ?, 4294967298, X'${HASH}', 5, 33188, 9, 1, ?, ?, ?, 1000, 100, X'010101016131')`,
    );
    row.run(...pathKeyColumns(ROOT), ...pathKeyColumns(NO_PARENT), 1, '', '');
    for (let i = 0; i < 40; i++) {
      const name = `n${i}`;
      // Every tenth row needs overflow pages.
      const symlink = i % 10 === 0 ? 'long/'.repeat(300) : '$(A:-b)';
      row.run(
        ...pathKeyColumns(pathKeyOf(nodeHashing, ascii(`/${name}`))),
        ...pathKeyColumns(ROOT),
        4,
        name,
        symlink,
      );
    }
    const chunk = database.prepare(`INSERT INTO chunks VALUES (?, ?, ?, 10, X'${HASH}')`);
    for (let i = 0; i < 30; i++) chunk.run(...pathKeyColumns(FILE), 10 * i);
  },
);

const HISTORY = databaseOf(
  `${KEYED} INSERT INTO properties VALUES ('schema', '1.0'), ('fqrn', 'a.example.org'), ('previous_revision', '${HASH}');
  CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER, description TEXT,
    size INTEGER, branch TEXT);
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
  INSERT INTO tags SELECT 'v' || i, '${HASH}', i, 1700000000 + i, 0, 'tag', 4096, '' FROM n`,
);

const PROPERTIES_OF_ROW = Object.entries(
  Object.getOwnPropertyDescriptors(Object.getPrototypeOf(CatalogReader.open(CATALOG).row)),
).flatMap(([name, { get }]) => (get === undefined ? [] : [name as keyof CatalogRow]));

function touch(row: CatalogRow): void {
  const key: PathKey = new Int32Array(4);
  row.key(key);
  row.parentKey(key);
  for (const name of PROPERTIES_OF_ROW) {
    if (name === 'symlink') expandSymlink(row.symlink, () => undefined);
    else tolerant(() => row[name]);
  }
}

/** Each thing is asked for on its own, so that one that is refused does not hide the others. */
function tolerant(ask: () => unknown): void {
  try {
    ask();
  } catch (error) {
    if (!(error instanceof ThimbleError) || !REFUSALS.includes(error.code)) throw error;
  }
}

function readCatalog(bytes: Bytes): void {
  const reader = CatalogReader.open(bytes);
  tolerant(() => reader.entries(touch));
  for (const key of [ROOT, FILE, NO_PARENT]) {
    tolerant(() => reader.find(key) && touch(reader.row));
    tolerant(() => reader.children(key, 0, (row) => row.rowid > 0));
    tolerant(() => reader.children(key, 20, (row) => row.name.length >= 0));
    tolerant(() => reader.hardlinkGroups(key));
    tolerant(() => reader.chunks(key, 300, 4));
  }
  tolerant(() => reader.counters());
}

function readTables(bytes: Bytes): void {
  const database = SqliteDatabase.open(bytes);
  for (const name of ['catalog', 'chunks', 'nested_catalogs', 'statistics', 'properties', 'tags']) {
    if (!database.hasTable(name)) continue;
    tolerant(() => database.columns(name));
    tolerant(() => {
      const cursor = database.table(name);
      for (let more = cursor.first(); more; more = cursor.next()) {
        for (let column = 0; column < cursor.record.count; column++) {
          tolerant(() =>
            cursor.record.isNumber(column) ? cursor.record.number(column) : cursor.record.blob(column),
          );
        }
      }
    });
    tolerant(() => database.table(name).seek(7));
  }
}

const asText = (decode: (value: string) => unknown) => (bytes: Bytes) => decode(byteStringOf(bytes));

interface Decoder {
  readonly decode: (bytes: Bytes) => unknown;
  /** What it decodes. */
  readonly sample: Bytes;
  readonly runs?: number;
}

const DECODERS: Readonly<Record<string, Decoder>> = {
  decodeHex: { decode: asText(decodeHex), sample: text(HASH) },
  decodeBase64: { decode: asText(decodeBase64), sample: text('AQIDBAUGBw==') },
  decodeUtf8: { decode: asText(decodeUtf8), sample: text('\xc3\xa9\xf0\x9f\x98\x80') },
  displayBytes: { decode: asText(displayBytes), sample: text('\xc3\xa9\xf0\x9f\x98\x80\xff') },
  parseUnsigned: { decode: asText((value) => parseUnsigned(value, 'count')), sample: text('42') },
  parseContentHash: { decode: asText((value) => parseContentHash(value)), sample: text(`${HASH}-shake128`) },
  parseFingerprint: { decode: asText(parseFingerprint), sample: text(`${FINGERPRINT} # mine`) },
  decodeXattrs: { decode: decodeXattrs, sample: decodeHex('01020601757365722e61310601757365722e6232') },
  decodePemCertificate: {
    decode: decodePemCertificate,
    sample: text('-----BEGIN CERTIFICATE-----\nAQIDBAUGBw==\n-----END CERTIFICATE-----\n'),
  },
  parseSignedText: {
    decode: (bytes) => parseSignedText(nodeHashing, bytes, 'sample'),
    sample: hashed(MANIFEST),
  },
  parseManifest: { decode: (lines) => parseManifest(nodeHashing, hashed(lines)), sample: MANIFEST },
  parseWhitelist: { decode: (lines) => parseWhitelist(nodeHashing, hashed(lines)), sample: WHITELIST },
  decodeHistory: {
    decode: (bytes) => {
      const history = decodeHistory(bytes);
      if (history.tags.length > 0) findTagByDate(history, Number.MAX_SAFE_INTEGER);
    },
    sample: HISTORY,
  },
  CatalogReader: { decode: readCatalog, sample: CATALOG },
  SqliteDatabase: { decode: readTables, sample: CATALOG, runs: 1000 },
};

type Edit = readonly [kind: 'set' | 'copy' | 'cut' | 'insert', where: number, near: number, byte: number];

const anyEdit: fc.Arbitrary<Edit> = fc.tuple(
  // Bytes are changed far more often than lengths, which most decoders refuse at once.
  fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom('set' as const) },
    { weight: 1, arbitrary: fc.constantFrom('copy' as const, 'cut' as const, 'insert' as const) },
  ),
  // Without bias: small numbers would all strike the magic at the start.
  fc.noBias(fc.nat(2 ** 30 - 1)),
  fc.nat(15),
  fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 2, 5, 10, 13, 0x7f, 0x80, 0xff)),
);

/** Where an edit strikes: anywhere, or, as often, in the first bytes of a page, where headers are. */
function placeOf(bytes: Bytes, where: number, near: number): number {
  const anywhere = bytes.length === 0 ? 0 : where % bytes.length;
  return near % 2 === 0 ? anywhere : Math.min(bytes.length, anywhere - (anywhere % 512) + near);
}

function edited(sample: Bytes, edits: readonly Edit[]): Bytes {
  let bytes: Bytes = sample.slice();
  for (const [kind, where, near, byte] of edits) {
    const at = placeOf(bytes, where, near);
    if (kind === 'set') bytes[at] = byte;
    else if (kind === 'copy')
      bytes.copyWithin(at, Math.floor(bytes.length / 2), Math.floor(bytes.length / 2) + byte);
    else if (kind === 'cut') bytes = bytes.slice(0, at);
    else bytes = concatBytes([bytes.subarray(0, at), Uint8Array.of(byte), bytes.subarray(at)]);
  }
  return bytes;
}

for (const [name, { decode, sample, runs = 2000 }] of Object.entries(DECODERS)) {
  test(`${name} decodes any bytes or refuses them`, () => {
    decode(sample);
    const input = fc.oneof(
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 600 }) },
      {
        weight: 5,
        arbitrary: fc.array(anyEdit, { minLength: 1, maxLength: 6 }).map((edits) => edited(sample, edits)),
      },
    );
    fc.assert(
      fc.property(input, (bytes) => tolerant(() => decode(bytes))),
      { seed: SEED, numRuns: runs },
    );
  });
}

test('importMasterKeys() imports any bytes or refuses them', () => {
  const pem = text(
    '-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj3\n-----END PUBLIC KEY-----\n',
  );
  fc.assert(
    fc.property(fc.array(anyEdit, { maxLength: 4 }), (edits) => {
      assert.throws(() => importMasterKeys(nodeSignatures, edited(pem, edits)), {
        name: 'ThimbleError',
        code: 'FORMAT',
      });
    }),
    { seed: SEED, numRuns: 300 },
  );
});
