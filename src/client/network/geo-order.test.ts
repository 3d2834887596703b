import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askGeoOrder, parseGeoAnswer } from './geo-order.ts';

const HOSTS = ['a', 'b', 'c', 'd'];
const random = { fraction: () => 0 };

for (const [text, count, order] of [
  ['1', 1, [0]],
  ['3,1,2\n', 3, [2, 0, 1]],
  ['1,2', 3, undefined],
  ['1,2,2', 3, undefined],
  ['0,1,2', 3, undefined],
  ['1,2,4', 3, undefined],
  ['<html>', 1, undefined],
  ['', 1, undefined],
] as const) {
  test(`parseGeoAnswer() reads ${JSON.stringify(text)} for ${count} servers`, () => {
    assert.deepEqual(parseGeoAnswer(text, count), order);
  });
}

test('askGeoOrder() asks another server when one does not know', async () => {
  const asked: string[] = [];
  const order = await askGeoOrder({
    hosts: HOSTS,
    proxyHost: 'proxy.example',
    random,
    ask: async (index, path) => {
      asked.push(`${HOSTS[index]} ${path}`);
      if (asked.length === 1) throw new Error('no');
      return Buffer.from(asked.length === 2 ? 'who knows' : '4,3,2,1\n');
    },
  });
  assert.deepEqual(order, [3, 2, 1, 0]);
  const path = 'api/v1.0/geo/proxy.example/a,b,c,d';
  assert.deepEqual(asked, [`a ${path}`, `b ${path}`, `c ${path}`]);
});

test('askGeoOrder() gives up after three servers, and makes up a name where there is no proxy', async () => {
  const paths: string[] = [];
  const order = await askGeoOrder({
    hosts: HOSTS,
    proxyHost: undefined,
    random,
    ask: async (_, path) => {
      paths.push(path);
      throw new Error('no');
    },
  });
  assert.equal(order, undefined);
  assert.equal(paths.length, 3);
  assert.equal(paths[0], 'api/v1.0/geo/00000000-0000-0000-0000-000000000000/a,b,c,d');
});
