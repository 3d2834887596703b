import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { fileScope } from '../../test/support/file-scope.ts';
import { FQRN } from '../../test/support/publisher-repository.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { importPublicKeys } from '../core/trust.ts';
import { nodeSignatures } from '../node/signatures.ts';
import { keyPaths, oldPath, publicKeyFiles } from './key-paths.ts';
import {
  createKeys,
  loadKeys,
  type RepositoryKeys,
  signManifest,
  signWhitelist,
  withEd25519,
} from './keys.ts';
import { isProtected } from './private-keys.ts';

const NOW = 1_750_000_000;
const scope = fileScope();
let template: string;

before(async () => {
  template = scratchFolder(scope);
  await createKeys(template, FQRN, NOW);
});

/** Keys as they were made: that takes longer than most tests. */
function copyKeys(folder: string): RepositoryKeys {
  cpSync(template, folder, { recursive: true });
  return loadKeys(folder, FQRN);
}

test('createKeys() writes keys that only their owner reads, and what clients need for everybody', async (t) => {
  const folder = join(scratchFolder(t), 'keys');
  mkdirSync(folder, { mode: 0o755 });
  await createKeys(folder, FQRN, NOW);
  const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
  const paths = keyPaths(folder, FQRN);
  assert.deepEqual([folder, paths.masterKey, paths.repositoryKey, paths.ed25519Key].map(mode), [
    '700',
    '600',
    '600',
    '600',
  ]);
  assert.deepEqual([paths.publicKey, paths.certificate, paths.ed25519PublicKey].map(mode), [
    '644',
    '644',
    '644',
  ]);
  assert.match(readFileSync(paths.masterKey, 'latin1'), /^-----BEGIN RSA PRIVATE KEY-----/);
  assert.match(readFileSync(paths.publicKey, 'latin1'), /^-----BEGIN PUBLIC KEY-----/);
});

test('the certificate carries the repository key and its name, from now on', async (t) => {
  const keys = copyKeys(scratchFolder(t));
  const certificate = new X509Certificate(Buffer.from(keys.certificate));
  assert.equal(certificate.subject, `CN=${FQRN} CernVM-FS Release Managers`);
  assert.ok(certificate.checkPrivateKey(keys.repositoryKey));
  assert.equal(Date.parse(certificate.validFrom) / 1000, NOW);
  assert.ok(Date.parse(certificate.validTo) / 1000 > NOW + 25 * 365 * 24 * 3600);
});

test('signatures are those that clients verify: of manifests with the certificate, of whitelists with the public key', async (t) => {
  const keys = copyKeys(scratchFolder(t));
  const text = Buffer.from('a7c4b1c36123cfdb74417d45b8bf112a0fe397c5');
  const { raw } = new X509Certificate(Buffer.from(keys.certificate));
  const certificateKey = nodeSignatures.importCertificateKey(raw);
  assert.ok(nodeSignatures.verifyRsaSha1(certificateKey, text, signManifest(keys, text)));
  const [masterKey] = importPublicKeys(nodeSignatures, keys.publicKey);
  assert.deepEqual(Buffer.from(nodeSignatures.recoverRsa(masterKey!, signWhitelist(keys, text))!), text);
  assert.equal(nodeSignatures.recoverRsa(certificateKey, signWhitelist(keys, text)), undefined);
});

test('createKeys() overwrites none of its files, and leaves no other behind', async (t) => {
  const folder = scratchFolder(t);
  for (const path of Object.values(keyPaths(folder, FQRN))) {
    writeFileSync(path, 'precious');
    await assert.rejects(createKeys(folder, FQRN, NOW), {
      code: 'CONFLICT',
      message: `Cannot write key file ${path}: it exists`,
    });
    assert.equal(readFileSync(path, 'utf8'), 'precious');
    assert.equal(readdirSync(folder).length, 1);
    rmSync(path);
  }
});

test('createKeys() makes no Ed25519 key where none is wanted', async (t) => {
  const folder = scratchFolder(t);
  const keys = await createKeys(folder, FQRN, NOW, { ed25519: false });
  assert.deepEqual(keys.ed25519Keys, []);
  assert.equal(readdirSync(folder).length, 4);
  assert.deepEqual(withEd25519(keys, ['C1']), ['C1']);
});

test('createKeys() protects all private keys by a passphrase, and loadKeys() opens them with it', async (t) => {
  const folder = scratchFolder(t);
  const made = await createKeys(folder, FQRN, NOW, { passphrase: Buffer.from('geheim') });
  const paths = keyPaths(folder, FQRN);
  for (const path of [paths.masterKey, paths.repositoryKey, paths.ed25519Key]) {
    assert.ok(isProtected(readFileSync(path)), path);
  }
  const loaded = loadKeys(folder, FQRN, () => Buffer.from('geheim'));
  assert.ok(loaded.repositoryKey.equals(made.repositoryKey));
  assert.ok(loaded.masterKey.equals(made.masterKey));
  assert.throws(() => loadKeys(folder, FQRN, () => Buffer.from('falsch')), { code: 'USAGE' });
  assert.throws(() => loadKeys(folder, FQRN), { code: 'USAGE' });
});

test('loadKeys() gives what createKeys() gave', async (t) => {
  const folder = scratchFolder(t);
  const made = await createKeys(folder, FQRN, NOW);
  const loaded = loadKeys(folder, FQRN);
  assert.deepEqual(loaded.certificate, made.certificate);
  assert.deepEqual(loaded.certificates, [made.certificate]);
  assert.ok(loaded.masterKey.equals(made.masterKey));
  assert.ok(loaded.repositoryKey.equals(made.repositoryKey));
  assert.equal(loaded.ed25519Keys.length, 1);
  assert.ok(loaded.ed25519Keys[0]!.equals(made.ed25519Keys[0]!));
});

