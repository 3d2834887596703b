/** What a reader demands beyond the chain that every repository has: Ed25519 signatures, blacklists, any of several keys. */

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { openClient } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { fixturePath, unpackFixture } from '../../test/support/fixtures.ts';
import { KeyRepository, withFiles } from '../../test/support/key-repository.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { decodePemCertificate } from '../core/certificate.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { formatFingerprint, hashBytes } from '../core/content-hash.ts';
import { MANIFEST_PATH, parseManifest } from '../core/manifest.ts';
import { silentLog } from '../core/ports.ts';
import { formatSignedText } from '../core/signed-text.ts';
import { parseWhitelist, WHITELIST_PATH } from '../core/whitelist.ts';
import { nodeClock } from '../node/clock.ts';
import { FolderSource } from '../node/folder-source.ts';
import { nodeHashing } from '../node/hashing.ts';
import { openRepository } from '../node/repository-access.ts';
import { loadKeys, signManifest } from '../publish/keys.ts';
import type { Source } from './network/source.ts';
import type { Repository, Selection } from './repository.ts';

const scope = fileScope();
let published: KeyRepository;
/** Manifests, by revision. */
const manifests: Buffer[] = [];

before(async () => {
  // Clients compare with the time of this machine.
  published = await KeyRepository.create(scratchFolder(scope), {}, nodeClock.unixSeconds());
  const keep = () => manifests.push(readFileSync(join(published.storage, MANIFEST_PATH)));
  keep();
  for (const content of ['one', 'two', 'three']) {
    await published.publish(content);
    keep();
  }
});

interface Given {
  readonly keys?: readonly string[];
  readonly blacklist?: string;
  readonly servers?: readonly string[];
}

/** A client as commands open it. */
function open(
  t: TestContext,
  { keys = rsaOnly(), blacklist, servers = [published.storage] }: Given,
): Repository {
  const blacklistFile = join(scratchFolder(t), 'blacklist');
  if (blacklist !== undefined) writeFileSync(blacklistFile, blacklist);
  const access = openRepository(
    {
      fqrn: published.fqrn,
      servers,
      proxies: [],
      keyFiles: keys,
      blacklistFiles: blacklist === undefined ? [] : [blacklistFile],
    },
    { cacheFolder: undefined, cacheLimitBytes: 1e8, log: silentLog },
  );
  t.after(() => access.close());
  return access.repository;
}

const rsaOnly = () => [published.paths.publicKey];
const both = () => [published.paths.publicKey, published.paths.ed25519PublicKey];

function publicKeyFile(t: TestContext, type: 'rsa' | 'ed25519'): string {
  const path = join(scratchFolder(t), `${type}.pub`);
  const { publicKey } =
    type === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ed25519');
  writeFileSync(path, publicKey.export({ type: 'spki', format: 'pem' }));
  return path;
}

/** A server that is behind: it has the manifest of an older revision. */
function olderServer(t: TestContext, revision: number): string {
  const folder = join(scratchFolder(t), published.fqrn);
  cpSync(published.storage, folder, { recursive: true });
  writeFileSync(join(folder, MANIFEST_PATH), manifests[revision]!);
  return folder;
}

/** The newest manifest with other lines, and a good RSA signature: of somebody who has that key alone, or breaks RSA. */
async function forged(change: (line: string) => readonly string[]): Promise<Source> {
  const { signed } = parseManifest(nodeHashing, manifests[3]!);
  const keys = loadKeys(published.place.folder, published.fqrn);
  const bytes = await formatSignedText(nodeHashing, 'shake128', signed.lines.flatMap(change), (text) =>
    signManifest(keys, text),
  );
  return withFiles(new FolderSource(published.storage), { [MANIFEST_PATH]: bytes });
}

test('a signature of Ed25519 is demanded where a key for it is given, and found', async (t) => {
  assert.equal((await open(t, { keys: both() }).fetchManifest()).revision, 3);
});

test('both kinds of keys may be in one file', async (t) => {
  const path = join(scratchFolder(t), 'both.pub');
  writeFileSync(path, Buffer.concat(both().map((file) => readFileSync(file))));
  assert.equal((await open(t, { keys: [path] }).fetchManifest()).revision, 3);
});

