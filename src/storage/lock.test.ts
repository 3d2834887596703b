import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs, { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { takeLock } from './lock.ts';

test('a lock that is taken is refused with CONFLICT, naming the process and the machine that hold it', (t) => {
  const path = join(scratchFolder(t), 'publish.lock');
  takeLock(path, 'os.example.org');
  assert.throws(() => takeLock(path, 'os.example.org'), {
    code: 'CONFLICT',
    message: `Cannot change os.example.org: process ${process.pid} on ${hostname()} is changing it`,
    hint: `wait for it to end; if that machine is gone for good, remove ${path}`,
  });
});

test('a lock that was given back can be taken again', (t) => {
  const path = join(scratchFolder(t), 'a/folder/that/is/made/publish.lock');
  const release = takeLock(path, 'x');
  release();
  assert.equal(existsSync(path), false);
  takeLock(path, 'x')();
});

test('nothing but the lock file is left beside it', (t) => {
  const path = join(scratchFolder(t), 'publish.lock');
  takeLock(path, 'x');
  assert.deepEqual(readdirSync(dirname(path)), ['publish.lock']);
});

test('the lock of a process that was killed is taken over', async (t) => {
  const path = join(scratchFolder(t), 'publish.lock');
  const holder = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const { takeLock } = await import(${JSON.stringify(new URL('./lock.ts', import.meta.url).href)});
     takeLock(${JSON.stringify(path)}, 'x');
     console.log('taken');
     setInterval(() => {}, 1000);`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(holder.stdout, 'data');
  assert.throws(() => takeLock(path, 'x'), {
    code: 'CONFLICT',
    message: new RegExp(`process ${holder.pid} on`),
  });
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  takeLock(path, 'x');
  assert.match(readFileSync(path, 'utf8'), new RegExp(`^${process.pid} `));
});

for (const { what, content } of [
  {
    what: 'whose process id was given to another process',
    content: `${process.pid} ${hostname()} boot-id 1`,
  },
  { what: 'that was never written', content: '' },
  { what: 'of a process that never was', content: `4194305 ${hostname()} boot-id 1` },
]) {
  test(`a lock ${what} is taken over`, (t) => {
    const path = join(scratchFolder(t), 'publish.lock');
    writeFileSync(path, content);
    takeLock(path, 'x');
    assert.match(readFileSync(path, 'utf8'), new RegExp(`^${process.pid} ${hostname()} `));
  });
}

test('a lock of another machine is left alone: nobody here can tell whether its holder is alive', (t) => {
  const path = join(scratchFolder(t), 'publish.lock');
  writeFileSync(path, '1 elsewhere boot-id 1');
  assert.throws(() => takeLock(path, 'x'), { code: 'CONFLICT', message: /process 1 on elsewhere/ });
  assert.equal(readFileSync(path, 'utf8'), '1 elsewhere boot-id 1');
});

test('a lock file that cannot be written or read gives STORAGE', (t) => {
  const folder = scratchFolder(t);
  mkdirSync(join(folder, 'publish.lock'));
  assert.throws(() => takeLock(join(folder, 'publish.lock'), 'x'), {
    code: 'STORAGE',
    message: /publish\.lock$/,
  });
  writeFileSync(join(folder, 'file'), '');
  assert.throws(() => takeLock(join(folder, 'file/publish.lock'), 'x'), {
    code: 'STORAGE',
    message: /publish\.lock$/,
  });
});

test('a lock that another takes over at the same moment stays with the other', (t) => {
  const path = join(scratchFolder(t), 'publish.lock');
  writeFileSync(path, `4194305 ${hostname()} boot-id 1`);
  const others = '1 elsewhere boot-id 1';
  const { renameSync } = fs;
  t.mock.method(fs, 'renameSync', (from: string, to: string) => {
    // Between the look at the stale lock and its removal.
    writeFileSync(path, others);
    renameSync(from, to);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  assert.throws(() => takeLock(path, 'x'), { code: 'CONFLICT', message: /process 1 on elsewhere/ });
  assert.equal(readFileSync(path, 'utf8'), others);
  assert.deepEqual(readdirSync(dirname(path)), ['publish.lock']);
});

test('what processes left that were killed while they took the lock goes with the next lock', (t) => {
  const folder = scratchFolder(t);
  const path = join(folder, 'publish.lock');
  const files = {
    'publish.lock.4194305': `4194305 ${hostname()} boot-id 1`,
    'publish.lock.4194306': '',
    'publish.lock.4194307.stale': `4194305 ${hostname()} boot-id 1`,
    // Of others: they may be alive, or no locks at all.
    'publish.lock.4194308': '4194308 elsewhere boot-id 1',
    [`publish.lock.${process.ppid}`]: `${process.ppid} ${hostname()} boot-id 1`,
    'publish.lock.old': '',
    'publish.locks.4194305': '',
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  takeLock(path, 'x');
  assert.deepEqual(readdirSync(folder).sort(), ['publish.lock', ...Object.keys(files).slice(3)].sort());
});

test('of many processes that take a stale lock at once, one gets it', async (t) => {
  const folder = scratchFolder(t);
  const path = join(folder, 'publish.lock');
  writeFileSync(path, `4194305 ${hostname()} boot-id 1`);
  const children = Array.from({ length: 4 }, () =>
    spawn(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `const { takeLock } = await import(${JSON.stringify(new URL('./lock.ts', import.meta.url).href)});
       process.stdin.once('data', () => {
         try { takeLock(${JSON.stringify(path)}, 'x'); console.log('got'); }
         catch (error) { console.log(error.code); }
       }).once('end', () => process.exit());
       console.log('ready');`,
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    ),
  );
  await Promise.all(children.map(({ stdout }) => once(stdout, 'data')));
  // All of them stay alive until each has answered: a lock of a dead one may be taken.
  const answers = Promise.all(
    children.map(async ({ stdout }) => String((await once(stdout, 'data'))[0]).trim()),
  );
  for (const { stdin } of children) stdin.write('go\n');
  assert.deepEqual((await answers).sort(), ['CONFLICT', 'CONFLICT', 'CONFLICT', 'got']);
  for (const { stdin } of children) stdin.end();
});
