/** From nothing to a served repository, as somebody does it who reads the manual. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { PublishResult } from '../../src/publish/publisher.ts';
import { memoryScratch } from '../support/scratch.ts';
import { type Outcome, startThimble, thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

const FQRN = 'os.example.org';
const HASH = /^[0-9a-f]{40}-shake128$/;

interface Place {
  readonly config: readonly string[];
  readonly storage: string;
  readonly tree: string;
  readonly publicKey: string;
  readonly ed25519PublicKey: string;
}

function place(t: TestContext): Place {
  const scratch = memoryScratch(t);
  const tree = join(scratch, 'tree');
  makeTree(tree, dir({ hello: file('hello\n') }));
  const config = join(scratch, 'config');
  return {
    config: ['--config', config],
    storage: join(scratch, 'storage', FQRN),
    tree,
    publicKey: join(config, 'repositories', FQRN, `${FQRN}.pub`),
    ed25519PublicKey: join(config, 'repositories', FQRN, `${FQRN}.ed25519pub`),
  };
}

async function created(t: TestContext): Promise<Place> {
  const here = place(t);
  await thimbleJson(['repo', 'create', FQRN, '--storage', here.storage, ...here.config]);
  return here;
}

function lines({ status, stdout, stderr }: Outcome): string[] {
  assert.equal(status, 0, stderr);
  return stdout.trimEnd().split('\n');
}

test('"repo create" makes a repository at revision 0, and says what comes next', async (t) => {
  const { config, storage, publicKey, ed25519PublicKey } = place(t);
  const printed = lines(await thimble(['repo', 'create', FQRN, '--storage', storage, ...config]));
  assert.deepEqual(printed, [
    `Created ${FQRN} in ${storage}`,
    `Key for clients: ${publicKey}`,
    `Second key for clients of Thimble: ${ed25519PublicKey}`,
    `Next: thimble publish ${FQRN} FOLDER --tag v1`,
  ]);
  for (const name of ['.cvmfspublished', '.cvmfswhitelist', '.cvmfsreflog', '.cvmfs_master_replica']) {
    assert.ok(existsSync(join(storage, name)), name);
  }
  assert.equal(readdirSync(join(storage, 'data')).length, 257);
  assert.deepEqual(readdirSync(join(storage, 'data/txn')), []);
  assert.equal(statSync(join(publicKey, '..')).mode & 0o777, 0o700);
});

test('"repo create --json" tells the same as an object', async (t) => {
  const { config, storage, publicKey, ed25519PublicKey } = place(t);
  const { rootCatalog, ...result } = await thimbleJson<Record<string, unknown>>([
    'repo',
    'create',
    FQRN,
    '--storage',
    storage,
    ...config,
  ]);
  assert.deepEqual(result, { fqrn: FQRN, storage, publicKey, ed25519PublicKey, revision: 0 });
  assert.match(String(rootCatalog), HASH);
});

test('"repo create" refuses a name, and a storage, that is taken; keys stay as they are', async (t) => {
  const { config, storage, publicKey } = await created(t);
  const key = readFileSync(publicKey);
  for (const [name, folder] of [
    [FQRN, `${storage}-2`],
    ['other.example.org', storage],
  ] as const) {
    const { status, stderr } = await thimble(['repo', 'create', name, '--storage', folder, ...config]);
    assert.equal(status, 9, stderr);
    assert.match(stderr, new RegExp(`^error: Cannot create repository ${name}`));
  }
  assert.deepEqual(readFileSync(publicKey), key);
  assert.deepEqual(await thimbleJson(['repo', 'list', ...config]), [{ fqrn: FQRN, storage }]);
});

for (const [option, value] of [
  ['--hash', 'md5'],
  ['--compression', 'zstd'],
  ['--ttl', 'soon'],
  ['--whitelist-days', '0'],
  ['--chunks', '1M,2M'],
  ['--chunks', '8M,4M,16M'],
  ['--chunks', 'large'],
  ['--catalog-entries', 'many'],
] as const) {
  test(`"repo create ${option} ${value}" is refused with 2, and nothing is made`, async (t) => {
    const { config, storage } = place(t);
    const { status, stderr } = await thimble([
      'repo',
      'create',
      FQRN,
      '--storage',
      storage,
      option,
      value,
      ...config,
    ]);
    assert.equal(status, 2, stderr);
    assert.match(stderr, /^error: Cannot (create repository|use)/);
    assert.equal(existsSync(storage), false);
    assert.equal(existsSync(join(config[1]!, 'repositories', FQRN)), false);
  });
}

test('"repo create" keeps to the settings that are given', async (t) => {
  const { config, storage, tree } = place(t);
  const options = [
    '--hash',
    'sha1',
    '--compression',
    'none',
    '--ttl',
    '17',
    '--whitelist-days',
    '3',
    '--chunks',
    '1k,2k,4k',
    '--catalog-entries',
    '50',
  ];
  await thimbleJson(['repo', 'create', FQRN, '--storage', storage, ...options, ...config]);
  const { rootCatalog } = await thimbleJson<PublishResult>(['publish', FQRN, tree, ...config]);
  assert.match(rootCatalog, /^[0-9a-f]{40}$/);
  assert.match(readFileSync(join(storage, '.cvmfspublished'), 'latin1'), /\nD17\n/);
  const plain = execFileSync('sha1sum', [join(tree, 'hello')], { encoding: 'utf8' }).slice(0, 40);
  assert.ok(existsSync(join(storage, 'data', plain.slice(0, 2), plain.slice(2))), 'files are not compressed');
});

test('"repo list" lists repositories, one a line, and says so when there are none', async (t) => {
  const { config, storage } = place(t);
  assert.deepEqual(lines(await thimble(['repo', 'list', ...config])), ['There are no repositories here.']);
  await thimbleJson(['repo', 'create', FQRN, '--storage', storage, ...config]);
  assert.deepEqual(lines(await thimble(['repo', 'list', ...config])), [`${FQRN}  ${storage}`]);
});

test('"repo resign" renews the whitelist, and changes nothing else', async (t) => {
  const { config, storage } = await created(t);
  const manifest = readFileSync(join(storage, '.cvmfspublished'));
  const whitelist = join(storage, '.cvmfswhitelist');
  const before = statSync(whitelist).ino;
  const result = await thimbleJson<{ fqrn: string; expires: string }>(['repo', 'resign', FQRN, ...config]);
  assert.equal(result.fqrn, FQRN);
  const expires = /^E(\d{4})(\d{2})(\d{2})/m.exec(readFileSync(whitelist, 'latin1'))!;
  assert.equal(result.expires, expires.slice(1).join('-'));
  assert.notEqual(statSync(whitelist).ino, before);
  assert.deepEqual(readFileSync(join(storage, '.cvmfspublished')), manifest);
  assert.deepEqual(readdirSync(join(storage, 'data/txn')), []);
  assert.match(
    lines(await thimble(['repo', 'resign', FQRN, ...config]))[0]!,
    new RegExp(`^The whitelist of ${FQRN} is valid until \\d{4}-\\d\\d-\\d\\d$`),
  );
});

test('"publish" prints the revision and its root hash; progress goes to stderr, without colours', async (t) => {
  const { config, tree } = await created(t);
  const outcome = await thimble(['publish', FQRN, tree, '--tag', 'v1', '--message', 'first', ...config]);
  assert.match(outcome.stdout, new RegExp(`^Revision 1 of ${FQRN}, root hash [0-9a-f]{40}-shake128\\n$`));
  assert.match(outcome.stderr, /^Publish .*tree \.\.\.\nPublish .*tree {2}2 entries in 1 catalogs, /);
  assert.doesNotMatch(outcome.stderr, /\x1b|\r/);
  const again = await thimble(['publish', FQRN, tree, ...config]);
  assert.equal(again.stdout, `Nothing has changed: ${FQRN} stays at revision 1\n`);
});

test('"publish --json" prints one object, for a folder, an archive and standard input alike', async (t) => {
  const { config, tree } = await created(t);
  const archive = join(tree, '../tree.tar');
  execFileSync('tar', ['-C', tree, '--format=posix', '-cf', archive, '.']);
  const first = await thimbleJson<PublishResult>(['publish', FQRN, tree, ...config]);
  assert.deepEqual(Object.keys(first), [
    'revision',
    'rootCatalog',
    'changed',
    'entries',
    'catalogs',
    'fileBytes',
    'newObjects',
    'newBytes',
  ]);
  assert.deepEqual(
    [first.revision, first.changed, first.entries, first.catalogs, first.fileBytes],
    [1, true, 2, 1, 6],
  );
  assert.match(first.rootCatalog, HASH);
  const input = Readable.from([readFileSync(archive)], { objectMode: false });
  for (const again of [
    await thimbleJson<PublishResult>(['publish', FQRN, archive, ...config]),
    await thimbleJson<PublishResult>(['publish', FQRN, '-', ...config], { input }),
  ]) {
    assert.deepEqual([again.changed, again.rootCatalog], [false, first.rootCatalog]);
  }
});

test('"tag list" shows the newest first, as lines and as objects', async (t) => {
  const { config, tree, storage, publicKey } = await created(t);
  await thimbleJson(['publish', FQRN, tree, '--tag', 'v1', '--message', 'the first', ...config]);
  writeFileSync(join(tree, 'hello'), 'changed');
  const second = await thimbleJson<PublishResult>(['publish', FQRN, tree, '--tag', 'v2', ...config]);
  interface Tag {
    readonly name: string;
    readonly revision: number;
    readonly rootCatalog: string;
    readonly description: string;
  }
  const tags = await thimbleJson<Tag[]>(['tag', 'list', FQRN, ...config]);
  assert.deepEqual(Object.fromEntries(tags.map(({ name, revision }) => [name, revision])), {
    trunk: 2,
    v2: 2,
    'trunk-previous': 1,
    v1: 1,
  });
  assert.deepEqual(Object.keys(tags[0]!).sort(), [
    'branch',
    'description',
    'name',
    'revision',
    'rootCatalog',
    'rootCatalogSizeBytes',
    'timestampSeconds',
  ]);
  assert.equal(tags.find(({ name }) => name === 'v2')!.rootCatalog, second.rootCatalog);
  assert.equal(tags.find(({ name }) => name === 'v1')!.description, 'the first');
  // By its folder and key, as somebody does who did not create it.
  const printed = lines(
    await thimble(['tag', 'list', storage, '--key', publicKey, '--config', join(tree, '../nothing')]),
  );
  assert.equal(printed.length, 4);
  assert.match(
    printed.find((line) => line.startsWith('v1'))!,
    /^v1 +1 {2}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ {2}[0-9a-f]{40}-shake128 {2}the first$/,
  );
});

test('"tag list" without a key says how to give one', async (t) => {
  const { storage, config } = await created(t);
  const { status, stderr } = await thimble(['tag', 'list', storage, '--config', `${config[1]}-other`]);
  assert.equal(status, 6);
  assert.match(stderr, /^error: .*\nhint: .*--key.*\n$/);
});

/** Starts `serve`, and answers with its first line of output when it is there. */
async function serving(t: TestContext, args: readonly string[]) {
  const child = startThimble(['serve', '--port', '0', '--host', '127.0.0.1', ...args]);
  t.after(() => child.kill('SIGKILL'));
  const closed = once(child, 'close') as Promise<[number | null]>;
  let stderr = '';
  child.stderr!.on('data', (data) => (stderr += String(data)));
  const output = createInterface(child.stdout!)[Symbol.asyncIterator]();
  return {
    next: async () => String((await output.next()).value),
    stop: async () => {
      child.kill('SIGTERM');
      const [status] = await closed;
      return { status, stderr };
    },
  };
}

