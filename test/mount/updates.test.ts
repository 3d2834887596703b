import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { CliRepository } from '../support/cli-repository.ts';
import { SLACK_MS } from '../support/fault-client.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch } from '../support/scratch.ts';
import { thimbleJson } from '../support/thimble.ts';
import { dir, file, type Literal, makeTree } from '../support/trees.ts';

/** What the manual promises from publishing to seeing. */
const PROMISED_MS = 5_000;

async function scene(t: TestContext) {
  const scratch = memoryScratch(t);
  const mountpoint = join(scratch, 'mount');
  mkdirSync(mountpoint);
  const repository = await CliRepository.create(scratch);
  const publish = async (tree: Literal) => {
    const source = join(scratch, 'source');
    rmSync(source, { recursive: true, force: true });
    makeTree(source, tree);
    return repository.publish(source);
  };
  return { scratch, mountpoint, repository, publish };
}

/** Waits, but no longer than promised. */
async function untilPromised(isSo: () => boolean, what: string): Promise<void> {
  const startedMs = performance.now();
  while (!isSo()) {
    assert.ok(performance.now() - startedMs < PROMISED_MS + SLACK_MS, `${what} within ${PROMISED_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const FIRST = dir({
  changes: file('old'),
  stays: file('same', { mtimeSeconds: 1_600_000_000 }),
  gone: file('going'),
  nested: dir({
    '.cvmfscatalog': file(''),
    inner: file('old'),
    kept: file('kept', { mtimeSeconds: 1_600_000_000 }),
  }),
});
const SECOND = dir({
  changes: file('new!'),
  stays: file('same', { mtimeSeconds: 1_600_000_000 }),
  added: file('added'),
  nested: dir({
    '.cvmfscatalog': file(''),
    inner: file('inner new'),
    kept: file('kept', { mtimeSeconds: 1_600_000_000 }),
    more: file('more'),
  }),
});

const readText = (path: string) => readFileSync(path, 'utf8');

describe('updates of a mount', needs('fuse'), () => {
  test('a publish is seen at once where the server tells, in everything the kernel had in its caches', async (t) => {
    const { mountpoint, repository, publish } = await scene(t);
    await publish(FIRST);
    const server = await repository.serve();
    t.after(() => server.stop());
    await repository.mount(mountpoint, [], server.url);
    const at = (path: string) => join(mountpoint, path);
    // All of this is cached now, what is absent too.
    assert.deepEqual(readdirSync(mountpoint).sort(), ['changes', 'gone', 'nested', 'stays']);
    assert.deepEqual(readdirSync(at('nested')).sort(), ['.cvmfscatalog', 'inner', 'kept']);
    for (const absent of ['added', 'nested/more']) assert.equal(existsSync(at(absent)), false);
    for (const path of ['changes', 'gone', 'nested/inner', 'nested/kept']) readText(at(path));
    const before = ['stays', 'nested', 'nested/kept'].map((path) => statSync(at(path)).ino);
    const open = ['changes', 'gone', 'nested/inner'].map((path) => openSync(at(path), 'r'));
    t.after(() => open.forEach((fd) => void closeSync(fd)));

    await publish(SECOND);
    await untilPromised(() => existsSync(at('added')), 'the new file is there');
    await untilPromised(() => existsSync(at('nested/more')), 'so is one in a nested catalog');
    await untilPromised(() => readdirSync(at('nested')).includes('more'), 'and it is listed');
    assert.deepEqual(readdirSync(mountpoint).sort(), ['added', 'changes', 'nested', 'stays']);
    assert.deepEqual(readdirSync(at('nested')).sort(), ['.cvmfscatalog', 'inner', 'kept', 'more']);
    assert.deepEqual(
      ['changes', 'added', 'stays', 'nested/inner', 'nested/more', 'nested/kept'].map((path) =>
        readText(at(path)),
      ),
      ['new!', 'added', 'same', 'inner new', 'more', 'kept'],
    );
    assert.equal(statSync(at('changes')).size, 4);
    assert.equal(existsSync(at('gone')), false);
    assert.deepEqual(
      ['stays', 'nested', 'nested/kept'].map((path) => statSync(at(path)).ino),
      before,
      'what is the same keeps its inode',
    );
    const buffer = Buffer.alloc(20);
    const texts = open.map((fd) => buffer.toString('utf8', 0, readSync(fd, buffer, 0, 20, 0)));
    assert.deepEqual(texts, ['old', 'going', 'old'], 'open files keep their content');
  });

  test('whoever is in a directory stays there, and sees its new content', async (t) => {
    const { mountpoint, repository, publish } = await scene(t);
    await publish(FIRST);
    await repository.mount(mountpoint);
    const { revision } = await publish(SECOND);
    const script = `cd "$0/nested" && cat inner && "$@" >/dev/null && pwd -P && ls && cat inner`;
    const remount = ['sh', '-c', 'until test -e "$0/added"; do sleep 0.05; done', mountpoint];
    const shell = spawn('sh', ['-c', script, mountpoint, ...remount], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    shell.stdout.on('data', (part: Buffer) => {
      output += String(part);
    });
    const closed = new Promise((resolve) => shell.once('close', resolve));
    // What was there before has been read: that is the first it says.
    await once(shell.stdout, 'data');
    await thimbleJson(['remount', mountpoint]);
    assert.equal(await closed, 0);
    assert.equal(output, `old${join(mountpoint, 'nested')}\ninner\nkept\nmore\ninner new`);
    assert.equal(revision, 2);
  });

  test('a pinned mount never moves', async (t) => {
    const { mountpoint, repository, publish } = await scene(t);
    const { rootCatalog } = await publish(FIRST);
    await repository.mount(mountpoint, ['--root-hash', rootCatalog]);
    await publish(SECOND);
    await assert.rejects(thimbleJson(['remount', mountpoint]));
    assert.equal(readText(join(mountpoint, 'changes')), 'old');
  });

  test('an older revision than was seen is not mounted, unless it is asked for', async (t) => {
    const { scratch, mountpoint, repository, publish } = await scene(t);
    const manifest = join(repository.storage, '.cvmfspublished');
    await publish(FIRST);
    const old = readFileSync(manifest);
    await publish(SECOND);
    await repository.mount(mountpoint);
    await thimbleJson(['umount', mountpoint]);
    writeFileSync(`${manifest}.old`, old);
    renameSync(`${manifest}.old`, manifest);
    const elsewhere = ['--cache', join(scratch, 'other-cache')];
    await assert.rejects(repository.mount(mountpoint, elsewhere), /revision 2 was seen before/);
    // What was seen is still in the cache.
    await repository.mount(mountpoint);
    assert.equal(readText(join(mountpoint, 'changes')), 'new!');
    await thimbleJson(['umount', mountpoint]);
    await repository.mount(mountpoint, ['--allow-older', ...elsewhere]);
    assert.equal(readText(join(mountpoint, 'changes')), 'old');
  });

  test('without a server, a new mount shows what was seen last, and catches up when there is one', async (t) => {
    const { mountpoint, repository, publish } = await scene(t);
    await publish(FIRST);
    const first = await repository.serve();
    t.after(() => first.stop());
    await repository.mount(mountpoint, [], first.url);
    readText(join(mountpoint, 'changes'));
    await thimbleJson(['umount', mountpoint]);
    await first.stop();
    await repository.mount(mountpoint, ['--deadline', '2'], first.url);
    assert.equal(readText(join(mountpoint, 'changes')), 'old');
    assert.deepEqual(readdirSync(mountpoint).sort(), ['changes', 'gone', 'nested', 'stays']);
  });
});
