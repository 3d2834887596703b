import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { openDatabase } from '../../test/support/storage-place.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { decodeReflog } from '../core/reflog.ts';
import { encodeReflog } from './reflog-writer.ts';

const hashOf = (digit: string) => `${digit.repeat(40)}-shake128` as ContentHash;

function open(t: TestContext, bytes: Uint8Array): ReturnType<typeof openDatabase> {
  const database = openDatabase(bytes, scratchFolder(t));
  t.after(() => database.close());
  return database;
}

test('encodeReflog() adds to what is there, each reference once with its first time', (t) => {
  const temporary = join(scratchFolder(t), 'temporary');
  const first = encodeReflog(
    'a.b',
    undefined,
    {
      added: [
        { hash: hashOf('1'), type: 'catalog' },
        { hash: hashOf('2'), type: 'certificate' },
      ],
      timestampSeconds: 100,
    },
    temporary,
  );
  const second = encodeReflog(
    'a.b',
    first,
    {
      added: [
        { hash: hashOf('1'), type: 'catalog' },
        { hash: hashOf('3'), type: 'history' },
        { hash: hashOf('4'), type: 'metainfo' },
      ],
      timestampSeconds: 200,
    },
    temporary,
  );
  const database = open(t, second);
  const all = (sql: string) =>
    database
      .prepare(sql)
      .all()
      .map((row) => Object.values(row));
  assert.deepEqual(all('SELECT hash, type, timestamp FROM refs ORDER BY hash'), [
    [hashOf('1'), 0, 100],
    [hashOf('2'), 1, 100],
    [hashOf('3'), 2, 200],
    [hashOf('4'), 3, 200],
  ]);
  assert.deepEqual(all('SELECT * FROM properties ORDER BY key'), [
    ['fqrn', 'a.b'],
    ['schema', '1.0'],
    ['schema_revision', '0'],
  ]);
});

test('encodeReflog() takes references away, and decodeReflog() reads what is left', (t) => {
  const temporary = join(scratchFolder(t), 'temporary');
  const added = [
    { hash: hashOf('1'), type: 'catalog' },
    { hash: hashOf('2'), type: 'metainfo' },
  ] as const;
  const first = encodeReflog('a.b', undefined, { added, timestampSeconds: 7 }, temporary);
  const second = encodeReflog(
    'a.b',
    first,
    { removed: [{ hash: hashOf('1') }], timestampSeconds: 8 },
    temporary,
  );
  assert.deepEqual(decodeReflog(second), [{ hash: hashOf('2'), type: 'metainfo', timestampSeconds: 7 }]);
});
