/** Mounts that are watched and steered, and mounts that hang or are dead: how they show. */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { MountReport } from '../../src/mount/status-mounts.ts';
import { CliRepository } from '../support/cli-repository.ts';
import { SLACK_MS } from '../support/fault-client.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch, scratchFolder } from '../support/scratch.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, makeTree, symlink } from '../support/trees.ts';

interface Scene {
  readonly repository: CliRepository;
  readonly mountpoint: string;
  readonly source: string;
  readonly server: { readonly url: string; stop(signal?: NodeJS.Signals): Promise<void> };
  readonly report: () => Promise<MountReport>;
}

const CONTENT = dir({
  bin: dir({ tool: file('#!/bin/sh\n'), other: file('x'.repeat(50_000)) }),
  link: symlink('bin/$(ARCH)'),
});

/** A repository on a server, mounted from there. */
async function scene(t: TestContext, options: readonly string[] = []): Promise<Scene> {
  // Of which nothing is taken: the doctor is to find that there is room.
  const scratch = memoryScratch(t, '64g');
  const [source, mountpoint] = [join(scratch, 'source'), join(scratch, 'mount')];
  mkdirSync(mountpoint);
  makeTree(source, CONTENT);
  const repository = await CliRepository.create(scratch);
  await repository.publish(source);
  const server = await repository.serve();
  t.after(() => server.stop());
  await repository.mount(mountpoint, options, server.url);
  const report = () => thimbleJson<MountReport>(['status', mountpoint]);
  const { pid } = (await report()).status!.process;
  // A server that was stopped has to go on, or its mount could not be removed.
  t.after(() => void signal(pid, 'SIGCONT'));
  return { repository, mountpoint, source, server, report };
}

function stateOf(mountpoint: string): string {
  const name = mountpoint
    .slice(1)
    .replace(/[^A-Za-z0-9._/]/g, (char) => `%${Buffer.from(char).toString('hex')}`);
  return join(process.env['THIMBLE_STATE'] ?? '/run/thimble', name.replaceAll('/', '-'));
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}

const xattr = (path: string, name: string) =>
  execFileSync('getfattr', ['-h', '--only-values', '-n', name, path], { encoding: 'utf8', stdio: 'pipe' });

