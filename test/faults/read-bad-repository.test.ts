/** Repositories, keys, servers and caches with something wrong, as `dump` and `mount` meet them. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { publisherPorts } from '../../src/cli/publisher-ports.ts';
import { objectPath } from '../../src/core/content-hash.ts';
import { keyPaths } from '../../src/publish/key-paths.ts';
import { loadKeys } from '../../src/publish/keys.ts';
import { RepositoryRegistry } from '../../src/publish/repository-settings.ts';
import { writeWhitelist } from '../../src/publish/whitelist-writer.ts';
import { assertFails, type Expected, soundRepository } from '../support/cli-failures.ts';
import { fileScope } from '../support/file-scope.ts';
import { noise } from '../support/memory-tree.ts';
import { needs } from '../support/needs.ts';
import { FQRN } from '../support/publisher-repository.ts';
import { scratchFolder } from '../support/scratch.ts';
import { openObject, readManifest } from '../support/storage-place.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';

const scope = fileScope();
let scratch: string;
let config: string;
let storage: string;
let publicKey: string;
before(async () => {
  ({ scratch, config, storage, publicKey } = await soundRepository(scope));
});

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
