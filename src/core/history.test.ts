import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import test from 'node:test';
import type { ContentHash } from './content-hash.ts';
import { decodeHistory, emptyHistory, findTag, findTagByDate, type History, type Tag } from './history.ts';

const HASH = 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497';
const OTHER = '28d94b83b7229b331fc601362b8e272e02665122-shake128';

const PROPERTIES =
  'CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));';
const SCHEMA_1 = `${PROPERTIES} INSERT INTO properties VALUES ('schema', '1.0'), ('fqrn', 'a.example.org');`;
const TAGS = `CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER,
  description TEXT, size INTEGER, branch TEXT, CONSTRAINT pk_tags PRIMARY KEY (name));`;

function historyFile(sql: string): Uint8Array {
  const database = new DatabaseSync(':memory:');
  try {
    database.exec(sql);
    return database.serialize();
  } finally {
    database.close();
  }
}

const tag = (name: string, revision: number, timestampSeconds: number, branch = ''): Tag => ({
  name,
  rootCatalog: HASH as ContentHash,
  rootCatalogSizeBytes: 0,
  revision,
  timestampSeconds,
  description: '',
  branch,
});
const historyOf = (...tags: Tag[]): History => ({ ...emptyHistory('a.example.org'), tags });

test('decodeHistory() reads tags with all of their fields, the newest first', () => {
  const file =
    historyFile(`${SCHEMA_1} INSERT INTO properties VALUES ('previous_revision', '${OTHER}'); ${TAGS}
    INSERT INTO tags VALUES
      ('v1', '${HASH}', 2, 1000, 0, 'first', 4096, ''),
      ('trunk', '${OTHER}', 3, 2000, 0, 'caf\u00e9', 8192, 'next'),
      ('also-v1', '${HASH}', 2, 1000, 0, CAST(X'ff41' AS TEXT), 4096, '');`);
  assert.deepEqual(decodeHistory(file), {
    fqrn: 'a.example.org',
    previousRevision: OTHER,
    branches: [{ name: '', parent: undefined, initialRevision: 0 }],
    tags: [
      {
        name: 'trunk',
        rootCatalog: OTHER,
        rootCatalogSizeBytes: 8192,
        revision: 3,
        timestampSeconds: 2000,
        description: 'caf\u00e9',
        branch: 'next',
      },
      { ...tag('also-v1', 2, 1000), rootCatalogSizeBytes: 4096, description: '\\xffA' },
      { ...tag('v1', 2, 1000), rootCatalogSizeBytes: 4096, description: 'first' },
    ],
  });
});

test('decodeHistory() reads an older table, which has neither sizes nor branches', () => {
  const file = historyFile(`${SCHEMA_1}
    CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER, description TEXT);
    INSERT INTO tags VALUES ('v1', '${HASH}', 2, 1000, 0, '');`);
  assert.deepEqual(decodeHistory(file).tags, [tag('v1', 2, 1000)]);
});

const tagWith = (values: string) => `${SCHEMA_1} ${TAGS} INSERT INTO tags VALUES (${values});`;

for (const [why, code, sql] of [
  ['without properties', 'FORMAT', TAGS],
  ['without tags', 'FORMAT', SCHEMA_1],
  ['of schema 2.0', 'UNSUPPORTED', `${PROPERTIES} INSERT INTO properties VALUES ('schema', '2.0'); ${TAGS}`],
  [
    'of a schema that is no number',
    'UNSUPPORTED',
    `${PROPERTIES} INSERT INTO properties VALUES ('schema', 'x'); ${TAGS}`,
  ],
  ['of no schema', 'UNSUPPORTED', `${PROPERTIES} ${TAGS}`],
  ['with a tag of no snapshot', 'FORMAT', tagWith("'v1', '', 2, 1000, 0, '', 0, ''")],
  ['with a revision that is text', 'FORMAT', tagWith(`'v1', '${HASH}', 'two', 1000, 0, '', 0, ''`)],
  [
    'with a name that is a number',
    'FORMAT',
    tagWith(`1, '${HASH}', 2, 1000, 0, '', 0, ''`).replace('name TEXT', 'name'),
  ],
  ['with a timestamp beyond 2^53', 'LIMIT', tagWith(`'v1', '${HASH}', 2, 9007199254740993, 0, '', 0, ''`)],
  [
    'whose previous revision is no hash',
    'FORMAT',
    `${SCHEMA_1} INSERT INTO properties VALUES ('previous_revision', 'x'); ${TAGS}`,
  ],
] as const) {
  test(`decodeHistory() refuses a file ${why} with ${code}`, () => {
    assert.throws(() => decodeHistory(historyFile(sql)), { name: 'ThimbleError', code });
  });
}

test('findTag() finds a tag by its name, and names the newest ones where there is none', () => {
  const history = historyOf(tag('v2', 2, 20), tag('v1', 1, 10));
  assert.equal(findTag(history, 'v1').revision, 1);
  assert.throws(() => findTag(history, 'v'), { name: 'ThimbleError', code: 'NOT_FOUND', hint: /v2, v1/ });
  assert.throws(() => findTag(historyOf(), 'v1'), { code: 'NOT_FOUND', hint: /no tags/ });
});

const DATED = historyOf(
  tag('branched', 9, 15, 'next'),
  tag('trunk', 3, 30),
  tag('v2', 2, 20),
  tag('twin', 1, 20),
  tag('v1', 1, 10),
);

for (const [seconds, name] of [
  [10, 'v1'],
  [19, 'v1'],
  [20, 'v2'],
  [1000, 'trunk'],
] as const) {
  test(`findTagByDate() at ${seconds} s finds ${name}, the highest revision of the trunk until then`, () => {
    assert.equal(findTagByDate(DATED, seconds).name, name);
  });
}

for (const [why, history, hint] of [
  ['there is no tag', historyOf(), /no tags/],
  ['all tags are of branches', historyOf(tag('branched', 9, 5, 'next')), /no tags/],
  ['all tags are younger', DATED, /1970-01-01T00:00:10Z/],
  [
    'the only tag is of a time that no calendar has',
    historyOf(tag('v1', 1, 2 ** 52)),
    /4503599627370496 seconds/,
  ],
] as const) {
  test(`findTagByDate() throws NOT_FOUND where ${why}`, () => {
    assert.throws(() => findTagByDate(history, 9), { name: 'ThimbleError', code: 'NOT_FOUND', hint });
  });
}

test('decodeHistory() reads branches, and knows the trunk where a history has no table of them', () => {
  assert.deepEqual(decodeHistory(historyFile(`${SCHEMA_1} ${TAGS}`)).branches, [
    { name: '', parent: undefined, initialRevision: 0 },
  ]);
  const branches = `CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER);
    INSERT INTO branches VALUES ('', NULL, 0), ('fix', '', 7);`;
  assert.deepEqual(decodeHistory(historyFile(`${SCHEMA_1} ${TAGS} ${branches}`)).branches, [
    { name: '', parent: undefined, initialRevision: 0 },
    { name: 'fix', parent: '', initialRevision: 7 },
  ]);
});
