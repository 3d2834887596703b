import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { contentHashOf, type HashAlgorithm, type ObjectType, objectPath } from '../core/content-hash.ts';
import { ObjectSet, parseObjectPath } from './object-set.ts';

const digestOf = (number: number) => createHash('sha1').update(String(number)).digest();

test('an object is new once, and found from then on', () => {
  const set = new ObjectSet();
  assert.equal(set.has(digestOf(1), 'sha1', ''), false);
  assert.equal(set.add(digestOf(1), 'sha1', ''), true);
  assert.equal(set.add(digestOf(1), 'sha1', ''), false);
  assert.equal(set.has(digestOf(1), 'sha1', ''), true);
  assert.equal(set.size, 1);
});

test('objects of the same digest are different when algorithm or type is', () => {
  const set = new ObjectSet();
  const names = (['sha1', 'rmd160', 'shake128'] as HashAlgorithm[]).flatMap((algorithm) =>
    (['', 'C', 'H', 'X', 'M', 'P'] as ObjectType[]).map((type) => ({ algorithm, type })),
  );
  for (const { algorithm, type } of names) {
    assert.equal(set.has(digestOf(1), algorithm, type), false);
    assert.equal(set.add(digestOf(1), algorithm, type), true);
  }
  const expected = names.map(({ algorithm, type }) =>
    objectPath(contentHashOf(algorithm, digestOf(1)), type),
  );
  assert.deepEqual([...set.paths()].sort(), expected.sort());
});

test('digests that begin alike, or are zero, are told apart', () => {
  const set = new ObjectSet();
  const digests = Array.from({ length: 20 }, (_, i) => {
    const digest = new Uint8Array(20);
    digest[19] = i;
    return digest;
  });
  for (const digest of digests) assert.equal(set.add(digest, 'shake128', 'P'), true);
  for (const digest of digests) assert.equal(set.add(digest, 'shake128', 'P'), false);
  assert.equal(set.size, 20);
});

test('all of many objects are there as the set grows, and no others', () => {
  const set = new ObjectSet();
  for (let i = 0; i < 20_000; i++) set.add(digestOf(i), 'shake128', '');
  assert.equal(set.size, 20_000);
  for (let i = 0; i < 20_000; i++) assert.ok(set.has(digestOf(i), 'shake128', ''));
  for (let i = 20_000; i < 21_000; i++) assert.equal(set.has(digestOf(i), 'shake128', ''), false);
  const expected = Array.from({ length: 20_000 }, (_, i) =>
    objectPath(contentHashOf('shake128', digestOf(i)), ''),
  );
  assert.deepEqual([...set.paths()].sort(), expected.sort());
});

test('parseObjectPath() undoes objectPath(), and knows no other paths', () => {
  for (const algorithm of ['sha1', 'rmd160', 'shake128'] as const) {
    for (const type of ['', 'C', 'H', 'X', 'M', 'P'] as const) {
      const digest = digestOf(7);
      const parsed = parseObjectPath(objectPath(contentHashOf(algorithm, digest), type))!;
      assert.deepEqual({ ...parsed, digest: Buffer.from(parsed.digest) }, { digest, algorithm, type });
    }
  }
  const name = 'c'.repeat(38);
  const others = [
    'data/txn/x',
    `data/ab/${name}T`,
    `data/ab/${name}c`,
    `data/AB/${name}`,
    `data/ab/../${name}`,
  ];
  for (const path of [...others, '.cvmfspublished', '']) assert.equal(parseObjectPath(path), undefined, path);
});
