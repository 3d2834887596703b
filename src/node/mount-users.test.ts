import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { formatUsers, usersOf } from './mount-users.ts';

async function shell(t: TestContext, script: string, cwd: string): Promise<number> {
  const child = spawn('sh', ['-c', `${script}; echo; read x`], { cwd, stdio: 'pipe' });
  t.after(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child.pid!;
}

test('usersOf() finds who has a file open or works in a folder, writers first', async (t) => {
  const scratch = scratchFolder(t);
  const [inside, beside] = [join(scratch, 'in'), join(scratch, 'in-side')];
  for (const folder of [inside, beside]) mkdirSync(folder);
  const file = join(inside, 'file');
  writeFileSync(file, '');
  const worker = await shell(t, ':', inside);
  const reader = await shell(t, `exec 3<${file}`, '/');
  const writer = await shell(t, `exec 3>>${file}`, '/');
  await shell(t, ':', beside);
  const users = usersOf(inside);
  assert.deepEqual(users[0], { pid: writer, command: 'sh', path: file, isWriting: true });
  assert.deepEqual(
    users.slice(1).map(({ pid, path, isWriting }) => ({ pid, path, isWriting })),
    [
      { pid: worker, path: inside, isWriting: false },
      { pid: reader, path: file, isWriting: false },
    ].sort((a, b) => a.pid - b.pid),
  );
  assert.equal(formatUsers(users.slice(0, 1)), `sh (${writer})`);
});
