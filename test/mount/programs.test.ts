/** Programs of every day, run on a mount and on the folder that was published: both must tell the same. */

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { publishRepository } from '../support/client-repository.ts';
import { FuseProcess, holdMount } from '../support/fuse-process.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { dir, file, makeTree, symlink } from '../support/trees.ts';

const SOURCES = dir({
  'main.c': file(
    '#include <stdio.h>\n#include "words.h"\nint main(void) { puts(WORDS); return count(WORDS); }\n',
  ),
  'count.c': file(
    '#include "words.h"\nint count(const char *s) { int n = 0; while (*s++) n++; return n; }\n',
  ),
  include: dir({ 'words.h': file('#define WORDS "built from the mount"\nint count(const char *);\n') }),
  latest: symlink('main.c'),
});

const GIT_AUTHOR = ['-c', 'user.name=test', '-c', 'user.email=test@example.org'];
/** Parts of Python's library that are large and that nothing here imports. */
const NOT_COPIED = new Set([
  '__pycache__',
  'test',
  'idlelib',
  'lib2to3',
  'ensurepip',
  'dist-packages',
  'tkinter',
]);

const execute = promisify(execFile);
const run = async (program: string, args: readonly string[], env: Record<string, string> = {}) =>
  (await execute(program, args, { env: { ...process.env, LC_ALL: 'C', ...env }, maxBuffer: 1e8 })).stdout;

function makeSource(source: string): void {
  const project = join(source, 'project');
  makeTree(project, SOURCES);
  for (const args of [
    ['init', '-q'],
    ['add', '.'],
    [...GIT_AUTHOR, 'commit', '-qm', 'first'],
  ]) {
    execFileSync('git', ['-C', project, ...args]);
  }
  // Over many commits, and in a pack.
  for (let i = 0; i < 5; i++) {
    writeFileSync(join(project, 'count.c'), `/* ${i} */\n`, { flag: 'a' });
    execFileSync('git', ['-C', project, ...GIT_AUTHOR, 'commit', '-qam', `change ${i}`]);
  }
  execFileSync('git', ['-C', project, 'gc', '-q']);
  const library = execFileSync('/usr/bin/python3', ['-c', 'import os; print(os.path.dirname(os.__file__))']);
  const path = library.toString().trim();
  cpSync(path, join(source, 'usr/lib', basename(path)), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (from) => !NOT_COPIED.has(basename(from)),
  });
  for (const folder of ['dpkg', 'apt/lists']) mkdirSync(join(source, 'var/lib', folder), { recursive: true });
  writeFileSync(join(source, 'var/lib/dpkg/status'), readFileSync('/var/lib/dpkg/status'));
}

describe('programs run on a mount', needs('fuse', 'programs'), () => {
  const cleaning: (() => void)[] = [];
  const t = { after: (clean: () => void) => void cleaning.push(clean) } as TestContext;
  let scratch = '';
  let source = '';
  let mountpoint = '';

  before(async () => {
    scratch = scratchFolder(t);
    source = join(scratch, 'source');
    mountpoint = join(scratch, 'mount');
    mkdirSync(mountpoint);
    makeSource(source);
    const published = await publishRepository(t);
    const { rootCatalog } = await published.publishFolder(source);
    const fd = holdMount(t, mountpoint);
    await FuseProcess.start(t, fd, { server: published.storage, rootHash: rootCatalog });
  });
  after(() => {
    for (const clean of cleaning.reverse()) clean();
  });

  test('git finds nothing changed and nothing damaged', async () => {
    const project = join(mountpoint, 'project');
    const git = (...args: string[]) => run('git', ['-C', project, ...args]);
    assert.equal(await git('status', '--porcelain'), '');
    assert.equal(await git('fsck', '--strict'), '');
    assert.equal((await git('log', '--oneline')).trim().split('\n').length, 6);
    await run('git', ['clone', '-q', project, join(scratch, 'clone')]);
  });

  test('gcc builds from it, and what is built runs', async () => {
    const project = join(mountpoint, 'project');
    const program = join(scratch, 'program');
    const sources = ['latest', 'count.c'].map((name) => join(project, name));
    await run('gcc', ['-x', 'c', '-I', join(project, 'include'), '-o', program, ...sources]);
    const result = await execute(program).catch((error: { stdout: string; code: number }) => error);
    assert.deepEqual([result.stdout, 'code' in result && result.code], ['built from the mount\n', 20]);
  });

  test('Python imports its library from it', async () => {
    const modules = ['asyncio', 'email.mime.text', 'http.client', 'json', 'unittest', 'xml.dom.minidom'];
    const code = `import ${modules.join(', ')}; print(asyncio.__file__)`;
    const env = { PYTHONHOME: join(mountpoint, 'usr') };
    const where = await run('/usr/bin/python3', ['-c', code], env);
    assert.ok(where.startsWith(mountpoint), where);
  });

  test('apt lists the packages that it tells of', async () => {
    const list = (top: string) =>
      run('apt', [
        'list',
        '--installed',
        ...['-o', `Dir::State=${top}/var/lib/apt`, '-o', `Dir::State::status=${top}/var/lib/dpkg/status`],
        ...['-o', 'Dir::Cache::pkgcache=', '-o', 'Dir::Cache::srcpkgcache='],
      ]);
    const listed = await list(mountpoint);
    assert.ok(listed.split('\n').length > 50, listed);
    assert.equal(listed, await list(source));
  });

  test('rsync finds every byte and attribute as it was published', async () => {
    const args = ['-aHXcni', '--delete', '--omit-dir-times'];
    assert.equal(await run('rsync', [...args, `${source}/`, `${mountpoint}/`]), '');
    await run('rsync', ['-a', `${mountpoint}/project/`, join(scratch, 'copy/')]);
    await run('diff', ['-r', join(source, 'project'), join(scratch, 'copy')]);
  });

  test('tar and cp with holes read what is there', async () => {
    const archive = join(scratch, 'project.tar');
    await run('tar', ['-cSf', archive, '-C', mountpoint, 'project']);
    await run('tar', ['-df', archive, '-C', source]);
    const from = join(mountpoint, 'project/main.c');
    await run('cp', ['--sparse=always', from, join(scratch, 'main.c')]);
    await run('cmp', [from, join(scratch, 'main.c')]);
  });
});
