import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { publishRepository } from '../support/client-repository.ts';
import { FuseProcess, holdMount } from '../support/fuse-process.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { dir, file } from '../support/trees.ts';

const READERS = 2000;
const FILES = 500;

/** Threads that each read one file, all at once; prints how many got what they should. */
const READING = `
import sys, threading
top, readers, files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
good, start = [], threading.Event()
def read(i):
    start.wait()
    with open(f'{top}/file-{i % files}') as f: good.append(f.read() == f'content {i % files}')
threading.stack_size(128 * 1024)
threads = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(readers)]
for t in threads: t.start()
start.set()
print('started', flush=True)
for t in threads: t.join()
print(sum(good))
`;

interface Scene {
  readonly mountpoint: string;
  readonly server: FuseProcess;
  /** From here on the web server takes requests and never answers. */
  goSilent(): void;
}

async function scene(t: TestContext): Promise<Scene> {
  const mountpoint = join(scratchFolder(t), 'mount');
  mkdirSync(mountpoint);
  const published = await publishRepository(t);
  const names = Array.from({ length: FILES }, (_, i) => [`file-${i}`, file(`content ${i}`)] as const);
  const { rootCatalog } = await published.publish(dir(Object.fromEntries(names)));
  let isSilent = false;
  const web = createServer((request, response) => {
    if (isSilent) return;
    try {
      response.end(readFileSync(join(published.storage, request.url!)));
    } catch {
      response.writeHead(404).end();
    }
  });
  await once(web.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    web.closeAllConnections();
    web.close();
  });
  const address = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
  const fd = holdMount(t, mountpoint);
  const options = { server: address, rootHash: rootCatalog, deadlineMs: 600_000 };
  const server = await FuseProcess.start(t, fd, options);
  return { mountpoint, server, goSilent: () => (isSilent = true) };
}

const descriptors = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Kills a reader; resolves with the signal when it is gone. */
async function killed(reader: ChildProcess, signal: NodeJS.Signals): Promise<unknown> {
  const ended = once(reader, 'exit');
  reader.kill(signal);
  return (await ended)[1];
}

describe('readers of a mount', needs('fuse', 'python'), () => {
  test('thousands at once all read what they should, and leave no descriptor behind', async (t) => {
    const { mountpoint, server } = await scene(t);
    const read = () =>
      promisify(execFile)('/usr/bin/python3', ['-c', READING, mountpoint, String(READERS), String(FILES)]);
    assert.equal((await read()).stdout, `started\n${READERS}\n`);
    const before = descriptors(server.pid);
    assert.equal((await read()).stdout, `started\n${READERS}\n`);
    assert.ok(
      descriptors(server.pid) <= before,
      `${before} descriptors have become ${descriptors(server.pid)}`,
    );
  });

  test('thousands that wait for a server that never answers can all be killed', async (t) => {
    const { mountpoint, server, goSilent } = await scene(t);
    goSilent();
    const args = ['-c', READING, mountpoint, String(READERS), String(FILES)];
    const readers = spawn('/usr/bin/python3', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    t.after(() => readers.kill('SIGKILL'));
    await until(async () => (await server.status()).waiting >= 100);
    assert.equal(await killed(readers, 'SIGKILL'), 'SIGKILL');
    // What is cached or in the catalog is still answered.
    assert.equal((await promisify(execFile)('ls', [mountpoint])).stdout.trim().split('\n').length, FILES);
  });

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
    test(`${signal} ends a reader that waits for a server that never answers`, async (t) => {
      const { mountpoint, server, goSilent } = await scene(t);
      goSilent();
      const reader = spawn('cat', [join(mountpoint, 'file-1')], { stdio: 'ignore' });
      t.after(() => reader.kill('SIGKILL'));
      await until(async () => (await server.status()).waiting > 0);
      assert.equal(await killed(reader, signal), signal);
    });
  }
});
