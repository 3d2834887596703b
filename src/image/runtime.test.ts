import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ThimbleError } from '../core/errors.ts';
import { elfNeeds, stripElf } from './elf.ts';
import { guestRuntime } from './runtime.ts';

describe('guestRuntime()', () => {
  test('guestRuntime() is Node for this processor, without what is never loaded', () => {
    const { name, binary } = guestRuntime();
    assert.match(name, /^Node 2[4-9]\.\d+\.\d+$/);
    assert.ok(elfNeeds(binary).interpreter !== undefined);
    assert.ok(Buffer.from(stripElf(binary)).equals(Buffer.from(binary)));
  });

  test('guestRuntime() says how to get a package that is not installed', () => {
    assert.throws(
      () => guestRuntime('pdp11'),
      (error) =>
        error instanceof ThimbleError &&
        error.code === 'NOT_FOUND' &&
        /node-linux-pdp11 is not installed/.test(error.message) &&
        /npm ci/.test(error.hint ?? ''),
    );
  });
});
