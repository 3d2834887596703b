/** `thimble replicate`, as users call it. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { ReplicationReport } from '../../src/replicate/replicator.ts';
import { RepositoryServer } from '../../src/server/repository-server.ts';
import { FQRN } from '../support/publisher-repository.ts';
import { freePort } from '../support/raw-server.ts';
import { faultsOf, nestedTree, readManifestOf, replicableRepository } from '../support/replica.ts';
import { startThimble, thimble, thimbleJson } from '../support/thimble.ts';

async function setUp(t: TestContext) {
  const original = await replicableRepository(t);
  const port = await freePort();
  const start = async () => {
    const server = new RepositoryServer([{ fqrn: FQRN, folder: original.storage }], {
      host: '127.0.0.1',
      port,
    });
    await server.listen();
    t.after(() => server.close());
    return server;
  };
  const folder = join(`${original.storage}.replica`, FQRN);
  const config = `${original.storage}.config`;
  const address = `http://127.0.0.1:${port}/cvmfs/${FQRN}`;
  const args = ['--config', config, 'replicate', address, folder, '--key', original.publicKey];
  return { original, folder, args, address, config, server: await start(), start };
}

test('thimble replicate says what it has done, for people and for programs', async (t) => {
  const { original, folder, args } = await setUp(t);
  const { status, stdout, stderr } = await thimble(args);
  assert.equal(status, 0, stderr);
  const { rootCatalog } = original.manifest();
  assert.match(
    stdout,
    new RegExp(`^${FQRN} revision 1 ${rootCatalog}: \\d+ objects with 5 catalogs, \\d+ kB\\n$`),
  );
  assert.deepEqual(faultsOf(folder), []);
  const report = await thimbleJson<ReplicationReport>([...args, '--history', '--revisions', '3']);
  assert.deepEqual(
    { ...report, objects: 0, catalogs: 0, bytes: 0, snapshots: 0 },
    {
      fqrn: FQRN,
      rootCatalog,
      revision: 1,
      formerRevision: 1,
      snapshots: 0,
      skipped: [],
      objects: 0,
      catalogs: 0,
      bytes: 0,
      isPartial: false,
      ttlSeconds: 240,
    },
  );
});

test('thimble replicate --include takes a part, and says so', async (t) => {
  const { folder, args } = await setUp(t);
  const { status, stdout } = await thimble([...args, '--include', '/a', '--include', '!/a/b']);
  assert.equal(status, 0);
  assert.match(stdout, /, a part of the tree: \d+ objects with 2 catalogs/);
  assert.ok(existsSync(join(folder, '.cvmfs_partial_replication')));
});

test('thimble replicate takes a second server for what the first does not have', async (t) => {
  const { original, folder, args, address } = await setUp(t);
  const away = `http://127.0.0.1:${await freePort()}/cvmfs/${FQRN}`;
  const swapped = args.map((arg) => (arg === address ? away : arg));
  const { status, stderr } = await thimble([...swapped, '--server', original.storage]);
  assert.equal(status, 0, stderr);
  assert.deepEqual(faultsOf(folder), []);
});

test('thimble replicate refuses what cannot be meant, before it asks for anything', async (t) => {
  const { original, folder, args, config, server } = await setUp(t);
  const instead = (target: string) => args.map((arg) => (arg === folder ? target : arg));
  const cases: [readonly string[], RegExp][] = [
    [instead(join(folder, '..')), /does not end with its name\n.*hint: .*replica\/tree\.example\.org/],
    [[...args, '--interval', '5'], /Cannot use --interval without --watch/],
    [[...args, '--watch', '--interval', '0'], /an interval in seconds/],
    [[...args, '--connections', '0'], /a number of connections/],
    [[...args, '--revisions', 'x'], /a number of revisions/],
    [[...args, '--include', 'usr'], /as a path to replicate/],
    [
      ['--config', config, 'replicate', original.storage, original.storage, '--key', original.publicKey],
      /that is where it comes from/,
    ],
  ];
  for (const [line, message] of cases) {
    const { status, stderr } = await thimble(line);
    assert.deepEqual([status, message.test(stderr)], [2, true], stderr);
  }
  assert.equal(server.totals().requests, 0);
  assert.ok(!existsSync(join(folder, 'data')));
});

test('thimble replicate does not write into a repository that is published here', async (t) => {
  const { address, config, original } = await setUp(t);
  const storage = join(`${original.storage}.own`, FQRN);
  mkdirSync(storage, { recursive: true });
  const create = await thimble(['--config', config, 'repo', 'create', FQRN, '--storage', storage]);
  assert.equal(create.status, 0, create.stderr);
  const { status, stderr } = await thimble(['--config', config, 'replicate', address, storage]);
  assert.equal(status, 2);
  assert.match(stderr, /that is where it comes from/);
});

test('thimble replicate ends with a code that says what failed', async (t) => {
  const { args, server, original } = await setUp(t);
  const keyless = args.slice(0, -2);
  assert.equal((await thimble(keyless)).status, 6);
  assert.equal((await thimble([...keyless, '--key', `${original.storage}.none`])).status, 3);
  await server.close();
  const { status, stderr } = await thimble(args);
  assert.equal(status, 4);
  assert.match(stderr, /hint: check that the server runs/);
});

/** Resolves when a child has written what matches. */
async function until(stream: Readable, pattern: RegExp): Promise<void> {
  let text = '';
  for await (const part of stream.iterator({ destroyOnReturn: false })) {
    text += String(part);
    if (pattern.test(text)) return;
  }
  throw new Error(`ended without ${pattern}: ${text}`);
}

