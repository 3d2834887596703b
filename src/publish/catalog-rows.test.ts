import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contentsOf } from '../../test/support/catalog-contents.ts';
import { entry } from '../../test/support/memory-tree.ts';
import { messageOf, type ThimbleError } from '../core/errors.ts';

test('an attribute that does not fit is refused with the path of its file', async () => {
  const one = entry('/a/x', { content: 'x', xattrs: { 'user.long': 'v'.repeat(256) } });
  await assert.rejects(
    contentsOf([one]),
    (error: ThimbleError) =>
      error.code === 'LIMIT' && /^Cannot publish \/a\/x: .*user\.long/.test(messageOf(error)),
  );
});
