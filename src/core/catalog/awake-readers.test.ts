import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AwakeReaders } from './awake-readers.ts';

function readers(awake: AwakeReaders, count: number) {
  return Array.from({ length: count }, () => {
    const reader = { usedAt: awake.tick(), rests: 0, rest: () => void reader.rests++ };
    awake.add(reader);
    return reader;
  });
}

test('as long as there is room nobody goes to rest', () => {
  const three = readers(new AwakeReaders(3), 3);
  assert.deepEqual(
    three.map(({ rests }) => rests),
    [0, 0, 0],
  );
});

test('the reader that was not used for longest goes to rest, once', () => {
  const awake = new AwakeReaders(3);
  const [first, second, third] = readers(awake, 3);
  first!.usedAt = awake.tick();
  readers(awake, 1);
  assert.deepEqual([first!.rests, second!.rests, third!.rests], [0, 1, 0]);
  readers(awake, 1);
  assert.deepEqual([first!.rests, second!.rests, third!.rests], [0, 1, 1]);
});
