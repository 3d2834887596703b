import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import {
  openClient,
  type PublishedRepository,
  publishRepository,
} from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { readManifest } from '../../test/support/storage-place.ts';
import { dir, file } from '../../test/support/trees.ts';
import { type ContentHash, NULL_HASH } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { parseFqrn } from '../core/fqrn.ts';
import { MANIFEST_PATH } from '../core/manifest.ts';
import { WHITELIST_PATH } from '../core/whitelist.ts';
import { nodeClock } from '../node/clock.ts';
import { FolderSource } from '../node/folder-source.ts';
import { createKeys } from '../publish/keys.ts';
import type { PublishResult } from '../publish/publisher.ts';
import type { Source } from './network/source.ts';

const scope = fileScope();
let published: PublishedRepository;
let second: PublishResult;
let third: PublishResult;

before(async () => {
  published = await publishRepository(scope);
  second = await published.publish(dir({ a: file('one') }), 'v1');
  third = await published.publish(dir({ a: file('two') }));
});

/** A copy of the storage that a test may damage. */
function mirror(t: TestContext): string {
  const folder = join(scratchFolder(t), 'mirror');
  cpSync(published.storage, folder, { recursive: true });
  return folder;
}

function clientOf(...folders: readonly string[]) {
  return openClient(published, { sources: folders.map((folder) => new FolderSource(folder)) });
}

test('resolve() finds the newest snapshot', async () => {
  const snapshot = await openClient(published).repository.resolve({});
  const { rootCatalogSizeBytes } = readManifest(published.storage);
  const { rootCatalog } = third;
  assert.deepEqual(snapshot, { rootCatalog, rootCatalogSizeBytes, revision: 2, tag: undefined });
});

test('resolve() finds a snapshot by its tag', async () => {
  const snapshot = await openClient(published).repository.resolve({ tag: 'v1' });
  assert.deepEqual([snapshot.rootCatalog, snapshot.revision, snapshot.tag], [second.rootCatalog, 1, 'v1']);
});

test('resolve() finds a snapshot by its date, and none before the first', async () => {
  const { repository } = openClient(published);
  const snapshot = await repository.resolve({ dateSeconds: nodeClock.unixSeconds() + 10 });
  assert.equal(snapshot.rootCatalog, third.rootCatalog);
  await assert.rejects(repository.resolve({ dateSeconds: 1_000_000_000 }), { code: 'NOT_FOUND' });
});

test('resolve() asks nobody for a root hash: it is the trust', async () => {
  const { repository, servers } = openClient(published, { publicKey: undefined });
  const rootHash = 'ab'.repeat(20) as ContentHash;
  assert.equal((await repository.resolve({ rootHash })).rootCatalog, rootHash);
  assert.equal(servers.counters.requests, 0);
});

test('resolve() says which tags there are when one is not', async () => {
  await assert.rejects(openClient(published).repository.resolve({ tag: 'v9' }), {
    code: 'NOT_FOUND',
    hint: /v1/,
  });
});

test('fetchManifest() takes no more than manifest, certificate and whitelist', async () => {
  const { repository, servers } = openClient(published);
  const manifest = await repository.fetchManifest();
  assert.equal(manifest.fqrn, published.fqrn);
  assert.equal(manifest.revision, 2);
  assert.equal(servers.counters.requests, 3);
  await repository.fetchManifest();
  assert.equal(servers.counters.requests, 5, 'the certificate is cached');
});

test('fetchManifest() trusts nothing without a key', async () => {
  const { repository, servers } = openClient(published, { publicKey: undefined });
  await assert.rejects(repository.fetchManifest(), { code: 'TRUST', hint: /--key/ });
  assert.equal(servers.counters.requests, 0);
});

test('fetchManifest() does not trust a whitelist that another key signed', async () => {
  const foreign = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
  const publicKey = Buffer.from(foreign.export({ type: 'spki', format: 'pem' }));
  await assert.rejects(openClient(published, { publicKey }).repository.fetchManifest(), { code: 'TRUST' });
});

test('fetchManifest() does not trust the manifest of another repository', async () => {
  const { repository } = openClient(published, { fqrn: 'other.example.org' });
  await assert.rejects(repository.fetchManifest(), {
    code: 'TRUST',
    message: /trust manifest.*small\.example\.org/,
  });
});

test('fetchManifest() does not trust a whitelist that has expired', async () => {
  const clock = { ...nodeClock, unixSeconds: () => nodeClock.unixSeconds() + 31 * 24 * 3600 };
  const { repository } = openClient(published, { clock });
  await assert.rejects(repository.fetchManifest(), { code: 'TRUST', message: /expired/ });
});