test('thimble replicate --watch follows the source, outlives its absence, and ends on SIGTERM', async (t) => {
  const { original, folder, args, server, start } = await setUp(t);
  const child = startThimble([...args, '--watch', '--interval', '1']);
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  await until(child.stdout!, /revision 1 /);
  await original.publish(nestedTree('two'));
  await until(child.stdout!, /revision 2 .*, was 1:/);
  await server.close();
  await until(child.stderr!, /next attempt in \d+ s/);
  await original.publish(nestedTree('three'));
  await start();
  await until(child.stdout!, /revision 3 .*, was 2:/);
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
  assert.equal(readManifestOf(folder).revision, 3);
  assert.deepEqual(faultsOf(folder), []);
});

test('thimble replicate --watch --json has one line for each look at the source', async (t) => {
  const { args } = await setUp(t);
  const child = startThimble([...args, '--watch', '--interval', '1', '--json']);
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  let text = '';
  for await (const part of child.stdout!) {
    text += String(part);
    if (text.split('\n').length > 2) child.kill('SIGTERM');
  }
  await ended;
  const reports = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as ReplicationReport);
  assert.deepEqual(
    reports.slice(0, 2).map(({ formerRevision }) => formerRevision),
    [null, 1],
  );
});

test('thimble serve tells of a replica, and who runs it', async (t) => {
  const { folder, args } = await setUp(t);
  await thimble(args);
  const child = startThimble(['serve', folder, '--host', '127.0.0.1', '--port', '0', '--quiet']);
  t.after(() => child.kill('SIGKILL'));
  let text = '';
  for await (const part of child.stdout!) {
    text += String(part);
    if (/Press/.test(text)) break;
  }
  const address = /http:\/\/127\.0\.0\.1:\d+/.exec(text)![0];
  const { replicas } = (await (await fetch(`${address}/cvmfs/info/v1/repositories.json`)).json()) as {
    replicas: unknown;
  };
  assert.deepEqual(replicas, [{ name: FQRN, url: `/cvmfs/${FQRN}` }]);
});

for (const [option, content, status] of [
  ['--metadata', '[]', 7],
  ['--metadata', '{', 7],
  ['--metadata', undefined, 3],
  ['--geo-database', 'no database', 7],
  ['--geo-database', undefined, 3],
] as const) {
  test(`thimble serve ${option} refuses a file with ${content ?? 'nothing'}`, async (t) => {
    const { original } = await setUp(t);
    const file = `${original.storage}.file`;
    if (content !== undefined) writeFileSync(file, content);
    const outcome = await thimble(['serve', original.storage, option, file, '--port', '0', '--quiet']);
    assert.equal(outcome.status, status, outcome.stderr);
  });
}
