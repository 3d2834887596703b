import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { STATE_FILES } from './state-folder.ts';
import { quoted, writeServerCommand } from './supervisor.ts';

test('a shell gets every word as it was given', (t) => {
  const folder = scratchFolder(t);
  const words = ["it's", '$HOME `id` "x"', 'two\nlines', '', '*', '-n'];
  writeServerCommand(folder, { folder, program: ['printf', '%s\\0'], args: words });
  const output = execFileSync('sh', [join(folder, STATE_FILES.command)], { encoding: 'utf8' });
  assert.deepEqual(output.split('\0').slice(0, -1), words);
});

test('quoted() leaves nothing open', () => {
  assert.equal(quoted("a'b"), "'a'\\''b'");
});
