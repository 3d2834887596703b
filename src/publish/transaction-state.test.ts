import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { ContentHash } from '../core/content-hash.ts';
import {
  readTransactionState,
  removeTransactionState,
  type TransactionState,
  writeTransactionState,
} from './transaction-state.ts';

const STATE: TransactionState = {
  version: 1,
  rootCatalog: 'a'.repeat(40) as ContentHash,
  revision: 3,
  startedSeconds: 1_750_000_000,
  user: 'somebody',
  host: 'here',
  mountpoint: '/thimble/os.example.org',
  madeMountpoint: true,
  layers: '/etc/thimble/repositories/os.example.org/transaction',
  server: { pid: 1, identity: 'x 1' },
  phase: 'open',
};

test('a state is read as it was written, until it is removed', (t) => {
  const path = join(scratchFolder(t), 'transaction.json');
  assert.equal(readTransactionState(path), undefined);
  for (const state of [STATE, { ...STATE, publishing: 'b'.repeat(40) as ContentHash }]) {
    writeTransactionState(path, state);
    assert.deepEqual(readTransactionState(path), state);
  }
  removeTransactionState(path);
  removeTransactionState(path);
  assert.equal(readTransactionState(path), undefined);
});

test('what is no state is refused, and stays as it is', (t) => {
  const path = join(scratchFolder(t), 'transaction.json');
  for (const text of [
    '',
    '{',
    JSON.stringify({ ...STATE, version: 2 }),
    JSON.stringify({ ...STATE, rootCatalog: 'x' }),
  ]) {
    writeFileSync(path, text);
    assert.throws(() => readTransactionState(path), { code: 'FORMAT' }, text);
    assert.equal(readFileSync(path, 'utf8'), text);
  }
});

test('a file that cannot be read is told of', (t) => {
  const path = join(scratchFolder(t), 'transaction.json');
  mkdirSync(path);
  assert.throws(() => readTransactionState(path), { code: 'STORAGE' });
});