test('"serve" prints the address of each repository, serves it to clients, and ends when it is told to', async (t) => {
  const { config, tree, publicKey } = await created(t);
  const { rootCatalog } = await thimbleJson<PublishResult>(['publish', FQRN, tree, '--tag', 'v1', ...config]);
  const server = await serving(t, config);
  const [, url] = /^Serving (http:\/\/127\.0\.0\.1:\d+\/cvmfs\/os\.example\.org)$/.exec(await server.next())!;
  assert.equal(await server.next(), 'Press Ctrl-C to stop.');
  const tags = await thimbleJson<{ name: string; rootCatalog: string }[]>([
    'tag',
    'list',
    url!,
    '--key',
    publicKey,
    ...config,
  ]);
  assert.equal(tags.find(({ name }) => name === 'v1')!.rootCatalog, rootCatalog);
  const { status, stderr } = await server.stop();
  assert.equal(status, 0);
  assert.match(stderr, /"url":"\/cvmfs\/os\.example\.org\/\.cvmfspublished","status":200/);
  assert.match(stderr, /Served \d+ requests, .* bytes\)\.\n$/);
});

test('"serve --json --quiet" prints one object, for a folder too, and no access log', async (t) => {
  const { storage, config } = await created(t);
  const server = await serving(t, [storage, '--json', '--quiet', ...config]);
  let text = '';
  while (!text.endsWith('}')) text += await server.next();
  const { address, repositories } = JSON.parse(text) as { address: string; repositories: string[] };
  assert.deepEqual(repositories, [`${address}/cvmfs/${FQRN}`]);
  assert.equal((await fetch(`${repositories[0]}/.cvmfspublished`)).status, 200);
  assert.equal((await fetch(`${repositories[0]}/data/txn/`)).status, 404);
  const { status, stderr } = await server.stop();
  assert.equal(status, 0);
  assert.match(stderr, /^Served 2 requests/);
});

