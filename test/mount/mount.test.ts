import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { CliRepository } from '../support/cli-repository.ts';
import { SLACK_MS } from '../support/fault-client.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch } from '../support/scratch.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, hardlink, type Literal, makeTree } from '../support/trees.ts';

interface Scene {
  readonly scratch: string;
  readonly source: string;
  readonly mountpoint: string;
  readonly repository: CliRepository;
}

async function scene(t: TestContext, tree: Literal, options: readonly string[] = []): Promise<Scene> {
  const scratch = memoryScratch(t);
  const source = join(scratch, 'source');
  const mountpoint = join(scratch, 'mount');
  mkdirSync(mountpoint);
  makeTree(source, tree);
  const repository = await CliRepository.create(scratch, options);
  return { scratch, source, mountpoint, repository };
}

const errorCode = (work: () => unknown): string | undefined => {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
};

/** Waits for something that another process does; the runner's time limit ends it. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe('what a mount can do', needs('fuse'), () => {
  test('programs run from it, and nothing can be written', async (t) => {
    const { source, mountpoint, repository } = await scene(t, dir({ data: file('x') }));
    copyFileSync('/bin/cat', join(source, 'cat'));
    await repository.publish(source);
    await repository.mount(mountpoint);
    const echoed = execFileSync(join(mountpoint, 'cat'), { input: 'from the mount' });
    assert.equal(echoed.toString(), 'from the mount');
    assert.equal(
      errorCode(() => writeFileSync(join(mountpoint, 'new'), '')),
      'EROFS',
    );
    assert.equal(
      errorCode(() => readFileSync(join(mountpoint, 'none'))),
      'ENOENT',
    );
    assert.equal(
      errorCode(() => readdirSync(join(mountpoint, 'data'))),
      'ENOTDIR',
    );
  });

  test('devices and set-user-id bits count only when asked for', async (t) => {
    const { source, mountpoint, repository } = await scene(t, dir({ data: file('x') }));
    await repository.publish(source);
    const flags = () =>
      readFileSync('/proc/mounts', 'utf8')
        .split('\n')
        .find((line) => line.split(' ')[1] === mountpoint)!
        .split(' ')[3]!
        .split(',');
    await repository.mount(mountpoint);
    assert.deepEqual(
      ['ro', 'nosuid', 'nodev'].filter((flag) => !flags().includes(flag)),
      [],
    );
    await repository.unmount(mountpoint);
    await repository.mount(mountpoint, ['--suid', '--dev']);
    assert.deepEqual(
      ['nosuid', 'nodev'].filter((flag) => flags().includes(flag)),
      [],
    );
  });

  test('hard links are one inode, and the numbers stay over mounts', async (t) => {
    const tree = dir({ d: dir({ a: file('content'), b: hardlink('d/a'), c: file('content') }) });
    const { source, mountpoint, repository } = await scene(t, tree);
    await repository.publish(source);
    const inodes = () => ['a', 'b', 'c'].map((name) => statSync(join(mountpoint, 'd', name)).ino);
    await repository.mount(mountpoint);
    const [a, b, c] = inodes();
    assert.equal(a, b);
    assert.notEqual(a, c);
    assert.equal(statSync(join(mountpoint, 'd/a')).nlink, 2);
    await repository.unmount(mountpoint);
    await repository.mount(mountpoint);
    assert.deepEqual(inodes(), [a, b, c]);
  });

  test('a folder of 100,000 entries is listed once and whole', async (t) => {
    const { source, mountpoint, repository } = await scene(t, dir({ many: dir({}) }));
    const names = Array.from({ length: 100_000 }, (_, i) => `entry-${i}`);
    for (const name of names) writeFileSync(join(source, 'many', name), '');
    await repository.publish(source);
    await repository.mount(mountpoint);
    // It has become a catalog of its own, which the publisher marks as the reference does.
    const markers = ['.cvmfsautocatalog', '.cvmfscatalog'];
    assert.deepEqual(readdirSync(join(mountpoint, 'many')).sort(), [...markers, ...names].sort());
    assert.equal(statfsSync(mountpoint).files, names.length + markers.length + 2);
  });

  test('files beyond 4 GiB are read at any offset', async (t) => {
    // The fastest of the hashes: there is much to publish.
    const options = ['--compression', 'none', '--hash', 'sha1'];
    const { source, mountpoint, repository } = await scene(t, dir({}), options);
    const sizeBytes = 4 * 1024 ** 3 + 12_345;
    const fd = openSync(join(source, 'large'), 'w');
    ftruncateSync(fd, sizeBytes);
    for (const offset of [0, 2 ** 31 - 3, 2 ** 32 - 3, sizeBytes - 6]) writeSync(fd, 'marker', offset);
    closeSync(fd);
    await repository.publish(source);
    await repository.mount(mountpoint);
    const large = openSync(join(mountpoint, 'large'), 'r');
    t.after(() => closeSync(large));
    assert.equal(statSync(join(mountpoint, 'large')).size, sizeBytes);
    const bytes = Buffer.alloc(8);
    for (const offset of [2 ** 31 - 3, 2 ** 32 - 3]) {
      assert.equal(readSync(large, bytes, 0, 8, offset - 1), 8);
      assert.equal(bytes.toString('latin1'), '\0marker\0', `at ${offset}`);
    }
    assert.equal(readSync(large, bytes, 0, 8, sizeBytes - 6), 6);
    assert.equal(bytes.toString('latin1', 0, 6), 'marker');
  });

  test('any snapshot can be mounted, and a mounted one never moves', async (t) => {
    const { scratch, source, mountpoint, repository } = await scene(t, dir({ version: file('one') }));
    const first = await repository.publish(source, ['--tag', 'v1']);
    await repository.mount(mountpoint);
    writeFileSync(join(source, 'version'), 'two');
    await repository.publish(source, ['--tag', 'v2']);
    assert.equal(readFileSync(join(mountpoint, 'version'), 'utf8'), 'one');
    const other = join(scratch, 'other');
    mkdirSync(other);
    const cases = [
      { args: [], content: 'two' },
      { args: ['--tag', 'v1'], content: 'one' },
      { args: ['--date', '2100-01-01'], content: 'two' },
      { args: ['--root-hash', first.rootCatalog], content: 'one' },
    ];
    for (const { args, content } of cases) {
      await repository.mount(other, args);
      assert.equal(readFileSync(join(other, 'version'), 'utf8'), content, args.join(' '));
      await repository.unmount(other);
    }
    const missing = await thimble([
      'mount',
      repository.storage,
      other,
      '--key',
      repository.key,
      '--tag',
      'v3',
    ]);
    assert.equal(missing.status, 3);
    assert.match(missing.stderr, /v3/);
  });

  test('overlayfs writes over it', async (t) => {
    const { scratch, source, mountpoint, repository } = await scene(t, dir({ d: dir({ a: file('lower') }) }));
    await repository.publish(source);
    await repository.mount(mountpoint);
    const [upper, work, merged] = ['upper', 'work', 'merged'].map((name) => join(scratch, name)) as [
      string,
      string,
      string,
    ];
    for (const folder of [upper, work, merged]) mkdirSync(folder);
    // The scratch folder itself may lie on an overlay, which cannot be an upper layer.
    execFileSync('mount', ['-t', 'tmpfs', 'thimble-test', upper]);
    for (const name of ['u', 'w']) mkdirSync(join(upper, name));
    const options = `lowerdir=${mountpoint},upperdir=${upper}/u,workdir=${upper}/w`;
    execFileSync('mount', ['-t', 'overlay', '-o', options, 'thimble-test', merged]);
    t.after(() => spawnSync('umount', [merged]));
    writeFileSync(join(merged, 'd/a'), 'changed');
    writeFileSync(join(merged, 'd/b'), 'new');
    assert.equal(readFileSync(join(merged, 'd/a'), 'utf8'), 'changed');
    assert.equal(readFileSync(join(mountpoint, 'd/a'), 'utf8'), 'lower');
    assert.deepEqual(readdirSync(join(merged, 'd')), ['a', 'b']);
    spawnSync('umount', [merged]);
  });
});

describe('what a mount survives', needs('fuse'), () => {
  const DEADLINE_SECONDS = 2;
  /** Beyond the deadline, for a busy machine. */
  const SLACK_SECONDS = SLACK_MS / 1000;

  async function served(
    t: TestContext,
  ): Promise<Scene & { server: Awaited<ReturnType<CliRepository['serve']>> }> {
    const tree = dir({ seen: file('seen'), unseen: file('unseen'), other: file('other') });
    const stage = await scene(t, tree);
    await stage.repository.publish(stage.source);
    const server = await stage.repository.serve();
    t.after(() => server.stop());
    await stage.repository.mount(stage.mountpoint, ['--deadline', String(DEADLINE_SECONDS)], server.url);
    assert.equal(readFileSync(join(stage.mountpoint, 'seen'), 'utf8'), 'seen');
    return { ...stage, server };
  }

  test('a dead server: what was read stays, the rest is ENETUNREACH within the deadline', async (t) => {
    const { mountpoint, server } = await served(t);
    await server.stop('SIGKILL');
    const startedMs = performance.now();
    assert.equal(
      errorCode(() => readFileSync(join(mountpoint, 'unseen'))),
      'ENETUNREACH',
    );
    const seconds = (performance.now() - startedMs) / 1000;
    assert.ok(seconds < DEADLINE_SECONDS + SLACK_SECONDS, `failed after ${seconds} s`);
    assert.equal(readFileSync(join(mountpoint, 'seen'), 'utf8'), 'seen');
  });

  test('a reader that waits for a dead server can be killed', async (t) => {
    const { scratch, source, mountpoint, repository } = await scene(t, dir({ unseen: file('unseen') }));
    await repository.publish(source);
    const server = await repository.serve();
    t.after(() => server.stop());
    const patient = ['--deadline', '600', '--cache', join(scratch, 'own-cache')];
    await repository.mount(mountpoint, patient, server.url);
    await server.stop('SIGKILL');
    const reader = spawn('cat', [join(mountpoint, 'unseen')], { stdio: 'ignore' });
    const ended = new Promise((resolve) => reader.once('exit', (_, signal) => resolve(signal)));
    await until(() => /\(cat\) [SD] /.test(readFileSync(`/proc/${reader.pid}/stat`, 'utf8')));
    reader.kill('SIGKILL');
    assert.equal(await ended, 'SIGKILL');
  });

  test('a changed byte of an object: EIO for that file, named in the log, and the others are fine', async (t) => {
    const { scratch, mountpoint, repository } = await served(t);
    const { entries } = await thimbleJson<{ entries: { path: string; hash?: string }[] }>([
      'dump',
      repository.storage,
      '--key',
      repository.key,
    ]);
    const hash = entries.find(({ path }) => path === '/unseen')!.hash!;
    const object = join(repository.storage, 'data', hash.slice(0, 2), hash.slice(2));
    const bytes = readFileSync(object);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(object, bytes);
    assert.equal(
      errorCode(() => readFileSync(join(mountpoint, 'unseen'))),
      'EIO',
    );
    assert.equal(readFileSync(join(mountpoint, 'other'), 'utf8'), 'other');
    const log = readFileSync(join(scratch, 'cache', 'thimble.log'), 'utf8');
    assert.match(log, new RegExp(hash));
  });

  test('its process killed: the next mount takes the place of the dead one', async (t) => {
    const { source, mountpoint, repository } = await scene(t, dir({ a: file('content') }));
    await repository.publish(source);
    const { pid } = await repository.mount(mountpoint, ['--no-supervisor']);
    process.kill(pid, 'SIGKILL');
    await until(() => errorCode(() => statSync(mountpoint)) === 'ENOTCONN');
    await repository.mount(mountpoint);
    assert.equal(readFileSync(join(mountpoint, 'a'), 'utf8'), 'content');
  });
});
