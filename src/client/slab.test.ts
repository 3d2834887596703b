import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slab } from './slab.ts';

test('a slab gives out memory until there is none, and all of it again after a reset', () => {
  const slab = new Slab(10);
  const [first, second] = [slab.take(4)!, slab.take(6)!];
  first.fill(1);
  second.fill(2);
  assert.deepEqual([...first, ...second], [1, 1, 1, 1, 2, 2, 2, 2, 2, 2]);
  assert.equal(slab.take(1), undefined);
  assert.equal(slab.take(0)?.length, 0);
  slab.reset();
  assert.equal(slab.take(11), undefined);
  assert.equal(slab.take(10)?.length, 10);
});