test('a manifest that another Ed25519 key signed is refused; one fitting key among several is enough', async (t) => {
  const strange = publicKeyFile(t, 'ed25519');
  await assert.rejects(open(t, { keys: [...rsaOnly(), strange] }).fetchManifest(), {
    code: 'TRUST',
    message: /none of the 1 given Ed25519 keys/,
  });
  assert.equal((await open(t, { keys: [...both(), strange] }).fetchManifest()).revision, 3);
});

test('a key of Ed25519 alone is not enough: whitelists are signed with RSA', async (t) => {
  const keys = [published.paths.ed25519PublicKey];
  await assert.rejects(open(t, { keys }).fetchManifest(), { code: 'TRUST', hint: /RSA key/ });
});

test('any of several master keys may have signed the whitelist, and one has to', async (t) => {
  const strange = publicKeyFile(t, 'rsa');
  assert.equal((await open(t, { keys: [strange, ...rsaOnly()] }).fetchManifest()).revision, 3);
  await assert.rejects(open(t, { keys: [strange] }).fetchManifest(), { code: 'TRUST' });
});

test('a repository without Ed25519 signatures is refused where one is demanded: golden ones of the reference', async (t) => {
  const storage = unpackFixture('shake128', scratchFolder(t));
  const keyFiles = [fixturePath('shake128/shake128.peer.test.pub')];
  const openWith = (more: readonly string[]) => {
    const publicKey = Buffer.concat([...keyFiles, ...more].map((path) => readFileSync(path)));
    // Its whitelist has expired long ago, or will.
    const { whitelist } = parseWhitelist(nodeHashing, readFileSync(join(storage, WHITELIST_PATH)));
    const clock = { ...nodeClock, unixSeconds: () => whitelist.createdSeconds };
    return openClient({ fqrn: 'shake128.peer.test' as never, storage, publicKey }, { clock }).repository;
  };
  const manifest = await openWith([]).fetchManifest();
  assert.equal(manifest.fqrn, 'shake128.peer.test');
  // Keys of other repositories do no harm.
  const others = ['basic/basic.peer.test.pub', 'history/history.peer.test.pub'].map(fixturePath);
  assert.deepEqual(await openWith(others).fetchManifest(), manifest);
  await assert.rejects(openWith([published.paths.ed25519PublicKey]).fetchManifest(), {
    code: 'TRUST',
    message: /has no Ed25519 signature/,
    hint: /RSA key alone/,
  });
});

const isSignature = (line: string) => line.startsWith('e');

const FORGERIES: readonly (readonly [what: string, change: (line: string) => readonly string[]])[] = [
  ['without an Ed25519 signature', (line) => (isSignature(line) ? [] : [line])],
  [
    'with the Ed25519 signature of an older one',
    (line) =>
      isSignature(line) ? parseManifest(nodeHashing, manifests[2]!).signed.lines.filter(isSignature) : [line],
  ],
  ['with another revision', (line) => [line.replace(/^S3$/, 'S4')]],
  ['with a line more', (line) => (isSignature(line) ? ['Zmore', line] : [line])],
];

for (const [what, change] of FORGERIES) {
  test(`a manifest ${what} is good for its RSA signature alone; where more is demanded, the next server is asked`, async () => {
    const bad = await forged(change);
    const publicKey = Buffer.concat(both().map((path) => readFileSync(path)));
    const given = { fqrn: published.fqrn, storage: published.storage, publicKey };
    await assert.rejects(openClient(given, { sources: [bad] }).repository.fetchManifest(), { code: 'TRUST' });
    const sources = [bad, new FolderSource(published.storage)];
    assert.equal((await openClient(given, { sources }).repository.fetchManifest()).revision, 3);
    const rsa = { ...given, publicKey: readFileSync(published.paths.publicKey) };
    await openClient(rsa, { sources: [bad] }).repository.fetchManifest();
  });
}

// ---- blacklist ----

function fingerprintOf(path: string): string {
  const der = decodePemCertificate(readFileSync(path));
  return formatFingerprint(hashBytes(nodeHashing, 'sha1', der));
}

