/** What people meet when something is wrong: one error that names the thing, its exit code, and nothing half-written. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { publisherPorts } from '../../src/cli/publisher-ports.ts';
import { objectPath } from '../../src/core/content-hash.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { writeWhitelist } from '../../src/publish/create-repository.ts';
import { keyPaths, loadKeys } from '../../src/publish/keys.ts';
import { RepositoryRegistry } from '../../src/publish/repository-settings.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { type Outcome, type RunOptions, thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';
import { FQRN, memoryScratch, noise, openObject, readManifest, readRepository } from './publish-fixture.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Made once; tests that change it work on copies. */
let scratch: string;
let config: string;
let storage: string;
let publicKey: string;
const cleanUps: (() => void)[] = [];

before(async () => {
  scratch = memoryScratch({ after: (cleanUp) => void cleanUps.push(cleanUp as () => void) });
  config = join(scratch, 'config');
  storage = join(scratch, 'storage', FQRN);
  publicKey = keyPaths(join(config, 'repositories', FQRN), FQRN).publicKey;
  const args = ['--storage', storage, '--chunks', '4k,8k,16k', '--config', config];
  await thimbleJson(['repo', 'create', FQRN, ...args]);
  const tree = join(scratch, 'tree');
  makeTree(
    tree,
    dir({
      whole: file('a file that is one object'),
      chunked: file(noise(50_000)),
      sub: dir({ '.cvmfscatalog': file(''), inside: file('in a nested catalog') }),
    }),
  );
  await thimbleJson(['publish', FQRN, tree, '--config', config]);
});
after(() => {
  for (const cleanUp of cleanUps) cleanUp();
});

interface Expected {
  readonly code: ErrorCode;
  /** The first line, without `error: `. */
  readonly says: RegExp;
  readonly hint?: RegExp;
}

/** One error, told as all are: two lines at most, behind what progress has said. */
function assertFails({ status, stderr }: Outcome, { code, says, hint }: Expected): void {
  assert.equal(status, EXIT_CODES[code], stderr);
  const lines = stderr.trimEnd().split('\n');
  const start = lines.findIndex((line) => line.startsWith('error: '));
  assert.ok(start >= 0, stderr);
  const [error, hintLine, ...more] = lines.slice(start);
  assert.match(error!.slice('error: '.length), says);
  assert.deepEqual(more, []);
  if (hintLine !== undefined) assert.match(hintLine, /^hint: ./);
  if (hint !== undefined) assert.match(hintLine ?? '', hint);
}

// ---- reading ----

/** A copy of the storage to damage. */
function copyOf(t: TestContext): string {
  const copy = join(scratchFolder(t), FQRN);
  cpSync(storage, copy, { recursive: true });
  return copy;
}

const dump = (source: string, key = publicKey) =>
  thimble(['dump', source, '--key', key, '--content', '--config', join(scratch, 'no-config')]);

function flipByte(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at < 0 ? bytes.length + at : at]! ^= 0x01;
  writeFileSync(path, bytes);
}

const manifestOf = (copy: string) => readManifest(copy);
const object = (copy: string, path: string) => join(copy, path);

/** The stored form of a file, or of its first chunk. */
function objectOfFile(copy: string, name: string): string {
  const database = openObject(copy, manifestOf(copy).rootCatalog, 'C', scratch);
  const row = database
    .prepare(
      'SELECT hex(coalesce(catalog.hash, chunks.hash)) AS hash, catalog.hash IS NULL AS chunked FROM catalog LEFT JOIN chunks USING (md5path_1, md5path_2) WHERE name = ? ORDER BY offset',
    )
    .get(name)!;
  database.close();
  const hash = `${String(row['hash']).toLowerCase()}-shake128`;
  return objectPath(hash as never, row['chunked'] === 1 ? 'P' : '');
}

function nestedCatalogOf(copy: string): string {
  const database = openObject(copy, manifestOf(copy).rootCatalog, 'C', scratch);
  const { sha1 } = database.prepare('SELECT sha1 FROM nested_catalogs').get()! as { sha1: string };
  database.close();
  return objectPath(sha1 as never, 'C');
}

interface Damage extends Expected {
  readonly what: string;
  readonly damage: (copy: string) => void | Promise<void>;
}

