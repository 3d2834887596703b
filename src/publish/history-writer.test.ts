import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { unpackFixture } from '../../test/support/fixtures.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { openDatabase } from '../../test/support/storage-place.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { decodeHistory, emptyHistory, findTag, type History, type Tag } from '../core/history.ts';
import {
  automaticTag,
  checkNewTag,
  encodeHistory,
  historyAfterRollback,
  historyWithout,
  historyWithRevision,
  withoutOldTags,
} from './history-writer.ts';

const hashOf = (digit: string) => `${digit.repeat(40)}-shake128` as ContentHash;
const head = (digit: string, revision: number) => ({
  rootCatalog: hashOf(digit),
  rootCatalogSizeBytes: 4096 * revision,
  revision,
  timestampSeconds: 1_750_000_000 + revision,
});
const historyOf = (tags: readonly Tag[]): History => ({ ...emptyHistory('a.b'), tags });
const summary = (tags: readonly Tag[]) =>
  Object.fromEntries(tags.map(({ name, revision }) => [name, revision]));

function open(t: TestContext, bytes: Uint8Array): ReturnType<typeof openDatabase> {
  const database = openDatabase(bytes, scratchFolder(t));
  t.after(() => database.close());
  return database;
}

test('trunk moves to each new revision, trunk-previous to the one before, named tags stay', () => {
  const first = historyWithRevision(historyOf([]), head('1', 1), undefined);
  assert.deepEqual(summary(first), { trunk: 1 });
  const second = historyWithRevision(historyOf(first), head('2', 2), { name: 'v2', description: 'two' });
  assert.deepEqual(summary(second), { trunk: 2, 'trunk-previous': 1, v2: 2 });
  const third = historyWithRevision(historyOf(second), head('3', 3), undefined);
  assert.deepEqual(summary(third), { trunk: 3, 'trunk-previous': 2, v2: 2 });
  assert.equal(third.find(({ name }) => name === 'v2')!.rootCatalog, hashOf('2'));
  assert.equal(third.find(({ name }) => name === 'v2')!.description, 'two');
});

test('a tag on the revision that is the newest already leaves trunk-previous where it is', () => {
  const two = historyWithRevision(
    historyOf(historyWithRevision(historyOf([]), head('1', 1), undefined)),
    head('2', 2),
    undefined,
  );
  const tagged = historyWithRevision(historyOf(two), head('2', 2), { name: 'v2', description: '' });
  assert.deepEqual(summary(tagged), { trunk: 2, 'trunk-previous': 1, v2: 2 });
});

for (const [name, code] of [
  ['trunk', 'USAGE'],
  ['trunk-previous', 'USAGE'],
  ['', 'USAGE'],
  ['with space', 'USAGE'],
  ['a/b', 'USAGE'],
  ['-dash', 'USAGE'],
  ['n'.repeat(256), 'USAGE'],
  ['v1', 'CONFLICT'],
] as const) {
  test(`checkNewTag() refuses ${JSON.stringify(name.slice(0, 20))} with ${code}`, () => {
    const taken = historyOf(
      historyWithRevision(historyOf([]), head('1', 1), { name: 'v1', description: '' }),
    );
    assert.throws(() => checkNewTag(taken, name), {
      code,
      message: new RegExp(`^Cannot (use|add tag) .*${name.slice(0, 20)}`),
    });
  });
}

test('historyAfterRollback() leaves the tags that the reference leaves', (t) => {
  const storage = unpackFixture('history', scratchFolder(t));
  const historyOfReference = (hash: string) =>
    decodeHistory(inflateSync(readFileSync(join(storage, objectPath(hash as ContentHash, 'H')))));
  const before = historyOfReference('1836b2669ae0fae9d9249e433444fddfdc017bba');
  const after = historyOfReference('bc34b5d36bcf7010f997428a08136bcc135e7948');
  const { name: _, description, branch, ...newest } = findTag(after, 'trunk');
  const { tags, removed } = historyAfterRollback(before, findTag(before, 'v2'), newest);
  assert.deepEqual(new Set(tags), new Set(after.tags));
  assert.deepEqual(removed.map(({ name }) => name).sort(), ['v3', 'v4']);
});

test('historyAfterRollback() leaves tags of branches alone, and refuses to go back to one', () => {
  const branched = { ...head('2', 2), name: 'b', description: '', branch: 'feature' };
  const old = { ...head('1', 1), name: 'v1', description: '', branch: '' };
  const history = historyOf([branched, old]);
  const { tags, removed } = historyAfterRollback(history, old, head('3', 3));
  assert.deepEqual([summary(tags), removed], [{ b: 2, v1: 3, trunk: 3 }, []]);
  assert.throws(() => historyAfterRollback(history, branched, head('3', 3)), {
    code: 'UNSUPPORTED',
    message: 'Cannot roll back to b: it is on branch feature',
  });
});