test('a certificate on the blacklist is refused', async (t) => {
  const blacklist = `# stolen in March\n${fingerprintOf(published.paths.certificate)} # laptop\n`;
  await assert.rejects(open(t, { blacklist }).fetchManifest(), {
    code: 'TRUST',
    message: /on the blacklist/,
  });
});

test('a revision on the blacklist is refused, and a newer one of another server is taken', async (t) => {
  const blacklist = `<${published.fqrn} 3\n`;
  const old = olderServer(t, 2);
  await assert.rejects(open(t, { blacklist, servers: [old] }).fetchManifest(), {
    code: 'TRUST',
    message: `Cannot use revision 2 of ${published.fqrn}: the blacklist refuses those before 3`,
  });
  const { revision } = await open(t, { blacklist, servers: [old, published.storage] }).fetchManifest();
  assert.equal(revision, 3);
  assert.equal((await open(t, { servers: [old] }).fetchManifest()).revision, 2, 'without it, it is good');
});

const ROOTS = () => manifests.map((bytes) => parseManifest(nodeHashing, bytes).manifest);
const OLD: readonly (readonly [string, () => Selection])[] = [
  ['tag', () => ({ tag: 'trunk-previous' })],
  ['root hash', () => ({ rootHash: ROOTS()[2]!.rootCatalog })],
  ['date', () => ({ dateSeconds: ROOTS()[2]!.publishedSeconds! })],
];

for (const [what, selection] of OLD) {
  test(`an old revision that is chosen by its ${what} is refused by the blacklist too`, async (t) => {
    // Tags of one second are told apart by their revision.
    const first = what === 'date' ? 4 : 3;
    const newest =
      first === 4 ? [] : [await open(t, { blacklist: `<${published.fqrn} ${first}` }).resolve({})];
    assert.ok(newest.every(({ revision }) => revision === 3));
    const refusing = open(t, { blacklist: `<${published.fqrn} ${first}` });
    await assert.rejects(refusing.resolve(selection()), { code: 'TRUST', message: /the blacklist refuses/ });
    const other = open(t, { blacklist: '<other.example.org 99' });
    assert.ok((await other.resolve(selection())).rootCatalog);
  });
}

test('the root catalog of a pin is looked into only for a blacklist that names the repository', async (t) => {
  const rootHash = ROOTS()[3]!.rootCatalog;
  const pinned = open(t, { keys: [], blacklist: `<${published.fqrn} 3` });
  assert.deepEqual(await pinned.resolve({ rootHash }), {
    rootCatalog: rootHash,
    revision: 3,
    tag: undefined,
  });
  const without = open(t, { keys: [], blacklist: '<other.example.org 3' });
  assert.equal((await without.resolve({ rootHash })).revision, undefined);
  assert.equal(without.servers.counters.requests, 0);
  const missing = 'ab'.repeat(20) as ContentHash;
  await assert.rejects(pinned.resolve({ rootHash: missing }), { code: 'NOT_FOUND' });
});

test('a blacklist that cannot be read is refused, as a key is', (t) => {
  assert.throws(() => open(t, { blacklist: 'no fingerprint' }), { code: 'FORMAT' });
  const folder = join(scratchFolder(t), 'folder');
  mkdirSync(folder);
  const address = { fqrn: published.fqrn, servers: [published.storage], proxies: [] };
  const options = { cacheFolder: undefined, cacheLimitBytes: 1, log: silentLog };
  assert.throws(() => openRepository({ ...address, keyFiles: [], blacklistFiles: [folder] }, options), {
    code: 'NOT_FOUND',
    message: `Cannot read blacklist ${folder}`,
  });
  assert.throws(() => openRepository({ ...address, keyFiles: [folder] }, options), {
    code: 'NOT_FOUND',
    message: `Cannot read key file ${folder}`,
  });
});

test('the whitelist that a manifest was trusted by is known afterwards', async (t) => {
  const repository = open(t, {});
  const names = () => repository.whitelist?.fqrn;
  assert.equal(names(), undefined);
  await repository.fetchManifest();
  assert.equal(names(), published.fqrn);
});
