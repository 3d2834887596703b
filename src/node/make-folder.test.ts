import assert from 'node:assert/strict';
import { statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { makeFolder } from './make-folder.ts';

test('makeFolder() makes a folder and those above it with the mode it is given, and leaves what is there', (t) => {
  const scratch = scratchFolder(t);
  const [outer, inner] = [join(scratch, 'a'), join(scratch, 'a/b/c')];
  makeFolder(inner, 0o700);
  assert.equal(statSync(outer).mode & 0o777, 0o700);
  assert.equal(statSync(inner).mode & 0o777, 0o700);
  makeFolder(inner, 0o755);
  assert.equal(statSync(inner).mode & 0o777, 0o700);
  symlinkSync(outer, join(scratch, 'link'));
  makeFolder(join(scratch, 'link/d'));
  assert.ok(statSync(join(outer, 'd')).isDirectory());
});

for (const [what, path, code] of [
  ['where nothing can be made', '/proc/none', 'ENOENT'],
  ['further below such a place', '/proc/none/a/b', 'ENOENT'],
] as const) {
  test(`makeFolder() fails at once ${what}`, () => {
    assert.throws(() => makeFolder(path), { code });
  });
}

test('makeFolder() fails where a file is, and below it', (t) => {
  const file = join(scratchFolder(t), 'file');
  writeFileSync(file, '');
  assert.throws(() => makeFolder(file), { code: 'EEXIST' });
  assert.throws(() => makeFolder(join(file, 'a')), { code: 'EEXIST' });
});
