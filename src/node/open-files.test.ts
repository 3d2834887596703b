import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { NodeId } from '../core/vfs.ts';
import { OpenFiles } from './open-files.ts';

let last = 0;
/** A request that was not there before. */
const next = () => ({ unique: ++last, isRepeated: false });

const [A, B, C] = [11, 12, 2 ** 40 + 13] as [NodeId, NodeId, NodeId];

function openFiles(t: TestContext) {
  const path = join(scratchFolder(t), 'open-files');
  const open = (minimumBytes = 1000) => {
    const files = new OpenFiles(path, minimumBytes);
    t.after(() => files.end());
    return files;
  };
  return open;
}

test('a file is closed when it was closed as often as it was opened', (t) => {
  const files = openFiles(t)();
  const handle = files.add(A, 5, next());
  files.reopen(files.find(A)!, next());
  assert.equal(files.close(handle, next()), undefined);
  assert.deepEqual(files.close(handle, next()), { node: A, backingId: 5 });
  assert.equal(files.find(A), undefined);
  assert.equal(files.close(handle, next()), undefined);
});

test('handles are never 0, differ while they are open, and are used again', (t) => {
  const files = openFiles(t)();
  const handles = [files.add(A, 0, next()), files.add(B, 6, next())];
  assert.deepEqual(
    [...new Set(handles)].filter((handle) => handle > 0),
    handles,
  );
  files.close(handles[0]!, next());
  assert.equal(files.add(C, 7, next()), handles[0]);
  assert.deepEqual(files.count(), { files: 2, backed: 2 });
});

test('the next process goes on with what is open, and with the size that counts as large', (t) => {
  const open = openFiles(t);
  const before = open(1000);
  const [a, b, c] = [before.add(A, 5, next()), before.add(B, 0, next()), before.add(C, 9, next())];
  before.reopen(c, next());
  before.close(a, next());
  const after = open(5);
  assert.equal(after.minimumBytes, 1000);
  assert.deepEqual([after.find(A), after.find(B), after.find(C)], [undefined, b, c]);
  assert.equal(after.close(c, next()), undefined);
  assert.deepEqual(after.close(c, next()), { node: C, backingId: 9 });
  assert.deepEqual(after.close(b, next()), { node: B, backingId: 0 });
});

test('the next process knows the request that the last one counted and did not answer', (t) => {
  const open = openFiles(t);
  const before = open();
  const [first, second] = [next(), next()];
  before.close(before.add(A, 5, first), second);
  const after = open();
  assert.equal(after.isCounted({ ...first, isRepeated: true }), false);
  assert.equal(after.isCounted({ ...second, isRepeated: true }), true);
  assert.equal(after.isCounted(second), false);
});
