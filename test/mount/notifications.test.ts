import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { publishRepository } from '../support/client-repository.ts';
import { FuseProcess, type FuseProcessOptions, holdMount } from '../support/fuse-process.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { dir, file } from '../support/trees.ts';

const ROOT = 1;

async function scene(t: TestContext) {
  const mountpoint = join(scratchFolder(t), 'mount');
  mkdirSync(mountpoint);
  const published = await publishRepository(t);
  const { rootCatalog } = await published.publish(dir({ a: file('content'), d: dir({ b: file('more') }) }));
  const options: FuseProcessOptions = { server: published.storage, rootHash: rootCatalog };
  const fd = holdMount(t, mountpoint);
  return { mountpoint, options, fd };
}

/** Through a child: a process must not touch the mount that it serves, and this one holds its descriptor. */
const stat = (path: string) => execFileSync('stat', ['-c', '%s', path], { encoding: 'utf8' });
const read = (path: string) => execFileSync('cat', [path], { encoding: 'utf8' });

async function counted(process: FuseProcess, operation: string, work: () => void): Promise<number> {
  const before = (await process.status()).operations[operation] ?? 0;
  work();
  return ((await process.status()).operations[operation] ?? 0) - before;
}

describe('what the kernel is told', needs('fuse'), () => {
  test('a name that is invalidated is looked up again, and no other', async (t) => {
    const { mountpoint, options, fd } = await scene(t);
    const server = await FuseProcess.start(t, fd, options);
    const look = () => {
      stat(join(mountpoint, 'a'));
      stat(join(mountpoint, 'd'));
    };
    look();
    assert.equal(await counted(server, 'LOOKUP', look), 0);
    for (const expireOnly of [false, true]) {
      assert.equal(await server.call('invalidateEntry', ROOT, { latin1: 'a' }, { expireOnly }), true);
      assert.equal(await counted(server, 'LOOKUP', look), 1);
    }
  });

  test('what the kernel does not know needs no forgetting', async (t) => {
    const { options, fd } = await scene(t);
    const server = await FuseProcess.start(t, fd, options);
    assert.equal(await server.call('invalidateEntry', ROOT, { latin1: 'none' }), true);
    assert.equal(await server.call('invalidateInode', 12345), true);
  });

  test('an inode that is invalidated is read again', async (t) => {
    const { mountpoint, options, fd } = await scene(t);
    const server = await FuseProcess.start(t, fd, options);
    const path = join(mountpoint, 'a');
    const node = Number(execFileSync('stat', ['-c', '%i', path], { encoding: 'utf8' }));
    read(path);
    assert.equal(await counted(server, 'READ', () => read(path)), 0);
    assert.equal(await server.call('invalidateInode', node), true);
    assert.equal(await counted(server, 'READ', () => read(path)), 1);
  });

  test('after the epoch is incremented every name is looked up again', async (t) => {
    const { mountpoint, options, fd } = await scene(t);
    const server = await FuseProcess.start(t, fd, options);
    const look = () => stat(join(mountpoint, 'd/b'));
    look();
    const { negotiated } = await server.status();
    const isKnown = await server.call<boolean>('incrementEpoch');
    assert.equal(isKnown, negotiated!.minor >= 44);
    assert.equal(await counted(server, 'LOOKUP', look), isKnown ? 2 : 0);
  });

  test('names are kept no longer than the seconds that are set while mounted', async (t) => {
    const { mountpoint, options, fd } = await scene(t);
    const server = await FuseProcess.start(t, fd, options);
    await server.call('setValidSeconds', 0);
    const look = () => stat(join(mountpoint, 'a'));
    look();
    assert.equal(await counted(server, 'LOOKUP', look), 1);
    await server.call('setValidSeconds', 3600);
    look();
    assert.equal(await counted(server, 'LOOKUP', look), 0);
  });

  test('another process goes on with the descriptor, and answers what the first one left open', async (t) => {
    const { mountpoint, options, fd } = await scene(t);
    const first = await FuseProcess.start(t, fd, options);
    stat(join(mountpoint, 'd'));
    const { negotiated } = await first.status();
    assert.notEqual(negotiated, undefined);
    process.kill(first.pid, 'SIGSTOP');
    const reader = spawn('cat', [join(mountpoint, 'd/b')], { stdio: ['ignore', 'pipe', 'inherit'] });
    const content = new Promise<string>((resolve) =>
      reader.stdout.once('data', (data) => resolve(String(data))),
    );
    await first.kill();
    const second = await FuseProcess.start(t, fd, { ...options, fuse: { negotiated: negotiated! } });
    await second.call('resend');
    assert.equal(await content, 'more');
    assert.deepEqual((await second.status()).negotiated, negotiated);
    assert.equal(read(join(mountpoint, 'a')), 'content');
  });
});
