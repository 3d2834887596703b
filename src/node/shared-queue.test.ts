import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { randomNumbers } from '../../test/support/random-numbers.ts';
import { SharedQueue } from './shared-queue.ts';

const put = (queue: SharedQueue, text: string) =>
  queue.put(text.length, (record) => record.set(Buffer.from(text, 'latin1')));
const take = (queue: SharedQueue) => {
  const record = queue.take();
  return record && Buffer.from(record).toString('latin1');
};

test('records come out as they were put in, the empty one too', () => {
  const queue = new SharedQueue(256);
  assert.equal(take(queue), undefined);
  for (const text of ['one', '', 'a longer one', 'x'.repeat(100)]) assert.equal(put(queue, text), true);
  for (const text of ['one', '', 'a longer one', 'x'.repeat(100)]) assert.equal(take(queue), text);
  assert.equal(take(queue), undefined);
});

test('a record stands at a multiple of 8, in one piece', () => {
  const queue = new SharedQueue(128);
  for (let length = 0; length < 50; length++) {
    assert.equal(
      queue.put(length, (record) => assert.equal(record.byteOffset % 8, 0)),
      true,
    );
    assert.equal(queue.take()?.length, length);
    queue.release();
  }
});

test('what does not fit is refused, and nothing that waits is overwritten', () => {
  const queue = new SharedQueue(128);
  assert.equal(put(queue, 'x'.repeat(57)), false, 'more than half');
  assert.equal(put(queue, 'a'.repeat(48)), true);
  assert.equal(put(queue, 'b'.repeat(48)), true);
  assert.equal(put(queue, 'c'.repeat(48)), false);
  assert.equal(take(queue), 'a'.repeat(48));
  assert.equal(put(queue, 'c'.repeat(48)), false, 'the record that is lent out still counts');
  queue.release();
  assert.equal(take(queue), 'b'.repeat(48));
  queue.release();
  assert.equal(put(queue, 'c'.repeat(48)), true);
  assert.equal(take(queue), 'c'.repeat(48));
});

test('any sequence of puts and takes is first in, first out, also behind the 32 bits of its counters', () => {
  const random = randomNumbers(7);
  const queue = new SharedQueue(1024);
  // As if four billion bytes had gone through it.
  new Int32Array(queue.shared, 0, 2).fill(-2048);
  const waiting: string[] = [];
  let serial = 0;
  for (let i = 0; i < 20_000; i++) {
    if (random(2) === 0) {
      const text = `${serial++}`.padEnd(random(300), '.');
      if (put(queue, text)) waiting.push(text);
    } else assert.equal(take(queue), waiting.shift());
  }
  assert.ok(serial > 5_000);
});

test('one thread puts, the other sleeps until there is something', async () => {
  const queue = new SharedQueue(4096);
  const back = new SharedQueue(4096);
  const source = `
    import { workerData } from 'node:worker_threads';
    import { SharedQueue } from ${JSON.stringify(new URL('shared-queue.ts', import.meta.url).href)};
    const [queue, back] = workerData.map((shared) => new SharedQueue(shared));
    for (let sum = 0; ;) {
      const record = queue.take();
      if (record === undefined) { queue.wait(60_000); continue; }
      if (record.length === 0) { back.put(8, (answer) => new Float64Array(answer.buffer, answer.byteOffset, 1)[0] = sum); break; }
      for (const byte of record) sum += byte;
    }`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
    workerData: [queue.shared, back.shared],
  });
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  const random = randomNumbers(8);
  let sum = 0;
  for (let i = 0; i < 2_000; i++) {
    const text = 'a'.repeat(random(200) + 1);
    while (!put(queue, text)) await new Promise((resolve) => setImmediate(resolve));
    sum += text.length * 97;
    if (i % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  while (!put(queue, '')) await new Promise((resolve) => setImmediate(resolve));
  await exited;
  const answer = back.take()!;
  assert.equal(new Float64Array(answer.buffer, answer.byteOffset, 1)[0], sum);
});

test('whoever waits in vain is told', () => {
  const queue = new SharedQueue(64);
  assert.equal(queue.wait(1), false);
  put(queue, 'x');
  assert.equal(queue.wait(1), true);
});