test('"serve" refuses a repository it does not know, a folder without one, and a port that is in use', async (t) => {
  const { config, tree, storage } = await created(t);
  const blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  t.after(() => blocker.close());
  const { port } = blocker.address() as { port: number };
  const empty = join(tree, '../empty.example.org');
  mkdirSync(empty);
  for (const [args, status, says] of [
    [['absent.example.org'], 3, /^error: Cannot find repository absent\.example\.org/],
    [[empty], 3, /^error: Cannot serve .*empty\.example\.org: there is no \.cvmfspublished/],
    [
      [storage, '--port', String(port), '--host', '127.0.0.1'],
      8,
      new RegExp(`^error: Cannot listen on 127\\.0\\.0\\.1:${port}: EADDRINUSE.*\nhint: .*--port`),
    ],
    [[storage, '--port', 'abc'], 2, /^error: .*"abc"/],
  ] as const) {
    const outcome = await thimble(['serve', ...args, ...config]);
    assert.equal(outcome.status, status, outcome.stderr);
    assert.match(outcome.stderr, says);
  }
});

test('a reader that closes its end early, as head does, is no failure', async (t) => {
  const { config } = await created(t);
  const child = startThimble(['repo', 'list', ...config]);
  child.stdout!.destroy();
  let stderr = '';
  child.stderr!.on('data', (data) => (stderr += String(data)));
  const [status] = (await once(child, 'close')) as [number | null];
  assert.deepEqual([status, stderr], [0, '']);
});

test('--debug adds the stack to an error, and nothing else does', async (t) => {
  const { config } = await created(t);
  const args = ['publish', FQRN, '/nonexistent', ...config];
  assert.doesNotMatch((await thimble(args)).stderr, /\n {4}at /);
  assert.match((await thimble([...args, '--debug'])).stderr, /\n {4}at /);
});

test('an error with --json has code, message and hint', async (t) => {
  const { config } = await created(t);
  const { status, stderr, stdout } = await thimble(['publish', FQRN, '/nonexistent', '--json', ...config]);
  assert.deepEqual([status, stdout], [3, '']);
  const { error } = JSON.parse(stderr) as { error: object };
  assert.deepEqual(Object.keys(error), ['code', 'message', 'hint']);
});

test('the settings folder may be given by THIMBLE_CONFIG', async (t) => {
  const { config, storage } = await created(t);
  const outcome = await thimble(['repo', 'list', '--json'], { env: { THIMBLE_CONFIG: config[1]! } });
  assert.deepEqual(JSON.parse(outcome.stdout), [{ fqrn: FQRN, storage }]);
});
