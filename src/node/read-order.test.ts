import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId } from '../core/vfs.ts';
import { ReadOrder } from './read-order.ts';

const goesOn = (nodes: readonly number[]) => {
  const order = new ReadOrder();
  return nodes.map((node) => order.goesOn(node as NodeId));
};

test('the third read in the order of a catalog goes on, as do those behind it', () => {
  assert.deepEqual(goesOn([10, 11, 12, 13]), [false, false, true, true]);
  assert.deepEqual(goesOn([10, 100, 300, 310]), [false, false, true, true]);
});

test('reads that go back, stay, or leap do not', () => {
  assert.deepEqual(goesOn([30, 20, 10, 5]), [false, false, false, false]);
  assert.deepEqual(goesOn([10, 10, 10, 10]), [false, false, false, false]);
  assert.deepEqual(goesOn([10, 11, 12, 1000, 1001, 1002]), [false, false, true, false, false, true]);
});
