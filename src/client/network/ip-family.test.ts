import assert from 'node:assert/strict';
import { test } from 'node:test';
import { orderedByFamily, preferredAddresses } from './ip-family.ts';

const BOTH = ['fd00::1', '10.0.0.1', 'fd00::2', '10.0.0.2'];
const SIX = ['fd00::1'];

for (const [family, ordered, preferred, onlySix] of [
  ['any', ['10.0.0.1', '10.0.0.2', 'fd00::1', 'fd00::2'], BOTH, SIX],
  ['prefer-4', ['10.0.0.1', '10.0.0.2', 'fd00::1', 'fd00::2'], ['10.0.0.1', '10.0.0.2'], SIX],
  ['prefer-6', ['fd00::1', 'fd00::2', '10.0.0.1', '10.0.0.2'], ['fd00::1', 'fd00::2'], SIX],
  ['only-4', ['10.0.0.1', '10.0.0.2'], ['10.0.0.1', '10.0.0.2'], []],
] as const) {
  test(`addresses of both families are used as "${family}" says`, () => {
    assert.deepEqual(orderedByFamily(family)(BOTH), ordered);
    assert.deepEqual(preferredAddresses(BOTH, family), preferred);
    assert.deepEqual(preferredAddresses(SIX, family), onlySix);
  });
}
