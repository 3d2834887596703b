import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { fileScope } from '../../test/support/file-scope.ts';
import { FQRN, KeyRepository } from '../../test/support/key-repository.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { WHITELIST_PATH } from '../core/whitelist.ts';
import { loadKeys, type RepositoryKeys } from './keys.ts';
import {
  installWhitelist,
  isListed,
  makeWhitelist,
  readWhitelist,
  resignWhitelist,
} from './whitelist-writer.ts';

const DAY = 24 * 3600;
const scope = fileScope();
let made: KeyRepository;
let strange: KeyRepository;
let keys: RepositoryKeys;

before(async () => {
  made = await KeyRepository.create(scratchFolder(scope));
  strange = await KeyRepository.create(scratchFolder(scope));
  keys = loadKeys(made.place.folder, FQRN);
});

const copyOf = (t: TestContext) => made.copy(scratchFolder(t));

test('resignWhitelist() publishes a whitelist from now on, for the days of the settings or those asked for', async (t) => {
  const on = copyOf(t);
  on.clock.seconds += 29 * DAY;
  for (const days of [undefined, 3]) {
    const whitelist = await resignWhitelist(on.place, { days }, on.ports);
    assert.equal(whitelist.createdSeconds, on.clock.seconds);
    assert.equal(whitelist.expiresSeconds, on.clock.seconds + (days ?? 30) * DAY);
    assert.deepEqual((await readWhitelist(on.place.settings, on.ports))?.whitelist, whitelist);
  }
  on.clock.seconds += 2 * DAY;
  await on.fetchManifest([on.paths.publicKey]);
});

test('resignWhitelist() signs with a master key from anywhere, if clients have its public half', async (t) => {
  const on = copyOf(t);
  const stick = join(scratchFolder(t), 'masterkey');
  renameSync(on.paths.masterKey, stick);
  await assert.rejects(resignWhitelist(on.place, {}, on.ports), { code: 'NOT_FOUND', hint: /--master-key/ });
  await resignWhitelist(on.place, { masterKeyFile: stick }, on.ports);
  await on.fetchManifest([on.paths.publicKey]);
  const before = readFileSync(join(on.storage, WHITELIST_PATH));
  const masterKeyFile = strange.paths.masterKey;
  await assert.rejects(resignWhitelist(on.place, { masterKeyFile }, on.ports), {
    code: 'USAGE',
    message: `Cannot sign with ${masterKeyFile}: it is not the master key of ${FQRN}`,
    hint: `clients have ${on.paths.publicKey}`,
  });
  assert.deepEqual(readFileSync(join(on.storage, WHITELIST_PATH)), before);
  // During a change of keys they have the next one too.
  copyFileSync(strange.paths.publicKey, on.next.publicKey);
  await resignWhitelist(on.place, { masterKeyFile }, on.ports);
});

test('resignWhitelist() replaces a whitelist that is damaged or missing', async (t) => {
  const on = copyOf(t);
  for (const spoil of [(path: string) => writeFileSync(path, 'damaged'), rmSync]) {
    spoil(join(on.storage, WHITELIST_PATH));
    assert.equal(await readWhitelist(on.place.settings, on.ports), undefined);
    await resignWhitelist(on.place, {}, on.ports);
    await on.fetchManifest([on.paths.publicKey]);
  }
});

test('the next certificate is stamped when the whitelist begins to have it, and not again', async (t) => {
  const on = copyOf(t);
  copyFileSync(strange.paths.certificate, on.next.certificate);
  utimesSync(on.next.certificate, 1, 1);
  const stamped = () => statSync(on.next.certificate).mtimeMs / 1000;
  const first = on.clock.seconds;
  await resignWhitelist(on.place, {}, on.ports);
  assert.equal(stamped(), first);
  on.clock.seconds += DAY;
  await resignWhitelist(on.place, {}, on.ports);
  assert.equal(stamped(), first);
});

/** A whitelist as another machine would sign it. */
async function signed(changes: {
  signers?: RepositoryKeys;
  certificates?: Uint8Array[];
  fqrn?: string;
  days?: number;
}) {
  const { signers = keys, certificates = [keys.certificate], fqrn = FQRN, days = 30 } = changes;
  const request = { fqrn: fqrn as typeof FQRN, hashAlgorithm: 'shake128', days } as const;
  return (await makeWhitelist(request, { masterKey: signers.masterKey, certificates }, made.ports)).bytes;
}

test('installWhitelist() publishes what was signed elsewhere', async (t) => {
  const on = copyOf(t);
  rmSync(on.paths.masterKey);
  const bytes = await signed({ days: 7 });
  const { expiresSeconds } = await installWhitelist(on.place, bytes, on.ports);
  assert.equal(expiresSeconds, made.clock.seconds + 7 * DAY);
  assert.deepEqual(readFileSync(join(on.storage, WHITELIST_PATH)), Buffer.from(bytes));
});

const strangers = () => loadKeys(strange.place.folder, FQRN);
const REFUSED: readonly (readonly [why: string, code: string, bytes: () => Promise<Uint8Array>])[] = [
  ['of another master key', 'TRUST', () => signed({ signers: strangers() })],
  ['without the certificate in use', 'TRUST', () => signed({ certificates: [strangers().certificate] })],
  ['of another repository', 'TRUST', () => signed({ fqrn: 'other.example.org' })],
  ['that has expired', 'TRUST', () => signed({ days: -1 })],
  ['that is none', 'FORMAT', async () => Buffer.from('no whitelist')],
];

for (const [why, code, bytes] of REFUSED) {
  test(`installWhitelist() refuses one ${why}, and the old one stays`, async (t) => {
    const on = copyOf(t);
    const before = readFileSync(join(on.storage, WHITELIST_PATH));
    await assert.rejects(installWhitelist(on.place, await bytes(), on.ports), { code });
    assert.deepEqual(readFileSync(join(on.storage, WHITELIST_PATH)), before);
  });
}

test('isListed() knows the certificates of a whitelist', async () => {
  const whitelist = await readWhitelist(made.place.settings, made.ports);
  assert.equal(isListed(made.ports, whitelist, keys.certificate), true);
  assert.equal(isListed(made.ports, whitelist, strangers().certificate), false);
  assert.equal(isListed(made.ports, undefined, keys.certificate), false);
});
