import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { constants, generateKeyPairSync, privateEncrypt, sign, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
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

test('importPublicKey() refuses what is no key of RSA or Ed25519 with FORMAT', () => {
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

test('importCertificateKey() refuses the certificate of a key that is not of RSA with FORMAT', (t) => {
  const folder = scratchFolder(t);
  const paths = [`${folder}/key`, `${folder}/crt`];
  const subject = ['-x509', '-subj', '/CN=keys.example.org', '-newkey', 'ed25519', '-nodes'];
  execFileSync('openssl', ['req', ...subject, '-keyout', paths[0]!, '-out', paths[1]!], { stdio: 'ignore' });
  const { raw } = new X509Certificate(readFileSync(paths[1]!));
  assert.throws(() => nodeSignatures.importCertificateKey(raw), { code: 'FORMAT' });
});

test('verifyEd25519() accepts what its key signed, and nothing else; test 2 of RFC 8032', () => {
  const hex = (text: string) => Buffer.from(text, 'hex');
  const prefix = hex('302a300506032b6570032100');
  const raw = hex('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c');
  const body = Buffer.concat([prefix, raw]).toString('base64');
  const key = nodeSignatures.importPublicKey(
    `-----BEGIN PUBLIC KEY-----\n${body}\n-----END PUBLIC KEY-----\n`,
  );
  assert.equal(key.kind, 'ed25519-public-key');
  const signature = hex(
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  );
  assert.equal(nodeSignatures.verifyEd25519(key, hex('72'), signature), true);
  assert.equal(nodeSignatures.verifyEd25519(key, hex('73'), signature), false);
  for (const wrong of [
    hex(''),
    signature.subarray(1),
    Buffer.alloc(64),
    Buffer.concat([signature, hex('00')]),
  ]) {
    assert.equal(nodeSignatures.verifyEd25519(key, hex('72'), wrong), false);
  }
  for (const use of [nodeSignatures.verifyRsaSha1, nodeSignatures.recoverRsa]) {
    assert.throws(() => use(key, hex('72'), signature), { code: 'INTERNAL' });
  }
  assert.throws(() => nodeSignatures.verifyEd25519(masterKey, hex('72'), signature), { code: 'INTERNAL' });
});

test('keys of another platform are refused as a bug', () => {
  assert.throws(() => nodeSignatures.verifyRsaSha1({ kind: 'rsa-public-key' }, DATA, DATA), {
    code: 'INTERNAL',
  });
});