const DAMAGES: readonly Damage[] = [
  {
    what: 'a changed byte in the manifest',
    damage: (copy) => flipByte(join(copy, '.cvmfspublished'), 5),
    code: 'INTEGRITY',
    says: /manifest/,
  },
  {
    what: 'a changed byte in the signature of the manifest',
    damage: (copy) => flipByte(join(copy, '.cvmfspublished'), -5),
    code: 'INTEGRITY',
    says: /manifest/,
  },
  {
    what: 'a changed byte in the whitelist',
    damage: (copy) => flipByte(join(copy, '.cvmfswhitelist'), 5),
    code: 'INTEGRITY',
    says: /whitelist/,
  },
  {
    what: 'a changed byte in the signature of the whitelist',
    damage: (copy) => flipByte(join(copy, '.cvmfswhitelist'), -5),
    code: 'TRUST',
    says: /whitelist/,
  },
  {
    what: 'a changed byte in the certificate',
    damage: (copy) => flipByte(object(copy, objectPath(manifestOf(copy).certificate!, 'X')), 20),
    code: 'INTEGRITY',
    says: /certificate/,
  },
  {
    what: 'a changed byte in the root catalog',
    damage: (copy) => flipByte(object(copy, objectPath(manifestOf(copy).rootCatalog, 'C')), 100),
    code: 'INTEGRITY',
    says: /root catalog/,
  },
  {
    what: 'a changed byte in a nested catalog',
    damage: (copy) => flipByte(object(copy, nestedCatalogOf(copy)), 100),
    code: 'INTEGRITY',
    says: /catalog of \/sub/,
  },
  {
    what: 'a changed byte in a file',
    damage: (copy) => flipByte(object(copy, objectOfFile(copy, 'whole')), 10),
    code: 'INTEGRITY',
    says: /\/whole/,
  },
  {
    what: 'a changed byte in a chunk',
    damage: (copy) => flipByte(object(copy, objectOfFile(copy, 'chunked')), 1000),
    code: 'INTEGRITY',
    says: /\/chunked/,
  },
  {
    what: 'a file that ends early',
    damage: (copy) => truncateSync(object(copy, objectOfFile(copy, 'chunked')), 1000),
    code: 'INTEGRITY',
    says: /\/chunked/,
  },
  {
    what: 'an object that is not there',
    damage: (copy) => rmSync(object(copy, objectOfFile(copy, 'whole'))),
    code: 'NOT_FOUND',
    says: /data\/../,
  },
  {
    what: 'an empty manifest',
    damage: (copy) => writeFileSync(join(copy, '.cvmfspublished'), ''),
    code: 'FORMAT',
    says: /manifest/,
  },
  {
    what: 'no whitelist',
    damage: (copy) => rmSync(join(copy, '.cvmfswhitelist')),
    code: 'NOT_FOUND',
    says: /\.cvmfswhitelist/,
  },
  {
    what: 'an expired whitelist',
    damage: async (copy) => {
      const registry = new RepositoryRegistry(config);
      const settings = { ...registry.load(FQRN), storage: copy };
      const clock = { ...publisherPorts.clock, unixSeconds: () => 1_700_000_000 };
      await writeWhitelist(settings, loadKeys(registry.folderOf(FQRN), FQRN), { ...publisherPorts, clock });
    },
    code: 'TRUST',
    says: /whitelist.* (expired|2023)/,
  },
];
for (const { what, damage, ...expected } of DAMAGES) {
  test(`a repository with ${what} is refused with ${expected.code}`, async (t) => {
    const copy = copyOf(t);
    await damage(copy);
    assertFails(await dump(copy), expected);
  });
}

test('the repository that the tests damage copies of is whole', async () => {
  const { status, stdout, stderr } = await dump(storage);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /\/sub\/inside/);
});

test('a wrong key is refused with TRUST', async () => {
  const other = join(scratch, 'other');
  await thimbleJson([
    'repo',
    'create',
    'other.example.org',
    '--storage',
    join(other, 'other.example.org'),
    '--config',
    other,
  ]);
  const key = keyPaths(join(other, 'repositories/other.example.org'), 'other.example.org' as never).publicKey;
  assertFails(await dump(storage, key), { code: 'TRUST', says: new RegExp(`whitelist.*|${FQRN}`) });
});

for (const { what, content, ...expected } of [
  {
    what: 'a key file that is missing',
    content: undefined,
    code: 'NOT_FOUND' as const,
    says: /key file .*given\.pub/,
  },
  { what: 'a key file without a key', content: 'no key', code: 'FORMAT' as const, says: /key/ },
]) {
  test(`${what} is refused with ${expected.code}`, async (t) => {
    const key = join(scratchFolder(t), 'given.pub');
    if (content !== undefined) writeFileSync(key, content);
    assertFails(await dump(storage, key), expected);
  });
}

