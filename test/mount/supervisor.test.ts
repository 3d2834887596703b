import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { STATE_FILES } from '../../src/mount/state-folder.ts';
import { writeServerCommand } from '../../src/mount/supervisor.ts';
import { needs } from '../support/needs.ts';
import { contentOf, pathOf, SupervisedMount, until } from '../support/supervised-mount.ts';
import { startThimble, thimble, thimbleJson } from '../support/thimble.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}/exe`);
const isFree = (mountpoint: string): boolean =>
  !readFileSync('/proc/self/mounts', 'utf8').includes(` ${mountpoint} `);

describe('a mount with a supervisor', needs('fuse'), () => {
  test('its server killed again and again under readers: they wait, and all of them get the right bytes', async (t) => {
    const scene = await SupervisedMount.create(t, 1200);
    await scene.repository.mount(scene.mountpoint);
    const readers = [0, 1, 2].map((i) => scene.startReader(400 * i, 400 * (i + 1), 8).result);
    for (let kill = 0; kill < 4; kill++) {
      await scene.replaceServer();
      assert.equal(await readFile(join(scene.mountpoint, pathOf(kill)), 'latin1'), contentOf(kill));
    }
    for (const result of await Promise.all(readers))
      assert.deepEqual(result, { read: 400, wrong: 0, errors: [] });
  });

  test('two thousand readers that wait for a server that died are served by the next one', async (t) => {
    const scene = await SupervisedMount.create(t, 2000);
    await scene.repository.mount(scene.mountpoint);
    // A server that is stopped answers nobody: all of them wait when it is killed.
    const pid = scene.serverPid;
    process.kill(pid, 'SIGSTOP');
    const readers = [0, 1].map((i) => scene.startReader(1000 * i, 1000 * (i + 1), 1000));
    const threads = () => readers.map(({ child }) => readdirSync(`/proc/${child.pid}/task`).length);
    await until(() => threads().every((count) => count > 1000));
    process.kill(pid, 'SIGKILL');
    for (const { result } of readers) assert.deepEqual(await result, { read: 1000, wrong: 0, errors: [] });
  });

  test('nodes that the kernel knows stay what they are', async (t) => {
    const scene = await SupervisedMount.create(t, 700);
    await scene.repository.mount(scene.mountpoint);
    // The catalogs of folders 5 and 3 are attached, in this order.
    const files = [510, 310, 10].map((i) => join(scene.mountpoint, pathOf(i)));
    const inodes = files.map((file) => statSync(file).ino);
    await scene.replaceServer();
    // Known files, and new names in known folders.
    for (const i of [510, 310, 10, 399, 599, 99]) {
      assert.equal(readFileSync(join(scene.mountpoint, pathOf(i)), 'latin1'), contentOf(i));
    }
    assert.deepEqual(
      files.map((file) => statSync(file).ino),
      inodes,
    );
  });

  test('unmounting ends both processes, and nothing is left', async (t) => {
    const scene = await SupervisedMount.create(t, 10);
    const { pid } = await scene.repository.mount(scene.mountpoint);
    const { serverPid } = scene;
    assert.notEqual(pid, serverPid);
    await scene.repository.unmount(scene.mountpoint);
    assert.deepEqual([pid, serverPid].filter(isAlive), []);
    assert.equal(existsSync(scene.stateFolder), false);
  });

  test('a busy mount that was unmounted serves its last user, and another can be mounted in its place', async (t) => {
    const scene = await SupervisedMount.create(t, 10);
    const { pid } = await scene.repository.mount(scene.mountpoint);
    const user = spawn('sh', ['-c', 'read line; cat file-3'], {
      cwd: join(scene.mountpoint, 'folder-0'),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const first = scene.serverPid;
    const { lazily } = await thimbleJson<{ lazily: boolean }>(['umount', scene.mountpoint]);
    assert.equal(lazily, true);
    await scene.repository.mount(scene.mountpoint);
    assert.notEqual(scene.serverPid, first);
    process.kill(first, 'SIGKILL');
    const output = new Promise((resolve) =>
      user.stdout.once('data', (chunk: Buffer) => resolve(String(chunk))),
    );
    user.stdin.end('\n');
    assert.equal(await output, contentOf(3));
    await scene.repository.unmount(scene.mountpoint);
    await until(() => !existsSync(`${scene.stateFolder}.${pid}`));
  });

  test('SIGTERM to the supervisor unmounts', async (t) => {
    const scene = await SupervisedMount.create(t, 10);
    const { pid } = await scene.repository.mount(scene.mountpoint);
    process.kill(pid, 'SIGTERM');
    await until(() => !isAlive(pid));
    assert.ok(isFree(scene.mountpoint));
    assert.equal(existsSync(scene.stateFolder), false);
  });

  test('in the foreground it is one process and its server, and SIGINT ends both', async (t) => {
    const scene = await SupervisedMount.create(t, 10);
    const { storage, key, cache } = scene.repository;
    const args = [
      'mount',
      storage,
      scene.mountpoint,
      '--key',
      key,
      '--cache',
      cache,
      '--foreground',
      '--root-storage',
    ];
    const child = startThimble(args);
    t.after(() => child.kill('SIGKILL'));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await until(() => scene.serverPid !== 0);
    assert.match(readFileSync(`/proc/${child.pid}/cmdline`, 'latin1'), /^@thimble\0/);
    assert.match(readFileSync(`/proc/${scene.serverPid}/cmdline`, 'latin1'), /^@thimble/);
    child.kill('SIGINT');
    assert.equal(await ended, 0);
    assert.ok(isFree(scene.mountpoint));
  });

  test('what cannot be mounted is told at once, and leaves nothing', async (t) => {
    const scene = await SupervisedMount.create(t, 10);
    const { cache } = scene.repository;
    const { status, stderr } = await thimble([
      'mount',
      join(scene.scratch, 'none.example.org'),
      scene.mountpoint,
      '--cache',
      cache,
    ]);
    assert.notEqual(status, 0);
    assert.match(stderr, /^error: /);
    await until(() => !existsSync(scene.stateFolder));
  });

  test('what a dead supervisor left is no obstacle', async (t) => {
    const scene = await SupervisedMount.create(t, 10);
    const { pid } = await scene.repository.mount(scene.mountpoint);
    const { serverPid } = scene;
    for (const one of [pid, serverPid]) process.kill(one, 'SIGKILL');
    await until(() => !isAlive(pid) && !isAlive(serverPid));
    assert.ok(existsSync(join(scene.stateFolder, STATE_FILES.journal)));
    await scene.repository.mount(scene.mountpoint);
    assert.equal(readFileSync(join(scene.mountpoint, pathOf(1)), 'latin1'), contentOf(1));
  });

  test('a server that only fails is given up: the file system is unmounted, and nobody hangs', async (t) => {
    const scene = await SupervisedMount.create(t, 10);
    const { pid } = await scene.repository.mount(scene.mountpoint);
    writeServerCommand(scene.stateFolder, { folder: '/', program: ['false'], args: [] });
    process.kill(scene.serverPid, 'SIGKILL');
    await assert.rejects(readFile(join(scene.mountpoint, pathOf(2))));
    await until(() => !isAlive(pid));
    assert.ok(isFree(scene.mountpoint));
    assert.equal(existsSync(scene.stateFolder), false);
    assert.match(scene.log, /error .*failed 6 times without serving, giving up/);
  });
});

describe('thimble reload', needs('fuse'), () => {
  async function mounted(t: Parameters<typeof SupervisedMount.create>[0]): Promise<SupervisedMount> {
    const scene = await SupervisedMount.create(t, 400);
    await scene.repository.mount(scene.mountpoint);
    return scene;
  }

  test('another installation takes over while files are read', async (t) => {
    const scene = await mounted(t);
    const installation = join(scene.scratch, 'newer');
    const mark = join(scene.scratch, 'was-used');
    mkdirSync(installation);
    writeFileSync(
      join(installation, 'thimble'),
      `#!/bin/sh\n: >'${mark}'\nexec '${process.execPath}' '${MAIN}' "$@"\n`,
    );
    chmodSync(join(installation, 'thimble'), 0o755);
    const { result } = scene.startReader(0, 400, 8);
    const before = scene.serverPid;
    const { serverPid } = await thimbleJson<{ serverPid: number }>([
      'reload',
      scene.mountpoint,
      '--to',
      installation,
    ]);
    assert.notEqual(serverPid, before);
    assert.deepEqual(await result, { read: 400, wrong: 0, errors: [] });
    assert.ok(existsSync(mark));
    assert.equal(existsSync(join(scene.stateFolder, STATE_FILES.previousCommand)), false);
  });

  test('an installation that does not work is left again', async (t) => {
    const scene = await mounted(t);
    const installation = join(scene.scratch, 'broken');
    mkdirSync(installation);
    writeFileSync(join(installation, 'thimble'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const { status, stderr } = await thimble(['reload', scene.mountpoint, '--to', installation]);
    assert.equal(status, 9);
    assert.match(stderr, /the new server does not serve/);
    assert.equal(await readFile(join(scene.mountpoint, pathOf(7)), 'latin1'), contentOf(7));
  });

  test('it refuses what it cannot do, and says why', async (t) => {
    const scene = await SupervisedMount.create(t, 10);
    const missing = await thimble(['reload', scene.mountpoint]);
    assert.match(missing.stderr, /no process of Thimble serves it/);
    await scene.repository.mount(scene.mountpoint, ['--no-supervisor']);
    const lonely = await thimble(['reload', scene.mountpoint]);
    assert.equal(lonely.status, 10);
    const nothing = await thimble(['reload', scene.mountpoint, '--to', scene.scratch]);
    assert.match(nothing.stderr, /has no program thimble/);
  });
});
