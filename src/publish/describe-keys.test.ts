import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { fileScope } from '../../test/support/file-scope.ts';
import { FQRN, KeyRepository } from '../../test/support/key-repository.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { WHITELIST_PATH } from '../core/whitelist.ts';
import { changePassphrase } from './change-passphrase.ts';
import { describeKeys } from './describe-keys.ts';
import { rotateKey } from './rotate-keys.ts';

const scope = fileScope();
let made: KeyRepository;

before(async () => {
  made = await KeyRepository.create(scratchFolder(scope));
});

const copyOf = (t: TestContext) => made.copy(scratchFolder(t));

test('describeKeys() tells of every file what it is, and nothing that is secret', async (t) => {
  const on = copyOf(t);
  const { fqrn, folder, files, whitelist } = await describeKeys(on.place, on.ports);
  assert.deepEqual([fqrn, folder], [FQRN, on.place.folder]);
  assert.deepEqual(
    files.map(({ path, kind, mode, isProtected, isListed, problem }) => [
      basename(path),
      kind,
      mode,
      isProtected,
      isListed,
      problem,
    ]),
    [
      [`${FQRN}.masterkey`, 'private key', '0600', false, null, null],
      [`${FQRN}.pub`, 'public key', '0644', null, null, null],
      [`${FQRN}.key`, 'private key', '0600', false, null, null],
      [`${FQRN}.crt`, 'certificate', '0644', null, true, null],
      [`${FQRN}.ed25519`, 'private key', '0600', false, null, null],
      [`${FQRN}.ed25519pub`, 'public key', '0644', null, null, null],
    ],
  );
  assert.deepEqual(whitelist, {
    createdSeconds: on.clock.seconds,
    expiresSeconds: on.clock.seconds + 30 * 24 * 3600,
    fingerprints: [files[3]!.fingerprint],
  });
  const der = execFileSync('openssl', ['pkey', '-pubin', '-in', on.paths.publicKey, '-outform', 'DER']);
  const digest = createHash('sha256').update(der).digest('base64').replace('=', '');
  assert.equal(files[1]!.fingerprint, `SHA256:${digest}`);
});

test('describeKeys() tells what a change of keys has left for its next step', async (t) => {
  const on = copyOf(t);
  await rotateKey(on.place, 'repository', 'begin', on.ports);
  const listed = async () =>
    (await describeKeys(on.place, on.ports)).files
      .filter(({ kind }) => kind === 'certificate')
      .map(({ path, isListed }) => [basename(path), isListed]);
  assert.deepEqual(await listed(), [
    [`${FQRN}.crt`, true],
    [`${FQRN}.next.crt`, true],
  ]);
  rmSync(join(on.storage, WHITELIST_PATH));
  assert.deepEqual((await listed())[0], [`${FQRN}.crt`, false]);
  assert.equal((await describeKeys(on.place, on.ports)).whitelist, null);
});

test('describeKeys() needs no passphrase, and names files that cannot be used', async (t) => {
  const on = copyOf(t);
  changePassphrase(on.place, Buffer.from('geheim'));
  chmodSync(on.paths.repositoryKey, 0o640);
  writeFileSync(on.paths.certificate, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
  writeFileSync(on.paths.publicKey, 'no key');
  const { files } = await describeKeys(on.place, on.ports);
  assert.equal(files[0]!.isProtected, true);
  assert.match(files[2]!.problem ?? '', /chmod 600/);
  assert.equal(files[2]!.mode, '0640');
  assert.ok(files[1]!.problem !== null && files[3]!.problem !== null);
});
