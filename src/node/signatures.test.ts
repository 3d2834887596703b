import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, privateEncrypt, sign, X509Certificate } from 'node:crypto';
import { before, test } from 'node:test';
import { fileScope } from '../../test/support/file-scope.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { parseFqrn } from '../core/fqrn.ts';
import type { PublicKey } from '../core/ports.ts';
import { createKeys, type RepositoryKeys } from '../publish/keys.ts';
import { nodeSignatures } from './signatures.ts';

const DATA = Buffer.from('0123456789abcdef0123456789abcdef01234567');
const scope = fileScope();
let keys: RepositoryKeys;
let masterKey: PublicKey;

before(async () => {
  keys = await createKeys(scratchFolder(scope), parseFqrn('keys.example.org'), 1_700_000_000);
  masterKey = nodeSignatures.importPublicKey(Buffer.from(keys.publicKey).toString());
});

test('verifyRsaSha1() accepts what the key of the certificate signed, and nothing else', () => {
  const der = new X509Certificate(keys.certificate).raw;
  const key = nodeSignatures.importCertificateKey(der);
  const signature = sign('RSA-SHA1', DATA, keys.repositoryKey);
  assert.equal(nodeSignatures.verifyRsaSha1(key, DATA, signature), true);
  assert.equal(nodeSignatures.verifyRsaSha1(key, DATA.subarray(1), signature), false);
  assert.equal(nodeSignatures.verifyRsaSha1(masterKey, DATA, signature), false);
  assert.equal(nodeSignatures.verifyRsaSha1(key, DATA, sign('RSA-SHA256', DATA, keys.repositoryKey)), false);
  for (const damaged of [Buffer.alloc(0), signature.subarray(1), Buffer.alloc(256), Buffer.alloc(1_000, 1)]) {
    assert.equal(nodeSignatures.verifyRsaSha1(key, DATA, damaged), false);
  }
});

test('recoverRsa() gives back what the master key signed, and undefined for anything else', () => {
  const signature = privateEncrypt({ key: keys.masterKey, padding: constants.RSA_PKCS1_PADDING }, DATA);
  assert.ok(DATA.equals(nodeSignatures.recoverRsa(masterKey, signature)!));
  const foreign = privateEncrypt({ key: keys.repositoryKey, padding: constants.RSA_PKCS1_PADDING }, DATA);
  for (const wrong of [
    foreign,
    Buffer.alloc(0),
    signature.subarray(1),
    Buffer.alloc(256),
    Buffer.alloc(999, 1),
  ]) {
    assert.equal(nodeSignatures.recoverRsa(masterKey, wrong), undefined);
  }
});

test('importPublicKey() refuses what is no key of RSA with FORMAT', () => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
  const pem = ec.export({ type: 'spki', format: 'pem' }) as string;
  for (const text of ['', 'no key', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n', pem]) {
    assert.throws(() => nodeSignatures.importPublicKey(text), { code: 'FORMAT' });
  }
});

test('importCertificateKey() refuses what is no certificate with FORMAT', () => {
  const der = new X509Certificate(keys.certificate).raw;
  for (const bytes of [Buffer.alloc(0), Buffer.from('no certificate'), der.subarray(0, 100)]) {
    assert.throws(() => nodeSignatures.importCertificateKey(bytes), { code: 'FORMAT' });
  }
});

test('keys of another platform are refused as a bug', () => {
  assert.throws(() => nodeSignatures.verifyRsaSha1({ kind: 'rsa-public-key' }, DATA, DATA), {
    code: 'INTERNAL',
  });
});