test('a repository under the name of another is refused with TRUST', async (t) => {
  const moved = join(scratchFolder(t), 'moved.example.org');
  cpSync(storage, moved, { recursive: true });
  assertFails(await dump(moved), { code: 'TRUST', says: /moved\.example\.org|tree\.example\.org/ });
});

test('a folder without a repository is refused with NOT_FOUND', async (t) => {
  const empty = join(scratchFolder(t), FQRN);
  mkdirSync(empty);
  assertFails(await dump(empty), { code: 'NOT_FOUND', says: new RegExp(`\\.cvmfspublished.*${empty}`) });
});

/** A web server of the storage; `cut` says how many of the bytes of a path it sends, and how many it promises. */
async function serve(
  t: TestContext,
  cut: (path: string, size: number) => { sends: number; promises: number } | undefined = () => undefined,
): Promise<string> {
  const server: Server = createServer((request, response) => {
    const path = request.url!.replace(`/cvmfs/${FQRN}/`, '');
    const full = join(storage, path);
    if (!existsSync(full)) return void response.writeHead(404).end();
    const bytes = readFileSync(full);
    const { sends, promises } = cut(path, bytes.length) ?? { sends: bytes.length, promises: bytes.length };
    response.writeHead(200, { 'content-length': promises });
    if (sends === promises) response.end(bytes.subarray(0, sends));
    else response.write(bytes.subarray(0, sends), () => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/cvmfs/${FQRN}`;
}

test('a download that breaks off is refused with NETWORK, naming the file and the server', async (t) => {
  const chunk = objectOfFile(storage, 'chunked');
  const url = await serve(t, (path, size) =>
    path === chunk ? { sends: size >> 1, promises: size } : undefined,
  );
  assertFails(await dump(url), { code: 'NETWORK', says: new RegExp(`${chunk} from ${url}`), hint: /server/ });
});

test('a download that is shorter than the object is refused with INTEGRITY', async (t) => {
  const chunk = objectOfFile(storage, 'chunked');
  const url = await serve(t, (path, size) =>
    path === chunk ? { sends: size - 1, promises: size - 1 } : undefined,
  );
  assertFails(await dump(url), { code: 'INTEGRITY', says: /\/chunked/ });
});

test('a server that is not there is refused with NETWORK, naming it', async () => {
  const server = createSocketServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const url = `http://127.0.0.1:${port}/cvmfs/${FQRN}`;
  assertFails(await dump(url), { code: 'NETWORK', says: new RegExp(url), hint: /server/ });
});

test('a repository that the server does not have is refused with NOT_FOUND', async (t) => {
  const url = (await serve(t)).replace(FQRN, 'absent.example.org');
  assertFails(await dump(url), { code: 'NOT_FOUND', says: /\.cvmfspublished.*absent\.example\.org/ });
});

for (const [option, value, expected] of [
  ['--tag', 'nope', { code: 'NOT_FOUND', says: /tag "nope"/, hint: /trunk/ }],
  ['--date', '1999-01-01', { code: 'NOT_FOUND', says: /1999-01-01/ }],
  ['--date', 'soon', { code: 'USAGE', says: /"soon"/ }],
  ['--root-hash', 'xyz', { code: 'USAGE', says: /"xyz"/ }],
  ['--root-hash', 'a'.repeat(40), { code: 'NOT_FOUND', says: /data\/aa\// }],
] as const satisfies readonly (readonly [string, string, Expected])[]) {
  test(`${option} ${value.slice(0, 10)} is refused with ${expected.code}`, async () => {
    assertFails(
      await thimble(['dump', storage, '--key', publicKey, option, value, '--config', scratch]),
      expected,
    );
  });
}

test('a full cache disk does not keep anything from being read', needs('fuse'), async (t) => {
  const folder = scratchFolder(t);
  const [cache, mountpoint] = [join(folder, 'cache'), join(folder, 'mnt')];
  for (const path of [cache, mountpoint]) mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', cache]);
  const options = ['--key', publicKey, '--cache', cache, '--log', join(folder, 'log'), '--config', scratch];
  const { status, stderr } = await thimble(['mount', storage, mountpoint, ...options]);
  assert.equal(status, 0, stderr);
  assert.deepEqual(execFileSync('cat', [join(mountpoint, 'chunked')]), Buffer.from(noise(50_000)));
  assert.equal(
    execFileSync('cat', [join(mountpoint, 'sub/inside')], { encoding: 'utf8' }),
    'in a nested catalog',
  );
  assert.equal((await thimble(['umount', mountpoint])).status, 0);
});

// ---- publishing ----

/** Publishes what cannot be published, and looks whether the repository is as it was. */
async function assertNotPublished(
  run: () => Promise<Outcome>,
  expected: Expected,
  at = storage,
): Promise<void> {
  const state = async () => ({
    manifest: readFileSync(join(at, '.cvmfspublished'), 'latin1'),
    tree: await readRepository(at, publicKey),
    temporary: readdirSync(join(at, 'data/txn')),
    publisher: readdirSync(join(config, 'repositories', FQRN)),
  });
  const before = await state();
  assert.deepEqual(before.temporary, []);
  assertFails(await run(), expected);
  assert.deepEqual(await state(), before);
}

const publish = (source: string, options: RunOptions = {}) =>
  thimble(['publish', FQRN, source, '--config', config], options);

/** A publisher in which `action` happens when `name` of node:fs is called with a path that ends with `suffix`. */
function sabotage(
  name: 'lstatSync' | 'openSync' | 'readdirSync',
  suffix: string,
  action: string,
): RunOptions {
  const code = `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const original = fs.${name};
    let isDone = false;
    fs.${name} = (path, ...rest) => {
      if (!isDone && String(path).endsWith(${JSON.stringify(suffix)})) {
        isDone = true;
        ${action}
      }
      return original(path, ...rest);
    };
    syncBuiltinESMExports();`;
  return { env: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}` } };
}

for (const { what, name } of [
  { what: 'after its folder was listed', name: 'lstatSync' },
  { what: 'after its size was looked up', name: 'openSync' },
] as const) {
  test(`a file that vanishes ${what} ends the publish with NOT_FOUND and its path`, async (t) => {
    const tree = scratchFolder(t);
    makeTree(tree, dir({ stays: file('x'), vanishes: file('y') }));
    const options = sabotage(name, '/vanishes', 'fs.rmSync(path, { force: true });');
    await assertNotPublished(() => publish(tree, options), {
      code: 'NOT_FOUND',
      says: new RegExp(`^Cannot read ${tree}/vanishes: ENOENT`),
      hint: /vanished while it was being published/,
    });
  });
}

test('a folder that vanishes before it is listed ends the publish with NOT_FOUND and its path', async (t) => {
  const tree = scratchFolder(t);
  makeTree(tree, dir({ stays: file('x'), vanishes: dir({ a: file('y') }) }));
  const options = sabotage('readdirSync', '/vanishes', 'fs.rmSync(path, { recursive: true, force: true });');
  await assertNotPublished(() => publish(tree, options), {
    code: 'NOT_FOUND',
    says: new RegExp(`^Cannot read ${tree}/vanishes: ENOENT`),
    hint: /vanished/,
  });
});

/** As root without the right to read everything. */
function publishAsMortal(source: string): Promise<Outcome> {
  const rights = '-dac_override,-dac_read_search';
  const child = spawn('setpriv', [
    `--bounding-set=${rights}`,
    `--inh-caps=${rights}`,
    process.execPath,
    MAIN,
    'publish',
    FQRN,
    source,
    '--config',
    config,
  ]);
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    child[name].on('data', (data) => (output[name] += String(data)));
  return new Promise((resolve) => child.once('close', (status) => resolve({ status, ...output })));
}

for (const { what, secret } of [
  { what: 'file', secret: file('x', { mode: 0 }) },
  { what: 'folder', secret: dir({}, { mode: 0 }) },
]) {
  test(
    `a ${what} that may not be read ends the publish with STORAGE and its path`,
    needs('root'),
    async (t) => {
      const tree = scratchFolder(t);
      makeTree(tree, dir({ open: file('x'), secret }));
      await assertNotPublished(() => publishAsMortal(tree), {
        code: 'STORAGE',
        says: new RegExp(`^Cannot read ${tree}/secret: EACCES`),
      });
    },
  );
}

test(
  'an archive that may not be read ends the publish with STORAGE and its path',
  needs('root'),
  async (t) => {
    const archive = join(scratchFolder(t), 'archive.tar');
    writeFileSync(archive, '');
    chmodSync(archive, 0);
    await assertNotPublished(() => publishAsMortal(archive), {
      code: 'STORAGE',
      says: new RegExp(`^Cannot read ${archive}: EACCES`),
    });
  },
);

test('a source that is not there is refused with NOT_FOUND and its path', async (t) => {
  const gone = join(scratchFolder(t), 'gone');
  await assertNotPublished(() => publish(gone), {
    code: 'NOT_FOUND',
    says: new RegExp(`^Cannot read ${gone}`),
    hint: /folder, a tar file/,
  });
});

const goodTar = () => execFileSync('tar', ['-C', join(scratch, 'tree'), '-c', '.']);
for (const { what, archive, ...says } of [
  { what: 'empty', archive: () => Buffer.alloc(0), says: /end marker/ },
  { what: 'no archive', archive: () => Buffer.from('x'.repeat(2000)), says: /checksum/ },
  { what: 'cut within a header', archive: () => goodTar().subarray(0, 700), says: /ends/ },
  { what: 'cut within a file', archive: () => goodTar().subarray(0, 30_000), says: /ends within a file/ },
  {
    what: 'damaged in a header',
    archive: () => {
      const bytes = goodTar();
      bytes[513]! ^= 1;
      return bytes;
    },
    says: /checksum/,
  },
  {
    what: 'compressed',
    archive: () => execFileSync('gzip', ['-c'], { input: goodTar() }),
    says: /it is compressed with gzip$/,
    hint: /decompress it/,
  },
]) {
  test(`an archive that is ${what} ends the publish with FORMAT`, async () => {
    const input = Readable.from([archive()], { objectMode: false });
    await assertNotPublished(() => publish('-', { input }), { code: 'FORMAT', ...says });
  });
}

test('an archive in a file that ends early ends the publish with FORMAT', async (t) => {
  const path = join(scratchFolder(t), 'archive.tar');
  writeFileSync(path, goodTar().subarray(0, 30_000));
  await assertNotPublished(() => publish(path), { code: 'FORMAT', says: /ends within a file/ });
});

test('a repository that is not known is refused with NOT_FOUND, and with those that are', async () => {
  assertFails(await thimble(['publish', 'absent.example.org', scratch, '--config', config]), {
    code: 'NOT_FOUND',
    says: /absent\.example\.org/,
    hint: new RegExp(FQRN),
  });
});

test('a storage that is gone is refused with NOT_FOUND, and not made anew', async () => {
  renameSync(storage, `${storage}.moved`);
  try {
    assertFails(await publish(join(scratch, 'tree')), {
      code: 'NOT_FOUND',
      says: new RegExp(`no repository in ${storage}`),
    });
    assert.equal(existsSync(storage), false);
  } finally {
    renameSync(`${storage}.moved`, storage);
  }
});

test(
  'a disk that fills up ends the publish with STORAGE; with room again it goes on',
  needs('root'),
  async (t) => {
    const disk = memoryScratch(t, '4m');
    const small = join(disk, FQRN);
    cpSync(storage, small, { recursive: true });
    const registry = join(scratchFolder(t), 'config');
    cpSync(config, registry, { recursive: true });
    const settings = join(registry, 'repositories', FQRN, 'repository.yaml');
    writeFileSync(settings, readFileSync(settings, 'utf8').replace(storage, small));
    const tree = scratchFolder(t);
    makeTree(
      tree,
      dir(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`f${i}`, file(noise(200_000, i + 1))]))),
    );
    const publishSmall = (source: string) => thimble(['publish', FQRN, source, '--config', registry]);
    await assertNotPublished(
      () => publishSmall(tree),
      { code: 'STORAGE', says: new RegExp(`^Cannot write ${small}/data/.*ENOSPC`), hint: /the disk is full/ },
      small,
    );
    execFileSync('mount', ['-o', 'remount,size=32m', disk]);
    assert.equal((await publishSmall(tree)).status, 0);
    assert.equal((await readRepository(small, publicKey)).size, 41);
  },
);

test('a full disk of the publisher itself ends the publish with STORAGE', needs('root'), async (t) => {
  const disk = memoryScratch(t, '64k');
  cpSync(config, disk, { recursive: true });
  assert.throws(() => writeFileSync(join(disk, 'filler'), Buffer.alloc(64 * 1024)), { code: 'ENOSPC' });
  await assertNotPublished(() => thimble(['publish', FQRN, join(scratch, 'config'), '--config', disk]), {
    code: 'STORAGE',
    says: new RegExp(`^Cannot write .*${disk}.*ENOSPC`),
  });
});

test('a new repository that cannot be made leaves nothing in the way of a second try', async (t) => {
  const folder = scratchFolder(t);
  writeFileSync(join(folder, 'taken'), '');
  const create = (target: string) =>
    thimble(['repo', 'create', 'new.example.org', '--storage', target, '--config', join(folder, 'config')]);
  assertFails(await create(join(folder, 'taken/new.example.org')), {
    code: 'STORAGE',
    says: /^Cannot create .*taken\/new\.example\.org: ENOTDIR/,
  });
  assert.equal((await create(join(folder, 'free/new.example.org'))).status, 0);
});
