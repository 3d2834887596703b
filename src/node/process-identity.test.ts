import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { identityOf } from './process-identity.ts';

test('identityOf() names boot and start time of a process, the same each time', () => {
  const identity = identityOf(process.pid);
  assert.match(identity!, /^[0-9a-f-]{36} [0-9]+$/);
  assert.equal(identityOf(process.pid), identity);
  assert.equal(identity!.split(' ')[0], identityOf(1)!.split(' ')[0]);
  assert.notEqual(identityOf(1), identity);
});

test('identityOf() answers undefined for processes that do not exist', () => {
  for (const pid of [4_194_304, -1, Number.NaN]) assert.equal(identityOf(pid), undefined);
});

test('identityOf() is not misled by the name of a program, and ends with the process', async (t) => {
  // The kernel shows the file name in brackets: this one looks like the fields behind it.
  const program = join(scratchFolder(t), 'x) R 1 (');
  symlinkSync('/bin/cat', program);
  const child = spawn(program, { stdio: ['pipe', 'pipe', 'ignore'] });
  t.after(() => child.kill());
  child.stdin.write('x');
  await once(child.stdout, 'data');
  const ticks = (pid: number) => Number(identityOf(pid)!.split(' ')[1]);
  assert.ok(ticks(child.pid!) >= ticks(process.pid), 'it started after this process');
  assert.notEqual(identityOf(child.pid!), identityOf(process.pid));
  child.stdin.end();
  await once(child, 'exit');
  assert.equal(identityOf(child.pid!), undefined);
});

test('a process that has ended is nobody, also before its parent has asked how', async () => {
  // The shell becomes a program that never asks for its children.
  const parent = spawn('sh', ['-c', 'sh -c "echo \\$\\$; exit" & exec sleep 60'], { stdio: 'pipe' });
  try {
    const [text] = (await once(parent.stdout, 'data')) as [Buffer];
    const stat = `/proc/${text.toString().trim()}/stat`;
    while (!readFileSync(stat, 'latin1').includes(') Z '))
      await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(identityOf(Number(text.toString())), undefined);
  } finally {
    parent.kill();
  }
});
