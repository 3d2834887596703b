/** Sources, storages and disks with something wrong, as `publish` and `repo create` meet them. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { assertFails, type Expected, soundRepository } from '../support/cli-failures.ts';
import { readRepository } from '../support/described-tree.ts';
import { fileScope } from '../support/file-scope.ts';
import { noise } from '../support/memory-tree.ts';
import { needs } from '../support/needs.ts';
import { FQRN } from '../support/publisher-repository.ts';
import { memoryScratch, scratchFolder } from '../support/scratch.ts';
import { type Outcome, type RunOptions, thimble } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

const scope = fileScope();
let scratch: string;
let config: string;
let storage: string;
let publicKey: string;
before(async () => {
  ({ scratch, config, storage, publicKey } = await soundRepository(scope));
});

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
