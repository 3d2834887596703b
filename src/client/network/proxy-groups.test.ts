import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseProxyGroups, withFallbackGroups } from './proxy-groups.ts';

for (const [text, groups] of [
  ['', []],
  [' ; | ;', []],
  ['DIRECT', [['DIRECT']]],
  ['direct', [['DIRECT']]],
  ['auto;DIRECT', [['auto'], ['DIRECT']]],
  ['http://a:3128|http://b:3128;DIRECT', [['http://a:3128', 'http://b:3128'], ['DIRECT']]],
  ['a:3128 | b:3128 ; c:80', [['http://a:3128', 'http://b:3128'], ['http://c:80']]],
  ['a:1|a:1', [['http://a:1']]],
  ['http://[fd00::1]:3128', [['http://[fd00::1]:3128']]],
  ['http://user:pass@a:3128', [['http://user:pass@a:3128']]],
  ['https://a:3129', [['https://a:3129']]],
] as const) {
  test(`parseProxyGroups() reads ${JSON.stringify(text)}`, () => {
    assert.deepEqual(parseProxyGroups(text), groups);
  });
}

test('parseProxyGroups() refuses what is no address, and auto beside others', () => {
  for (const text of ['socks://a:1', 'http://a b', 'a:99999', 'auto|http://a:1'])
    assert.throws(() => parseProxyGroups(text), { code: 'USAGE' }, text);
});

test('parseProxyGroups() keeps passwords out of its messages', () => {
  assert.throws(
    () => parseProxyGroups('http://user:secret@a:99999'),
    (error: Error) => !error.message.includes('secret'),
  );
});

test('withFallbackGroups() puts fallback groups last, and leaves DIRECT out only where there are any', () => {
  const groups = [['http://a:1', 'DIRECT'], ['DIRECT']];
  assert.deepEqual(withFallbackGroups(groups, []), groups);
  assert.deepEqual(withFallbackGroups(groups, [['http://b:1'], ['DIRECT']]), [
    ['http://a:1'],
    ['http://b:1'],
  ]);
});
