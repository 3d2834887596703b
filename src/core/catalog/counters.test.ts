import assert from 'node:assert/strict';
import test from 'node:test';
import { addCounters, COUNTER_NAMES, entriesOf, zeroCounters } from './counters.ts';

test('addCounters() adds every counter, and changes its first argument alone', () => {
  const into = zeroCounters();
  const more = zeroCounters();
  for (const [i, name] of COUNTER_NAMES.entries()) {
    into[name] = i;
    more[name] = 100 * i;
  }
  const before = { ...more };
  addCounters(into, more);
  for (const [i, name] of COUNTER_NAMES.entries()) assert.equal(into[name], 101 * i);
  assert.deepEqual(more, before);
});

test('entriesOf() counts each directory once, though both catalogs of a transition point have it', () => {
  // As in `repo-sha1`; the reference counts its transition point twice and shows 18.
  const self = { ...zeroCounters(), regular: 7, symlink: 2, special: 2, dir: 3, nested: 1, chunks: 3 };
  const subtree = { ...zeroCounters(), regular: 2, dir: 2 };
  assert.equal(entriesOf({ self, subtree }), 17);
  assert.equal(entriesOf({ self: zeroCounters(), subtree: zeroCounters() }), 0);
  const deeper = { ...subtree, nested: 1 };
  assert.equal(entriesOf({ self, subtree: deeper }), 16);
});
