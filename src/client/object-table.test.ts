import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ContentHash, hashBytes } from '../core/content-hash.ts';
import { nodeHashing } from '../node/hashing.ts';
import { ObjectTable } from './object-table.ts';

const hashOf = (n: number) => hashBytes(nodeHashing, 'sha1', Uint8Array.of(n, n >> 8, n >> 16));

test('ObjectTable keeps twenty thousand objects, each with its size', () => {
  const table = new ObjectTable({ sizes: true });
  for (let n = 0; n < 20_000; n++) assert.equal(table.add(hashOf(n), '', n * 1e6), true);
  assert.equal(table.count, 20_000);
  for (let n = 0; n < 20_000; n++) assert.equal(table.size(hashOf(n), ''), n * 1e6);
  assert.equal(table.has(hashOf(20_000), ''), false);
  assert.equal(table.size(hashOf(20_000), ''), undefined);
});

test('ObjectTable keeps what came first', () => {
  const table = new ObjectTable({ sizes: true });
  assert.equal(table.add(hashOf(1), 'P', 5), true);
  assert.equal(table.add(hashOf(1), 'P', 6), false);
  assert.equal(table.size(hashOf(1), 'P'), 5);
  assert.equal(table.count, 1);
});

test('ObjectTable tells kinds and algorithms of the same digest apart', () => {
  const table = new ObjectTable({ sizes: false });
  const hash = hashOf(7);
  const others = [hash, `${hash}-rmd160` as ContentHash, `${hash}-shake128` as ContentHash];
  const kinds = ['', 'P', '=', 'P=', 'C', '10', '01'];
  for (const other of others) for (const kind of kinds) assert.equal(table.add(other, kind), true);
  assert.equal(table.count, 21);
});

test('ObjectTable takes an object of nothing but zeros for one', () => {
  const table = new ObjectTable({ sizes: false });
  const zeros = '0'.repeat(40) as ContentHash;
  assert.equal(table.has(zeros, ''), false);
  assert.equal(table.add(zeros, ''), true);
  assert.equal(table.add(zeros, ''), false);
});

test('ObjectTable.decode() has what encode() wrote, in 8 bytes each', () => {
  const table = new ObjectTable({ sizes: false });
  for (let n = 0; n < 3000; n++) table.add(hashOf(n), 'P');
  const bytes = table.encode();
  assert.equal(bytes.length, 3000 * 8);
  const again = ObjectTable.decode(bytes);
  assert.equal(again.count, 3000);
  for (let n = 0; n < 3000; n++) assert.equal(again.has(hashOf(n), 'P'), true);
  assert.equal(again.has(hashOf(3000), 'P'), false);
  assert.equal(again.size(hashOf(1), 'P'), undefined);
});
