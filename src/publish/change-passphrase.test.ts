import assert from 'node:assert/strict';
import { copyFileSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { before, type TestContext, test } from 'node:test';
import { fileScope } from '../../test/support/file-scope.ts';
import { FQRN, KeyRepository } from '../../test/support/key-repository.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { changePassphrase } from './change-passphrase.ts';
import { oldPath } from './key-paths.ts';
import type { KeyPlace } from './key-place.ts';
import { loadKeys } from './keys.ts';
import { encodePrivateKey, isProtected } from './private-keys.ts';

const [OLD, NEW] = [Buffer.from('old'), Buffer.from('new')];
const scope = fileScope();
let made: KeyRepository;

before(async () => {
  made = await KeyRepository.create(scratchFolder(scope));
});

function placeOf(t: TestContext): KeyRepository & { asking(passphrase: Uint8Array): KeyPlace } {
  const copy = made.copy(scratchFolder(t));
  return Object.assign(copy, {
    asking: (passphrase: Uint8Array) => ({ ...copy.place, ask: () => passphrase }),
  });
}

const protectedFiles = ({ paths }: KeyRepository) =>
  [paths.masterKey, paths.repositoryKey, paths.ed25519Key].filter((path) => isProtected(readFileSync(path)));

test('changePassphrase() adds, changes and removes the passphrase of all private keys', (t) => {
  const on = placeOf(t);
  const all = [on.paths.masterKey, on.paths.repositoryKey, on.paths.ed25519Key];
  assert.deepEqual(changePassphrase(on.place, OLD), all);
  assert.deepEqual(protectedFiles(on), all);
  changePassphrase(on.asking(OLD), NEW);
  assert.throws(() => loadKeys(on.place.folder, FQRN, () => OLD), { code: 'USAGE' });
  const { masterKey } = loadKeys(on.place.folder, FQRN, () => NEW);
  changePassphrase(on.asking(NEW), undefined);
  assert.deepEqual(protectedFiles(on), []);
  assert.ok(loadKeys(on.place.folder, FQRN).masterKey.equals(masterKey));
  for (const path of all) assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(on.place.folder).length, 7);
});

test('changePassphrase() changes nothing with a wrong passphrase, or if any file cannot be used', (t) => {
  const on = placeOf(t);
  // The last file alone has another one.
  const key = loadKeys(on.place.folder, FQRN).ed25519Keys[0]!;
  writeFileSync(on.paths.ed25519Key, encodePrivateKey(key, OLD));
  const before = [on.paths.masterKey, on.paths.repositoryKey].map((path) => readFileSync(path));
  assert.throws(() => changePassphrase(on.asking(Buffer.from('wrong')), NEW), {
    code: 'USAGE',
    message: /passphrase is wrong/,
  });
  assert.deepEqual(
    [on.paths.masterKey, on.paths.repositoryKey].map((path) => readFileSync(path)),
    before,
  );
  writeFileSync(on.paths.ed25519Key, 'no key');
  assert.throws(() => changePassphrase(on.asking(OLD), NEW), { code: 'FORMAT' });
});

test('changePassphrase() can be begun again where it was cut off', (t) => {
  const on = placeOf(t);
  changePassphrase(on.place, OLD);
  const before = readFileSync(on.paths.ed25519Key);
  changePassphrase(on.asking(OLD), NEW);
  // The last file was not reached.
  writeFileSync(on.paths.ed25519Key, before);
  changePassphrase(on.asking(OLD), NEW);
  loadKeys(on.place.folder, FQRN, () => NEW);
});

test('changePassphrase() takes what is here: other keys of a change of keys too, and no master key that is elsewhere', (t) => {
  const on = placeOf(t);
  copyFileSync(on.paths.repositoryKey, on.next.repositoryKey);
  copyFileSync(on.paths.masterKey, oldPath(on.paths.masterKey));
  rmSync(on.paths.masterKey);
  const { repositoryKey, ed25519Key, masterKey } = on.paths;
  const files = [repositoryKey, ed25519Key, on.next.repositoryKey, oldPath(masterKey)];
  assert.deepEqual(changePassphrase(on.place, NEW), files);
  for (const file of files) rmSync(file);
  assert.throws(() => changePassphrase(on.place, NEW), {
    code: 'NOT_FOUND',
    message: `Cannot find a private key in ${on.place.folder}`,
  });
});
