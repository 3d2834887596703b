import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CliRepository } from '../support/cli-repository.ts';
import { needs } from '../support/needs.ts';
import { startThimble } from '../support/thimble.ts';
import { type TransactionScene, transactionScene } from '../support/transaction-scene.ts';
import { dir, file, hardlink } from '../support/trees.ts';

const { FQRN } = CliRepository;

/** Two nested catalogs, each with a hard-linked file. */
const TREE = dir({
  first: dir({ '.cvmfscatalog': file(''), a: file('first'), b: hardlink('first/a') }),
  second: dir({
    '.cvmfscatalog': file(''),
    a: file('second'),
    b: hardlink('second/a'),
    c: hardlink('second/a'),
  }),
  plain: file('plain'),
});

const content = ({ folder }: TransactionScene, path: string) => readFileSync(join(folder, path), 'utf8');

async function published(scene: TransactionScene): Promise<string[]> {
  const { stdout } = await scene.run('dump', scene.repository.storage);
  return stdout.trim().split('\n');
}

interface Status {
  readonly open: boolean;
  readonly mounted: boolean;
  readonly revision: number;
}

describe('thimble transaction', needs('fuse'), () => {
  test('opens, tells, lists, and refuses a second one', async (t) => {
    const scene = await transactionScene(t, TREE);
    const { repository, folder, run } = scene;
    assert.deepEqual(await repository.json(['transaction', FQRN, '--status']), { fqrn: FQRN, open: false });
    await scene.begin();
    const status = await repository.json<Status>(['transaction', FQRN, '--status']);
    assert.deepEqual([status.open, status.mounted, status.revision], [true, true, 1]);
    const second = await run('transaction', FQRN, '--at', join(scene.scratch, 'second'));
    assert.equal(second.status, 9);
    assert.match(second.stderr, /has one open since .*\n.*hint: .*thimble abort/);
    assert.equal((await run('transaction', FQRN, '--status', '--changes')).status, 2);
    assert.equal((await run('publish', FQRN, '--into', '/first')).status, 2);
    const unlogged = await run('transaction', FQRN, '--resume', '--log', '/dev/null/log');
    assert.equal(unlogged.status, 0, 'nothing had to be started');

    appendFileSync(join(folder, 'first/a'), '!');
    writeFileSync(join(folder, 'new'), '');
    spawnSync('rm', ['-r', join(folder, 'second'), join(folder, 'plain')]);
    spawnSync('mkdir', [join(folder, 'second')]);
    const { stdout } = await run('transaction', FQRN, '--changes');
    const lines = ['M mtime /', 'M size,mtime /first/a', 'M mtime /first/b', '+ /new', '- /plain'];
    assert.deepEqual(stdout.trim().split('\n').sort(), [...lines, 'M mtime /second', '- /second/*'].sort());
    const listed = await repository.json<{ path: string; change: string }[]>([
      'transaction',
      FQRN,
      '--changes',
    ]);
    assert.deepEqual(
      listed.find(({ path }) => path === '/new'),
      { path: '/new', change: 'added' },
    );

    assert.equal((await run('abort', FQRN)).status, 0);
    assert.equal(existsSync(folder), false);
    assert.equal((await run('abort', FQRN)).status, 3);
    const nothing = await run('publish', FQRN);
    assert.equal(nothing.status, 3);
    assert.match(nothing.stderr, /no source, and no transaction is open\nhint: name a folder/);
    assert.equal((await published(scene)).length, 11);
  });

  test('its process killed: nothing is lost, and hard links still are', async (t) => {
    const scene = await transactionScene(t, TREE);
    await scene.begin();
    const { folder, scratch } = scene;
    // The order in which catalogs are attached is part of what the overlay remembers.
    appendFileSync(join(folder, 'second/a'), '!');
    appendFileSync(join(folder, 'first/b'), '!');
    // What was written to now shows under names alone that nobody touched.
    unlinkSync(join(folder, 'second/a'));
    const state = join(scratch, 'config/repositories', FQRN, 'transaction.json');
    const { server } = JSON.parse(readFileSync(state, 'utf8')) as { server: { pid: number } };
    process.kill(server.pid, 'SIGKILL');
    while (existsSync(`/proc/${server.pid}/fd/0`)) await new Promise((resolve) => setTimeout(resolve, 20));
    await scene.begin(['--resume']);
    assert.deepEqual(
      ['first/a', 'first/b', 'second/b', 'second/c'].map((path) => content(scene, path)),
      ['first!', 'first!', 'second!', 'second!'],
    );
    appendFileSync(join(folder, 'second/b'), '?');
    assert.equal(content(scene, 'second/c'), 'second!?');
    await scene.publish();
    const seen = await scene.readPublished();
    for (const [path, other, size] of [
      ['/first/a', '/first/b', 6],
      ['/second/b', '/second/c', 8],
    ] as const) {
      assert.equal(seen.get(path)!.size, size);
      assert.equal(seen.get(other)!.linkedTo, path);
    }
  });

  test('mounts gone, as after a reboot: publish needs none', async (t) => {
    const scene = await transactionScene(t, TREE);
    await scene.begin();
    appendFileSync(join(scene.folder, 'second/b'), '!');
    appendFileSync(join(scene.folder, 'first/b'), '!');
    const layers = join(scene.scratch, 'config/repositories', FQRN, 'transaction');
    for (const mount of [scene.folder, join(layers, 'lower')]) spawnSync('umount', [mount]);
    assert.deepEqual(readdirSync(scene.folder), []);
    await scene.publish();
    const seen = await scene.readPublished();
    assert.deepEqual(
      ['first', 'second'].map((name) => seen.get(`/${name}/a`)!.size),
      [6, 7],
    );
  });

  test('publish killed in the middle: nothing is published, and again it is', async (t) => {
    const scene = await transactionScene(t, TREE);
    await scene.begin();
    for (let i = 0; i < 20; i++) writeFileSync(join(scene.folder, `new-${i}`), `content ${i}`);
    const crashPoint = fileURLToPath(new URL('../support/publish-crash-point.ts', import.meta.url));
    const child = startThimble(['--config', join(scene.scratch, 'config'), 'publish', FQRN], {
      env: { NODE_OPTIONS: `--import=${crashPoint}`, CRASH_AT: '60' },
    });
    const signal = await new Promise((resolve) => child.once('exit', (_, name) => resolve(name)));
    assert.equal(signal, 'SIGKILL');
    assert.equal((await published(scene)).length, 11);
    assert.equal((await scene.publish()).revision, 2);
    assert.equal((await published(scene)).length, 31);
  });

  test('somebody else publishes meanwhile: CONFLICT, and the transaction stays open', async (t) => {
    const scene = await transactionScene(t, TREE);
    await scene.begin();
    writeFileSync(join(scene.folder, 'mine'), '');
    writeFileSync(join(scene.source, 'theirs'), '');
    await scene.repository.publish(scene.source);
    const outcome = await scene.run('publish', FQRN);
    assert.equal(outcome.status, 9, outcome.stderr);
    writeFileSync(join(scene.folder, 'more'), '');
    assert.equal((await scene.repository.json<Status>(['transaction', FQRN, '--status'])).mounted, true);
  });

  test('published with --keep-open, it goes on from the new revision', async (t) => {
    const scene = await transactionScene(t, TREE);
    await scene.begin();
    writeFileSync(join(scene.folder, 'one'), '1');
    await scene.publish(['--keep-open', '--tag', 'one', '--message', 'first']);
    assert.equal(content(scene, 'one'), '1');
    writeFileSync(join(scene.folder, 'two'), '2');
    assert.equal((await scene.publish()).revision, 3);
    const seen = await scene.readPublished();
    assert.ok(seen.has('/one') && seen.has('/two'));
    const misplaced = await scene.run('publish', FQRN, scene.source, '--keep-open');
    assert.equal(misplaced.status, 2);
  });

  test('from a server, with changes kept elsewhere', async (t) => {
    const scene = await transactionScene(t, TREE);
    const server = await scene.repository.serve();
    t.after(() => server.stop());
    const elsewhere = join(scene.scratch, 'elsewhere');
    await scene.begin(['--server', server.url, '--scratch', elsewhere]);
    assert.equal(content(scene, 'first/a'), 'first');
    appendFileSync(join(scene.folder, 'first/a'), '!');
    await server.stop();
    await scene.publish();
    assert.deepEqual(readdirSync(elsewhere), []);
  });
});
