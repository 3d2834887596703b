import assert from 'node:assert/strict';
import { test } from 'node:test';
import { retryAfterSeconds } from './retry-after.ts';

const AT_NOON = 784_123_200;
const NOON = 'Sun, 06 Nov 1994 12:00:00 GMT';

function secondsOf(retryAfter: string | undefined, date?: string): number | undefined {
  const headers = Object.entries({ 'retry-after': retryAfter, date });
  const given = headers.filter((one): one is [string, string] => one[1] !== undefined);
  return retryAfterSeconds(new Map(given), AT_NOON);
}

test('retryAfterSeconds() takes seconds as they are', () => {
  assert.equal(secondsOf('0'), 0);
  assert.equal(secondsOf('120', NOON), 120);
});

test('retryAfterSeconds() reckons dates by the clock of the server, else by ours', () => {
  assert.equal(secondsOf('Sun, 06 Nov 1994 12:01:30 GMT'), 90);
  assert.equal(secondsOf('Mon, 07 Nov 1994 00:00:05 GMT', 'Mon, 07 Nov 1994 00:00:00 GMT'), 5);
});

test('retryAfterSeconds() takes a date that has passed for now', () => {
  assert.equal(secondsOf('Sun, 06 Nov 1994 11:59:59 GMT'), 0);
});

test('retryAfterSeconds() passes over what is neither', () => {
  for (const text of [undefined, '', 'soon', '-5', '1.5', '9999999999', 'Sun, 06 Foo 1994 12:00:00 GMT']) {
    assert.equal(secondsOf(text), undefined, text);
  }
});