describe('watching a mount', needs('fuse'), () => {
  test('status tells revision, server, cache and process, for people and as JSON', async (t) => {
    const { mountpoint, server, report } = await scene(t);
    readFileSync(join(mountpoint, 'bin/tool'));
    const { state, status } = await report();
    assert.equal(state, 'alive');
    assert.equal(status?.snapshot.revision, 1);
    assert.equal(status.network.server, server.url);
    assert.ok(status.network.counters.bytes > 0);
    assert.ok(status.kernel.waits > 0);
    assert.ok(status.whitelistExpiresSeconds! > Date.now() / 1000);
    assert.ok(status.snapshot.publishedSeconds! > Date.now() / 1000 - 3600);
    const { stdout } = await thimble(['status', join(mountpoint, 'bin')]);
    assert.match(stdout, new RegExp(`^${mountpoint}  test\\.example\\.org  ok\\n`));
    assert.match(stdout, /\n {2}revision {4}1, published \d+ \w+ ago\n/);
    assert.match(stdout, new RegExp(`\n {2}server {6}${server.url}\n`));
    assert.match(stdout, /\n {2}process {5}pid \d+, up \d+ s, \d+ MB memory/);
  });

  test('figures come as Prometheus text, also by curl on the socket', async (t) => {
    const { mountpoint } = await scene(t);
    const { stdout } = await thimble(['status', mountpoint, '--metrics']);
    assert.match(stdout, /^# TYPE thimble_mount_fetched_bytes_total counter$/m);
    assert.match(
      stdout,
      new RegExp(`^thimble_mount_revision\\{fqrn="test.example.org",mountpoint="${mountpoint}"\\} 1$`, 'm'),
    );
    const socket = join(stateOf(mountpoint), 'control.sock');
    const curl = spawnSync('curl', ['-s', '--unix-socket', socket, 'http://mount/metrics'], {
      encoding: 'utf8',
    });
    if (curl.error === undefined) assert.match(curl.stdout, /^thimble_mount_catalogs/m);
  });

  test('catalogs and the log can be seen, and the level changed', async (t) => {
    const { mountpoint } = await scene(t);
    const { catalogs } = await thimbleJson<{ catalogs: { path: string; entries: number }[] }>([
      'status',
      mountpoint,
      '--catalogs',
    ]);
    assert.deepEqual(
      catalogs.map(({ path, entries }) => ({ path, entries })),
      [{ path: '/', entries: 5 }],
    );
    assert.match((await thimble(['status', mountpoint, '--log'])).stdout, / info mounted mountpoint=/);
    assert.deepEqual(await thimbleJson(['log-level', mountpoint, 'error']), { level: 'error' });
    const { status, stderr } = await thimble(['log-level', mountpoint, 'loud']);
    assert.equal(status, 2);
    assert.match(stderr, /Cannot use "loud" as a log level\nhint: levels are: debug, info, warn, error/);
  });

  test('magic attributes tell of the mount and of each file', async (t) => {
    const { mountpoint, server } = await scene(t, ['-o', 'mount.magicXattrs=rootonly']);
    const hash = /^[0-9a-f]{40}-shake128$/;
    assert.equal(xattr(mountpoint, 'user.fqrn'), 'test.example.org');
    assert.equal(xattr(mountpoint, 'user.revision'), '1');
    assert.match(xattr(mountpoint, 'user.root_hash'), hash);
    assert.equal(xattr(mountpoint, 'user.host'), server.url);
    assert.match(xattr(join(mountpoint, 'bin/tool'), 'user.hash'), hash);
    assert.equal(xattr(join(mountpoint, 'bin/tool'), 'user.chunks'), '1');
    assert.equal(xattr(join(mountpoint, 'link'), 'xfsroot.rawlink'), 'bin/$(ARCH)');
    assert.equal(xattr(join(mountpoint, 'bin/other'), 'user.lhash'), 'Not in cache');
    readFileSync(join(mountpoint, 'bin/other'));
    const other = join(mountpoint, 'bin/other');
    assert.equal(xattr(other, 'user.lhash'), xattr(other, 'user.hash'));
    assert.equal(xattr(mountpoint, 'user.timeout'), '5');
    assert.equal(xattr(mountpoint, 'user.timeout_direct'), '10');
    assert.equal(xattr(mountpoint, 'user.ncleanup24'), '0');
    assert.match(xattr(mountpoint, 'user.repo_metainfo'), /^\{\n {2}"administrator": ""/);
    assert.throws(() => xattr(mountpoint, 'user.authz'), /No such attribute/);
    const list = (path: string) => spawnSync('getfattr', ['-d', path], { encoding: 'utf8' }).stdout;
    assert.match(list(mountpoint), /user\.pubkeys/);
    assert.equal(list(join(mountpoint, 'bin')), '');
  });

  test('a mount without a state folder is found, and shown as one that cannot be asked', async (t) => {
    const { mountpoint } = await scene(t);
    const elsewhere = { THIMBLE_STATE: scratchFolder(t) };
    const { stdout } = await thimble(['status', mountpoint], { env: elsewhere });
    assert.match(stdout, /CLOSED\n {2}it has no control socket here\n {2}hint: /);
  });

  test('nothing mounted is an error that says what is', async (t) => {
    const { mountpoint } = await scene(t);
    const { status, stderr } = await thimble(['status', '/nowhere']);
    assert.equal(status, 3);
    assert.match(stderr, /Cannot find a mount at \/nowhere/);
    assert.ok(stderr.includes(mountpoint));
  });
});

describe('mounts in trouble', needs('fuse'), () => {
  test('a mount that hangs is shown as such within 2 s, and the doctor says what to do', async (t) => {
    const { mountpoint, report } = await scene(t);
    const pid = (await report()).status!.process.pid;
    process.kill(pid, 'SIGSTOP');
    const startedMs = performance.now();
    const hung = await report();
    // The command itself takes a while to start on a busy machine.
    assert.ok(performance.now() - startedMs < 2_000 + SLACK_MS, 'it must not wait for the mount');
    assert.equal(hung.state, 'hung');
    assert.equal(hung.processState, 'T');
    assert.equal(hung.problem, `its process ${pid} is stopped`);
    assert.match((await thimble(['status'])).stdout, new RegExp(`^${mountpoint} .*HUNG`, 'm'));
    const doctor = await thimble(['doctor', mountpoint]);
    assert.equal(doctor.status, 12);
    assert.match(doctor.stdout, new RegExp(`✗ ${mountpoint} is hung: its process ${pid} is stopped`));
    assert.match(doctor.stdout, new RegExp(`hint: let it go on with: kill -CONT ${pid}`));
    process.kill(pid, 'SIGCONT');
    assert.equal((await report()).state, 'alive');
  });

  test('a dead mount is shown as such', async (t) => {
    const { report } = await scene(t, ['--no-supervisor']);
    const pid = (await report()).status!.process.pid;
    process.kill(pid, 'SIGKILL');
    const dead = await until(report, ({ state }) => state === 'dead');
    assert.match(dead.problem!, /has ended/);
  });

  test('a server that is gone is what the doctor finds', async (t) => {
    const { mountpoint, server } = await scene(t);
    const healthy = await thimble(['doctor', mountpoint]);
    assert.equal(healthy.status, 0, healthy.stdout);
    assert.match(healthy.stdout, /checks, nothing wrong/);
    await server.stop();
    const doctor = await thimble(['doctor', mountpoint]);
    assert.equal(doctor.status, 12);
    assert.match(doctor.stdout, /✗ Cannot reach http:.*: nothing listens there\n {4}hint: start the server/);
  });

  test('the doctor looks at a repository that fails to mount', async () => {
    const address = 'http://127.0.0.1:1/cvmfs/os.example.org';
    const { examinations } = JSON.parse(
      (await thimble(['doctor', address, '--cvmfs-config', 'none', '--json'])).stdout,
    ) as {
      examinations: { results: { name: string; findings: { severity: string; message: string }[] }[] }[];
    };
    const found = (name: string) => examinations[0]!.results.find((result) => result.name === name)!.findings;
    assert.match(found('servers')[0]!.message, /nothing listens there/);
    assert.match(found('keys')[0]!.message, /no public key/);
  });
});

describe('steering a mount', needs('fuse'), () => {
  test('files are pinned, dropped, and read again', async (t) => {
    const { mountpoint } = await scene(t);
    const change = (name: string, path: string) =>
      thimbleJson<{ files: number; objects: number; bytes: number }>(['cache', name, join(mountpoint, path)]);
    assert.deepEqual(await change('pin', 'bin/other'), { files: 1, objects: 1, bytes: 50_000 });
    assert.equal((await change('evict', '')).objects, 0);
    await change('unpin', 'bin');
    assert.equal((await change('evict', '')).objects, 1);
    assert.equal(readFileSync(join(mountpoint, 'bin/other')).length, 50_000);
    const { status, stderr } = await thimble(['cache', 'pin', join(mountpoint, 'none')]);
    assert.equal(status, 3);
    assert.match(stderr, /Cannot find .*none in /);
  });

  test('a mount that is told to ask no servers shows what is cached, and nothing else', async (t) => {
    const { mountpoint, report } = await scene(t);
    readFileSync(join(mountpoint, 'bin/tool'));
    await thimble(['network', 'offline', mountpoint]);
    assert.equal((await report()).status!.isOffline, true);
    assert.equal(readFileSync(join(mountpoint, 'bin/tool'), 'utf8'), '#!/bin/sh\n');
    assert.throws(() => readFileSync(join(mountpoint, 'bin/other')), { code: 'ENETUNREACH' });
    assert.match((await thimble(['doctor', mountpoint])).stdout, /! .* was told to ask no servers/);
    await thimble(['network', 'online', mountpoint]);
    assert.equal(readFileSync(join(mountpoint, 'bin/other')).length, 50_000);
  });

  test('servers can be shown, set and switched', async (t) => {
    const { mountpoint, server, repository, report } = await scene(t);
    const shown = await thimble(['network', 'show', mountpoint]);
    assert.match(shown.stdout, new RegExp(`^\\* server {2}${server.url} +\\d+ requests`));
    await thimbleJson([
      'network',
      'set-servers',
      mountpoint,
      'http://127.0.0.1:1/cvmfs/test.example.org',
      repository.storage,
    ]);
    await thimbleJson(['network', 'switch-server', mountpoint]);
    assert.equal((await report()).status!.network.server, repository.storage);
    const { status, stderr } = await thimble(['network', 'switch-server', mountpoint, 'http://other']);
    assert.equal(status, 2);
    assert.match(stderr, /Cannot switch to http:\/\/other: it is not one of the servers/);
    await thimbleJson(['network', 'set-proxies', mountpoint, 'http://127.0.0.1:2;DIRECT']);
    const { network } = (await report()).status!;
    assert.deepEqual(
      network.proxies.map(({ name }) => name),
      ['http://127.0.0.1:2', 'DIRECT'],
    );
  });

  test('a pinned mount cannot be brought to another revision, one that follows can', async (t) => {
    const { repository, source, mountpoint } = await scene(t);
    writeFileSync(join(source, 'new'), 'new');
    await repository.publish(source);
    const result = await thimbleJson<{ before: number; revision: number }>(['remount', mountpoint]);
    assert.equal(result.revision, 2);
    assert.equal(readFileSync(join(mountpoint, 'new'), 'utf8'), 'new');
    await repository.unmount(mountpoint);
    await repository.mount(mountpoint, ['--root-hash', (await repository.publish(source)).rootCatalog]);
    const { status, stderr } = await thimble(['remount', mountpoint]);
    assert.equal(status, 10);
    assert.match(stderr, /it is pinned to [0-9a-f]{40}-shake128\nhint: mount it without/);
  });
});

/** Asks until it is so; the runner's time limit ends it. */
async function until<T>(ask: () => Promise<T>, isSo: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (isSo(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
