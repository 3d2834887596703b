import assert from 'node:assert/strict';
import { test } from 'node:test';
import { catalogFile, entry, insertEntry, keyOf, withEntries } from '../../test/support/catalog-file.ts';
import { FLAG_CHUNKED, FLAG_EXTERNAL, FLAG_FILE, hashAlgorithmFlags } from '../core/catalog/flags.ts';
import { type ContentHash, contentHashOf } from '../core/content-hash.ts';
import { pathKeyColumns } from '../core/path-key.ts';
import { rootFacts, visitContents } from './catalog-references.ts';

const digest = (byte: number, length = 20) => new Uint8Array(length).fill(byte);
const hashOf = (byte: number, algorithm: 'sha1' | 'shake128' = 'sha1') =>
  contentHashOf(algorithm, digest(byte));

function visited(file: Uint8Array): string[] {
  const objects: string[] = [];
  visitContents(file, (bytes, algorithm, type, sizeBytes) => {
    objects.push(`${contentHashOf(algorithm, bytes)}${type} ${sizeBytes}`);
  });
  return objects;
}

/** A file in chunks of 10 bytes; their hashes are of these bytes. */
function addChunks(database: Parameters<typeof insertEntry>[0], path: string, bytes: readonly number[]) {
  const [first, second] = pathKeyColumns(keyOf(path));
  const insert = database.prepare('INSERT INTO chunks VALUES (?, ?, ?, 10, ?)');
  for (const [i, byte] of bytes.entries()) insert.run(first, second, i * 10, digest(byte));
}

test('visitContents() visits files and chunks with their algorithm, and passes over external ones and what has no content', () => {
  const shake = hashAlgorithmFlags('shake128');
  const file = catalogFile({
    fill: (database) => {
      for (const one of [
        entry('', { flags: 1, mode: 0o40755 }),
        entry('/a', { hash: digest(1), size: 5 }),
        entry('/b', { hash: digest(2), size: 6, flags: FLAG_FILE | shake }),
        entry('/external', { hash: digest(3), flags: FLAG_FILE | FLAG_EXTERNAL }),
        entry('/chunked', { size: 20, flags: FLAG_FILE | FLAG_CHUNKED | shake }),
        entry('/both', { hash: digest(4), size: 10, flags: FLAG_FILE | FLAG_CHUNKED }),
        entry('/external-chunks', { size: 10, flags: FLAG_FILE | FLAG_CHUNKED | FLAG_EXTERNAL }),
      ]) {
        insertEntry(database, one);
      }
      addChunks(database, '/chunked', [11, 12]);
      addChunks(database, '/both', [13]);
      addChunks(database, '/external-chunks', [14]);
      addChunks(database, '/nobody', [15]);
    },
  });
  assert.deepEqual(
    visited(file).sort(),
    [
      `${hashOf(1)} 5`,
      `${hashOf(2, 'shake128')} 6`,
      `${hashOf(4)} 10`,
      `${hashOf(11, 'shake128')}P 10`,
      `${hashOf(12, 'shake128')}P 10`,
      `${hashOf(13)}P 10`,
    ].sort(),
  );
});

test('visitContents() refuses hashes of another length, and algorithms that are not known', () => {
  const wrong = [
    { columns: { hash: digest(1, 19) }, code: 'FORMAT' },
    { columns: { hash: digest(1), flags: FLAG_FILE | (5 << 8) }, code: 'UNSUPPORTED' },
  ];
  for (const { columns, code } of wrong) {
    assert.throws(() => visited(catalogFile(withEntries(entry('/a', columns)))), { code });
  }
  assert.throws(() => visited(new Uint8Array(100)), { code: 'FORMAT' });
});

test('rootFacts() tells time and predecessor, and nothing of what is no hash', () => {
  const facts = (previous: string, modified: string) =>
    rootFacts({
      properties: new Map([
        ['previous_revision', previous],
        ['last_modified', modified],
      ]) as never,
    });
  const hash = hashOf(1) as ContentHash;
  assert.deepEqual(facts(hash, '17'), { lastModifiedSeconds: 17, previousRevision: hash });
  for (const previous of ['', 'x', '0'.repeat(40)]) {
    assert.deepEqual(facts(previous, 'soon'), { lastModifiedSeconds: 0, previousRevision: undefined });
  }
  assert.deepEqual(rootFacts({ properties: new Map() }), {
    lastModifiedSeconds: 0,
    previousRevision: undefined,
  });
});