test('historyWithout() refuses trunk, trunk-previous and names that are not there', () => {
  const history = historyOf(historyWithRevision(historyOf([]), head('1', 1), undefined));
  for (const [name, code] of [
    ['trunk', 'USAGE'],
    ['trunk-previous', 'USAGE'],
    ['v1', 'NOT_FOUND'],
  ] as const) {
    assert.throws(() => historyWithout(history, [name]), { code, message: new RegExp(name) });
  }
});

test('checkNewTag() takes names of up to 255 letters, digits and . _ + : @ -', () => {
  for (const name of ['v1', '2026-11-22T12:00:00', 'a.b_c+d@e', 'n'.repeat(255)])
    checkNewTag(historyOf([]), name);
});

test('encodeHistory() writes schema 1.0, revision 3, as the reference has it, and what decodeHistory() reads', (t) => {
  const tags = historyWithRevision(historyOf([]), head('1', 1), { name: 'v1', description: 'naïve — ok' });
  const history = { ...historyOf(tags), previousRevision: hashOf('9') };
  const bytes = encodeHistory(history, join(scratchFolder(t), 'temporary'));
  const database = open(t, bytes);
  const all = (sql: string) =>
    database
      .prepare(sql)
      .all()
      .map((row) => Object.values(row));
  assert.deepEqual(all('SELECT * FROM properties ORDER BY key'), [
    ['fqrn', 'a.b'],
    ['previous_revision', hashOf('9')],
    ['schema', '1.0'],
    ['schema_revision', '3'],
  ]);
  assert.deepEqual(all('SELECT * FROM branches'), [['', null, 0]]);
  assert.deepEqual(all('SELECT * FROM recycle_bin'), []);
  assert.deepEqual(
    all('SELECT name, hash, revision, timestamp, channel, description, size, branch FROM tags'),
    [
      ['trunk', hashOf('1'), 1, 1_750_000_001, 0, 'current HEAD', 4096, ''],
      ['v1', hashOf('1'), 1, 1_750_000_001, 0, 'naïve — ok', 4096, ''],
    ],
  );
  const decoded = decodeHistory(bytes);
  assert.equal(decoded.previousRevision, hashOf('9'));
  assert.deepEqual(new Set(decoded.tags), new Set(tags));
});

test('the first history names zeros as the one before, and is read as having none', (t) => {
  const bytes = encodeHistory(historyOf([]), join(scratchFolder(t), 'temporary'));
  const property = open(t, bytes).prepare("SELECT value FROM properties WHERE key = 'previous_revision'");
  assert.equal(property.get()!['value'], '0'.repeat(40));
  assert.equal(decodeHistory(bytes).previousRevision, undefined);
});

test('encodeHistory() gives the same bytes whatever the order of the tags', (t) => {
  const temporary = join(scratchFolder(t), 'temporary');
  const tags = historyWithRevision(historyOf([]), head('1', 1), { name: 'v1', description: '' });
  assert.deepEqual(
    encodeHistory(historyOf(tags), temporary),
    encodeHistory(historyOf([...tags].reverse()), temporary),
  );
});

test('encodeHistory() keeps branches', (t) => {
  const history = { ...historyOf([{ ...head('1', 8), name: 'f', description: '', branch: 'fix' }]) };
  const branches = [...history.branches, { name: 'fix', parent: '', initialRevision: 7 }];
  const bytes = encodeHistory({ ...history, branches }, join(scratchFolder(t), 'temporary'));
  const decoded = decodeHistory(bytes);
  assert.deepEqual([decoded.branches, decoded.tags[0]!.branch], [branches, 'fix']);
});

test('automaticTag() says when it was, and counts those of one second', () => {
  const nowSeconds = Date.UTC(2026, 10, 22, 9, 8, 7) / 1000;
  let history = historyOf([]);
  const names: string[] = [];
  for (let i = 0; i < 3; i++) {
    const tag = automaticTag(history, nowSeconds);
    names.push(tag.name);
    checkNewTag(history, tag.name);
    history = historyOf([...history.tags, { ...head('1', i), ...tag, branch: '' }]);
  }
  assert.deepEqual(names, [
    'generic-2026-11-22T09:08:07Z',
    'generic_2-2026-11-22T09:08:07Z',
    'generic_3-2026-11-22T09:08:07Z',
  ]);
});

test('withoutOldTags() removes automatic tags of before a time, and no other', () => {
  const at = (name: string, timestampSeconds: number): Tag => ({
    ...head('1', 1),
    timestampSeconds,
    name,
    description: '',
    branch: '',
  });
  const tags = [
    at('generic-2026-11-22T09:08:07Z', 99),
    at('generic_12-2026-11-22T09:08:07Z', 99),
    at('generic-2026-11-22T09:08:07.123Z', 99),
    at('generic-2026-11-22T09:08:08Z', 100),
    at('generic-release', 1),
    at('v1', 1),
    at('trunk', 1),
  ];
  assert.deepEqual(
    withoutOldTags(historyOf(tags), 100).tags.map(({ name }) => name),
    ['generic-2026-11-22T09:08:08Z', 'generic-release', 'v1', 'trunk'],
  );
});
