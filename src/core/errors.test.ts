import assert from 'node:assert/strict';
import test from 'node:test';
import { EINTR, EINVAL, EIO, ENETUNREACH, errnoOf } from './errno.ts';
import { assert as assertHolds, errorCodeOf, messageOf, ThimbleError } from './errors.ts';

test('ThimbleError carries code, hint, details and cause', () => {
  const cause = new Error('below');
  const error = new ThimbleError('LIMIT', 'Cannot', { hint: 'do', details: { count: 3 }, cause });
  assert.deepEqual(
    [error.name, error.code, error.message, error.hint, error.details, error.cause],
    ['ThimbleError', 'LIMIT', 'Cannot', 'do', { count: 3 }, cause],
  );
  assert.ok(!('cause' in new ThimbleError('LIMIT', 'Cannot')));
});

test('messageOf() strings the sentences of causes together', () => {
  const error = new ThimbleError('NETWORK', 'Cannot fetch', {
    cause: new Error('Cannot connect', { cause: 'ECONNREFUSED' }),
  });
  assert.equal(messageOf(error), 'Cannot fetch: Cannot connect: ECONNREFUSED');
  assert.equal(messageOf(undefined), 'undefined');
});

test('errorCodeOf() takes whatever is not ours for a bug of ours', () => {
  assert.equal(errorCodeOf(new ThimbleError('TRUST', 'Cannot trust')), 'TRUST');
  assert.equal(errorCodeOf(new TypeError('x is undefined')), 'INTERNAL');
  assert.equal(errorCodeOf('thrown text'), 'INTERNAL');
});

test('assert() throws INTERNAL where its condition does not hold', () => {
  assertHolds(true, 'fine');
  assert.throws(() => assertHolds(false, 'it was sorted'), {
    name: 'ThimbleError',
    code: 'INTERNAL',
    message: /it was sorted/,
  });
});

for (const [code, errno] of [
  ['NOT_FOUND', EIO],
  ['INTEGRITY', EIO],
  ['USAGE', EINVAL],
  ['CANCELLED', EINTR],
] as const) {
  test(`errnoOf() translates ${code} to ${errno}`, () => {
    assert.equal(errnoOf(new ThimbleError(code, 'Cannot')), errno);
  });
}

test('errnoOf() tells a network that is gone from a server that answers wrongly', () => {
  const error = (answered: string) => new ThimbleError('NETWORK', 'Cannot', { details: { answered } });
  assert.equal(errnoOf(error('no')), ENETUNREACH);
  assert.equal(errnoOf(error('yes')), EIO);
  assert.equal(errnoOf(new ThimbleError('NETWORK', 'Cannot')), EIO);
});

test('errnoOf() translates a foreign error to EIO', () => assert.equal(errnoOf(new RangeError('oops')), EIO));
