import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ascii, bytesOf, concatBytes } from '../core/bytes/byte-string.ts';
import { type ContentHash, hashBytes } from '../core/content-hash.ts';
import { nodeHashing } from '../node/hashing.ts';
import { CheckState } from './check-state.ts';

const KIND = { fqrn: 'a.example.org', data: true };
const hashOf = (n: number): ContentHash => hashBytes(nodeHashing, 'sha1', Uint8Array.of(n, n >> 8));

function stateOf(count: number): CheckState {
  const state = new CheckState(KIND, 1000, nodeHashing);
  for (let n = 0; n < count; n++) state.add(hashOf(n), 'P10');
  return state;
}
const decode = (bytes: Uint8Array) => CheckState.decode(bytes, KIND, nodeHashing);

test('CheckState.decode() has what encode() wrote', () => {
  const state = stateOf(500);
  state.addTree(hashOf(1), '/usr');
  state.completedSeconds = 2000;
  const again = decode(state.encode());
  assert.equal(again.count, 501);
  assert.equal(again.startedSeconds, 1000);
  assert.equal(again.completedSeconds, 2000);
  assert.deepEqual(again.kind, KIND);
  assert.equal(again.isVerified(hashOf(499), 'P10'), true);
  assert.equal(again.isVerified(hashOf(499), 'P11'), false);
  assert.equal(again.isVerified(hashOf(500), 'P10'), false);
  assert.equal(decode(stateOf(0).encode()).completedSeconds, undefined);
});

test('CheckState knows a tree by its catalog and where it is', () => {
  const state = stateOf(0);
  state.addTree(hashOf(1), '/usr');
  assert.equal(state.isTreeVerified(hashOf(1), '/usr'), true);
  assert.equal(state.isTreeVerified(hashOf(1), '/opt'), false);
  assert.equal(state.isTreeVerified(hashOf(2), '/usr'), false);
  assert.equal(state.isVerified(hashOf(1), 'tree'), false);
});

test('CheckState is too old when it is complete and began that long ago; one that never ended goes on', () => {
  const state = stateOf(0);
  assert.equal(state.isOlderThan(100, 1_000_000), false);
  state.completedSeconds = 5000;
  assert.equal(state.isOlderThan(100, 1100), false);
  assert.equal(state.isOlderThan(100, 1101), true);
});

for (const [what, change] of [
  ['a cut', (bytes) => bytes.subarray(0, bytes.length - 8)],
  ['more behind it', (bytes) => concatBytes([bytes, new Uint8Array(8)])],
  ['another byte at its end', (bytes) => bytes.with(-1, bytes.at(-1)! ^ 1)],
  ['another start', (bytes) => bytes.with(0, 0x54)],
  ['no head', () => bytesOf(ascii('thimble check state 1\n'))],
  ['a head that is no JSON', () => bytesOf(ascii('thimble check state 1\n{\n'))],
  ['a head that is none', () => bytesOf(ascii('thimble check state 1\nnull\n'))],
  ['a time that is none', (bytes) => replaced(bytes, '"startedSeconds":1000', '"startedSeconds":"10"')],
  ['an end that is none', (bytes) => replaced(bytes, '"count"', '"completedSeconds":{},"count"')],
  ['nothing in it', () => new Uint8Array(0)],
] as const satisfies readonly (readonly [string, (bytes: Uint8Array) => Uint8Array])[]) {
  test(`CheckState.decode() refuses a file with ${what}`, () => {
    assert.throws(() => decode(change(stateOf(20).encode())), {
      name: 'ThimbleError',
      code: 'FORMAT',
      hint: 'remove it to check everything anew',
    });
  });
}

function replaced(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  assert.ok(text.includes(from));
  return Buffer.from(text.replace(from, to), 'latin1');
}

for (const [what, kind] of [
  ['repository', { fqrn: 'b.example.org', data: true }],
  ['thoroughness', { fqrn: 'a.example.org', data: false }],
] as const) {
  test(`CheckState.decode() refuses a state of another ${what}`, () => {
    assert.throws(() => CheckState.decode(stateOf(1).encode(), kind, nodeHashing), {
      code: 'USAGE',
      message: 'Cannot go on with this state: it is of a check of a.example.org with --data',
    });
  });
}