for (const name of ['repositoryKey', 'certificate', 'publicKey'] as const) {
  test(`loadKeys() names the ${name} file when it is missing`, async (t) => {
    const folder = scratchFolder(t);
    copyKeys(folder);
    const path = keyPaths(folder, FQRN)[name];
    rmSync(path);
    assert.throws(() => loadKeys(folder, FQRN), {
      code: 'NOT_FOUND',
      message: `Cannot read key file ${path}`,
    });
  });
}

test('the master key may be elsewhere until something has to be signed with it', async (t) => {
  const folder = scratchFolder(t);
  copyKeys(folder);
  const { masterKey } = keyPaths(folder, FQRN);
  chmodSync(masterKey, 0o644);
  const keys = loadKeys(folder, FQRN);
  assert.throws(() => keys.masterKey, { code: 'USAGE', hint: /chmod 600/ });
  rmSync(masterKey);
  assert.throws(() => keys.masterKey, {
    code: 'NOT_FOUND',
    message: `Cannot sign the whitelist: there is no master key ${masterKey}`,
    hint: /--master-key/,
  });
});

test('loadKeys() refuses a private key that is none, by name', async (t) => {
  const folder = scratchFolder(t);
  copyKeys(folder);
  const { repositoryKey } = keyPaths(folder, FQRN);
  writeFileSync(repositoryKey, 'no key');
  assert.throws(() => loadKeys(folder, FQRN), {
    code: 'FORMAT',
    message: `Cannot read key file ${repositoryKey}: it is not a private key in PEM`,
  });
});

test('loadKeys() refuses a repository key that no certificate belongs to', async (t) => {
  const [folder, other] = [scratchFolder(t), scratchFolder(t)];
  copyKeys(folder);
  const { certificate, repositoryKey } = keyPaths(folder, FQRN);
  for (const content of [(await createKeys(other, FQRN, NOW)).certificate, 'no certificate']) {
    writeFileSync(certificate, content);
    assert.throws(() => loadKeys(folder, FQRN), {
      code: 'FORMAT',
      message: `Cannot use key file ${repositoryKey}: no certificate belongs to it`,
    });
  }
});

test('in a change of keys all certificates are listed, once each, and the one of the key is used', async (t) => {
  const [folder, other] = [scratchFolder(t), scratchFolder(t)];
  const own = copyKeys(folder);
  const next = await createKeys(other, FQRN, NOW);
  const current = keyPaths(folder, FQRN);
  writeFileSync(oldPath(current.certificate), own.certificate);
  writeFileSync(keyPaths(folder, FQRN, 'next').certificate, next.certificate);
  assert.deepEqual(loadKeys(folder, FQRN).certificates, [own.certificate, next.certificate]);
  // The key was moved, its certificate not yet.
  writeFileSync(current.repositoryKey, readFileSync(keyPaths(other, FQRN).repositoryKey));
  assert.deepEqual(loadKeys(folder, FQRN).certificate, next.certificate);
});

test('readers on this machine go by the public keys of a change of keys too, and not by old ones', async (t) => {
  const folder = scratchFolder(t);
  copyKeys(folder);
  const [current, next] = [keyPaths(folder, FQRN), keyPaths(folder, FQRN, 'next')];
  assert.deepEqual(publicKeyFiles(folder, FQRN), [current.publicKey, current.ed25519PublicKey]);
  for (const path of [next.publicKey, next.ed25519PublicKey, oldPath(current.publicKey)])
    writeFileSync(path, '');
  assert.deepEqual(publicKeyFiles(folder, FQRN), [
    current.publicKey,
    current.ed25519PublicKey,
    next.publicKey,
    next.ed25519PublicKey,
  ]);
});

test('openssl verifies what is signed: the manifest with the certificate, the whitelist, the Ed25519 line', async (t) => {
  const folder = scratchFolder(t);
  const keys = copyKeys(folder);
  const paths = keyPaths(folder, FQRN);
  const text = Buffer.from('a7c4b1c36123cfdb74417d45b8bf112a0fe397c5');
  const file = (name: string, content: Uint8Array) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const repositoryPublic = file(
    'repository.pub',
    openssl('x509', '-in', paths.certificate, '-pubkey', '-noout'),
  );
  const signature = file('signature', signManifest(keys, text));
  const verified = openssl(
    'dgst',
    '-sha1',
    '-verify',
    repositoryPublic,
    '-signature',
    signature,
    file('text', text),
  );
  assert.equal(verified.toString(), 'Verified OK\n');
  const recovered = openssl(
    'pkeyutl',
    '-verifyrecover',
    '-pubin',
    '-inkey',
    paths.publicKey,
    '-in',
    file('whitelist', signWhitelist(keys, text)),
  );
  assert.deepEqual(recovered, text);
  const [, line] = withEd25519(keys, ['Nos.example.org']);
  const message = file('message', Buffer.from('thimble manifest 1\nNos.example.org\n'));
  const ed25519 = file('ed25519', Buffer.from(line!.slice(1), 'base64'));
  const args = ['-verify', '-pubin', '-inkey', paths.ed25519PublicKey, '-rawin', '-in', message];
  assert.match(openssl('pkeyutl', ...args, '-sigfile', ed25519).toString(), /Verified Successfully/);
});
