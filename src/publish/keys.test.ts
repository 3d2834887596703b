import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FQRN } from '../../test/support/publisher-repository.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { importMasterKeys } from '../core/trust.ts';
import { nodeSignatures } from '../node/signatures.ts';
import { createKeys, keyPaths, loadKeys, signManifest, signWhitelist } from './keys.ts';

const NOW = 1_750_000_000;

test('createKeys() writes keys that only their owner reads, and what clients need for everybody', async (t) => {
  const folder = join(scratchFolder(t), 'keys');
  mkdirSync(folder, { mode: 0o755 });
  await createKeys(folder, FQRN, NOW);
  const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);
  const paths = keyPaths(folder, FQRN);
  assert.deepEqual(
    [folder, paths.masterKey, paths.repositoryKey, paths.publicKey, paths.certificate].map(mode),
    ['700', '600', '600', '644', '644'],
  );
  assert.match(readFileSync(paths.masterKey, 'latin1'), /^-----BEGIN RSA PRIVATE KEY-----/);
  assert.match(readFileSync(paths.publicKey, 'latin1'), /^-----BEGIN PUBLIC KEY-----/);
});

test('the certificate carries the repository key and its name, from now on', async (t) => {
  const keys = await createKeys(scratchFolder(t), FQRN, NOW);
  const certificate = new X509Certificate(Buffer.from(keys.certificate));
  assert.equal(certificate.subject, `CN=${FQRN} CernVM-FS Release Managers`);
  assert.ok(certificate.checkPrivateKey(keys.repositoryKey));
  assert.equal(Date.parse(certificate.validFrom) / 1000, NOW);
  assert.ok(Date.parse(certificate.validTo) / 1000 > NOW + 25 * 365 * 24 * 3600);
});

test('signatures are those that clients verify: of manifests with the certificate, of whitelists with the public key', async (t) => {
  const keys = await createKeys(scratchFolder(t), FQRN, NOW);
  const text = Buffer.from('a7c4b1c36123cfdb74417d45b8bf112a0fe397c5');
  const { raw } = new X509Certificate(Buffer.from(keys.certificate));
  const certificateKey = nodeSignatures.importCertificateKey(raw);
  assert.ok(nodeSignatures.verifyRsaSha1(certificateKey, text, signManifest(keys, text)));
  const [masterKey] = importMasterKeys(nodeSignatures, keys.publicKey);
  assert.deepEqual(Buffer.from(nodeSignatures.recoverRsa(masterKey!, signWhitelist(keys, text))!), text);
  assert.equal(nodeSignatures.recoverRsa(certificateKey, signWhitelist(keys, text)), undefined);
});

test('createKeys() overwrites none of the four files, and leaves no other behind', async (t) => {
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

test('loadKeys() gives what createKeys() gave', async (t) => {
  const folder = scratchFolder(t);
  const made = await createKeys(folder, FQRN, NOW);
  const loaded = loadKeys(folder, FQRN);
  assert.deepEqual(loaded.certificate, made.certificate);
  assert.ok(loaded.masterKey.equals(made.masterKey));
  assert.ok(loaded.repositoryKey.equals(made.repositoryKey));
});

for (const name of ['masterKey', 'repositoryKey', 'certificate', 'publicKey'] as const) {
  test(`loadKeys() names the ${name} file when it is missing`, async (t) => {
    const folder = scratchFolder(t);
    await createKeys(folder, FQRN, NOW);
    const path = keyPaths(folder, FQRN)[name];
    rmSync(path);
    assert.throws(() => loadKeys(folder, FQRN), {
      code: 'NOT_FOUND',
      message: `Cannot read key file ${path}`,
    });
  });
}

test('loadKeys() refuses a private key that is none, by name', async (t) => {
  const folder = scratchFolder(t);
  await createKeys(folder, FQRN, NOW);
  const { masterKey } = keyPaths(folder, FQRN);
  chmodSync(masterKey, 0o600);
  writeFileSync(masterKey, 'no key');
  assert.throws(() => loadKeys(folder, FQRN), {
    code: 'FORMAT',
    message: `Cannot read key file ${masterKey}: it is not a private key in PEM`,
  });
});