const DAMAGES: readonly (readonly [string, string, (path: string) => void])[] = [
  ['a manifest with a changed revision', MANIFEST_PATH, (path) => edit(path, /^S2$/m, 'S3')],
  ['a manifest without its signature', MANIFEST_PATH, (path) => edit(path, /--\n.*$/s, '')],
  ['a manifest with a damaged signature', MANIFEST_PATH, (path) => flipLastByte(path)],
  ['an empty manifest', MANIFEST_PATH, (path) => writeFileSync(path, '')],
  ['a web page in place of the manifest', MANIFEST_PATH, (path) => writeFileSync(path, '<html></html>')],
  ['an endless manifest', MANIFEST_PATH, (path) => writeFileSync(path, Buffer.alloc(10_000_000, 'C'))],
  ['a whitelist with a damaged signature', WHITELIST_PATH, (path) => flipLastByte(path)],
  ['no whitelist', WHITELIST_PATH, (path) => rmSync(path)],
];

function edit(path: string, pattern: RegExp, replacement: string): void {
  const text = readFileSync(path, 'latin1');
  assert.match(text, pattern);
  writeFileSync(path, text.replace(pattern, replacement), 'latin1');
}

function flipLastByte(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(path, bytes);
}

for (const [what, path, damage] of DAMAGES) {
  test(`fetchManifest() refuses ${what}, and passes over to another server`, async (t) => {
    const damaged = mirror(t);
    damage(join(damaged, path));
    await assert.rejects(clientOf(damaged).repository.fetchManifest(), (error: Error & { code: string }) =>
      ['INTEGRITY', 'FORMAT', 'TRUST', 'LIMIT', 'NOT_FOUND'].includes(error.code),
    );
    const { repository } = clientOf(damaged, published.storage);
    assert.equal((await repository.fetchManifest()).revision, 2);
  });
}

test('fetchHistory() lists the tags, and none where the manifest names no history', async () => {
  const { repository } = openClient(published);
  const manifest = await repository.fetchManifest();
  const { tags } = await repository.fetchHistory(manifest);
  assert.ok(tags.some(({ name }) => name === 'v1'));
  assert.deepEqual((await repository.fetchHistory({ ...manifest, history: undefined })).tags, []);
  await assert.rejects(repository.fetchHistory({ ...manifest, history: NULL_HASH }), { code: 'NOT_FOUND' });
});

test('fetchHistory() does not use the history of another repository', async () => {
  const manifest = await openClient(published).repository.fetchManifest();
  const { repository } = openClient(published, { fqrn: 'other.example.org' });
  await assert.rejects(repository.fetchHistory(manifest), { code: 'TRUST' });
});

test('a dead server does not keep a repository from being read', async () => {
  const dead: Source = {
    name: 'dead',
    open: async (path) => {
      throw new ThimbleError('NETWORK', `Cannot get ${path}: nobody answers`);
    },
  };
  const sources = [dead, new FolderSource(published.storage)];
  const { repository, servers } = openClient(published, { sources });
  assert.equal((await repository.fetchManifest()).revision, 2);
  assert.equal(servers.current, published.storage);
});

test('fetchManifest() passes over a server whose whitelist has expired', async (t) => {
  const days = 24 * 3600;
  const clock = { ...nodeClock, unixSeconds: () => nodeClock.unixSeconds() + 40 * days };
  const stale = mirror(t);
  const fresh = mirror(t);
  const sources = [stale, fresh].map((folder) => new FolderSource(folder));
  await assert.rejects(openClient(published, { sources, clock }).repository.fetchManifest(), {
    code: 'TRUST',
    message: /expired/,
  });
  writeFileSync(join(fresh, WHITELIST_PATH), await published.signWhitelist(clock));
  assert.equal((await openClient(published, { sources, clock }).repository.fetchManifest()).revision, 2);
});

test('fetchManifest() does not trust a certificate that the whitelist does not name', async (t) => {
  const other = await createKeys(scratchFolder(t), parseFqrn(published.fqrn), nodeClock.unixSeconds());
  const lagging = mirror(t);
  writeFileSync(join(lagging, WHITELIST_PATH), await published.signWhitelist(nodeClock, other.certificate));
  await assert.rejects(clientOf(lagging).repository.fetchManifest(), {
    code: 'TRUST',
    message: /certificate/,
  });
  const { repository } = clientOf(lagging, published.storage);
  assert.equal((await repository.fetchManifest()).revision, 2, 'another server knows it');
});

// These publish: they come last.

test('fetchManifest() takes the manifest of a mirror that lags behind: it is well signed', async (t) => {
  const stale = mirror(t);
  const next = await published.publish(dir({ a: file('three') }));
  assert.equal((await clientOf(stale, published.storage).repository.fetchManifest()).revision, 2);
  const { repository } = clientOf(published.storage, stale);
  assert.equal((await repository.fetchManifest()).revision, next.revision);
});

test('objects that a stale mirror does not have yet come from another server', async (t) => {
  const stale = mirror(t);
  const next = await published.publish(dir({ a: file('four') }));
  const { objects } = clientOf(stale, published.storage);
  assert.ok((await objects.load(next.rootCatalog, 'C', 1e6, 'root catalog')).length > 0);
});
