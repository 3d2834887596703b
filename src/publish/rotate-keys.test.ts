import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { fileScope } from '../../test/support/file-scope.ts';
import { Caches, FQRN, KeyRepository } from '../../test/support/key-repository.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import { MANIFEST_PATH, parseManifest } from '../core/manifest.ts';
import { parseWhitelist, WHITELIST_PATH } from '../core/whitelist.ts';
import { nodeHashing } from '../node/hashing.ts';
import { takeLock } from '../storage/lock.ts';
import { oldPath } from './key-paths.ts';
import { loadKeys } from './keys.ts';
import { isProtected } from './private-keys.ts';
import { resignManifest } from './resign-manifest.ts';
import {
  OVERLAP_SECONDS,
  type RotatedKey,
  type RotationOptions,
  type RotationStep,
  rotateKey,
} from './rotate-keys.ts';
import { installWhitelist, makeWhitelist } from './whitelist-writer.ts';

const scope = fileScope();
let made: KeyRepository;

before(async () => {
  made = await KeyRepository.create(scratchFolder(scope));
  await made.publish('one');
});

const copyOf = (t: TestContext, from = made) => from.copy(scratchFolder(t));

function rotate(on: KeyRepository, key: RotatedKey, step: RotationStep, options: RotationOptions = {}) {
  return rotateKey(on.place, key, step, on.ports, options);
}

/** Stops a step behind the change of this number, as a power cut would; false if it came to its end before. */
async function cutOff(on: KeyRepository, key: RotatedKey, step: RotationStep, at: number): Promise<boolean> {
  let changes = 0;
  try {
    await rotate(on, key, step, {
      onDone: () => {
        if (++changes === at) throw new Error('power cut');
      },
    });
    return false;
  } catch (error) {
    assert.equal((error as Error).message, 'power cut', String(error));
    return true;
  }
}

/** Keys that clients have during a step, for which nothing may ever be refused. */
type ClientKeys = (on: KeyRepository) => readonly string[];

const FLOWS: Readonly<Record<RotatedKey, readonly (readonly [RotationStep, ClientKeys])[]>> = {
  repository: [
    ['begin', ({ paths }) => [paths.publicKey, paths.ed25519PublicKey]],
    ['use', ({ paths }) => [paths.publicKey, paths.ed25519PublicKey]],
    ['finish', ({ paths }) => [paths.publicKey, paths.ed25519PublicKey]],
  ],
  master: [
    ['begin', () => ['old.pub']],
    // By now every client has both.
    ['use', () => ['old.pub', 'new.pub']],
    ['finish', () => ['new.pub']],
  ],
  ed25519: [
    ['begin', ({ paths }) => [paths.publicKey, 'old.pub']],
    ['finish', ({ paths }) => [paths.publicKey, 'new.pub']],
  ],
};

for (const key of ['repository', 'master', 'ed25519'] as const) {
  test(`clients accept all that caches may hold, wherever a change of the ${key} key is cut off`, async (t) => {
    let template = copyOf(t);
    const inUse = key === 'master' ? 'publicKey' : 'ed25519PublicKey';
    for (const [step, clientKeys] of FLOWS[key]) {
      let changes = 0;
      let complete = 0;
      for (let at = 1; ; at++) {
        const on = copyOf(t, template);
        // The keys that clients were given, which no step here may touch.
        copyFileSync(made.paths[inUse], join(on.folder, 'old.pub'));
        const given = existsSync(on.next[inUse]) ? on.next[inUse] : on.paths[inUse];
        copyFileSync(given, join(on.folder, 'new.pub'));
        const keyFiles = clientKeys(on).map((path) => (path.startsWith('/') ? path : join(on.folder, path)));
        const caches = new Caches(on, OVERLAP_SECONDS);
        const wasCutOff = await cutOff(on, key, step, at);
        await caches.assertAccepted(keyFiles);
        if (!wasCutOff) {
          changes = at - 1;
          template = on;
          break;
        }
        await publishMeanwhile(on);
        await caches.assertAccepted(keyFiles);
        if (await isComplete(on, key, step)) complete = at;
        await on.publish('after');
        assert.ok((await caches.assertAccepted(keyFiles)) > 1);
      }
      assert.ok(changes > 0, step);
      // Nothing but the very last change completes a step without being begun again.
      assert.ok(complete === 0 || complete === changes, `${step}: ${complete} of ${changes}`);
      template.clock.seconds += OVERLAP_SECONDS;
    }
    // Nothing is left of it, and another change can begin.
    assert.deepEqual(
      readdirSync(template.place.folder).filter((name) => /next|old|new|lock/.test(name)),
      [],
    );
    await rotate(template, key, 'begin');
  });
}

/** Goes on with a step that was cut off; true if nothing was left to be done. */
async function isComplete(on: KeyRepository, key: RotatedKey, step: RotationStep): Promise<boolean> {
  try {
    await rotate(on, key, step);
    return false;
  } catch (error) {
    assert.ok(error instanceof ThimbleError && error.code === 'CONFLICT', String(error));
    assert.match(error.message, /there is no (new key|old key|old certificate)$/);
    return true;
  }
}

/** Somebody publishes while a change of keys is cut off: that works, or says how to mend it. */
async function publishMeanwhile(on: KeyRepository): Promise<void> {
  try {
    await on.publish('meanwhile');
  } catch (error) {
    assert.ok(error instanceof ThimbleError && error.code === 'TRUST', String(error));
    assert.match(error.hint ?? '', /thimble repo resign tree\.example\.org --manifest/);
    await resignManifest(on.place, on.ports);
    await on.publish('meanwhile');
  }
}

test('a new repository key replaces the old one, and the whitelist goes along', async (t) => {
  const on = copyOf(t);
  const before = loadKeys(on.place.folder, FQRN);
  const listed = () =>
    parseWhitelist(nodeHashing, readFileSync(join(on.storage, WHITELIST_PATH))).whitelist.fingerprints.length;
  await rotate(on, 'repository', 'begin');
  assert.equal(listed(), 2);
  assert.deepEqual(
    loadKeys(on.place.folder, FQRN).certificate,
    before.certificate,
    'the old one still signs',
  );
  on.clock.seconds += OVERLAP_SECONDS;
  const { revision } = published(on);
  await rotate(on, 'repository', 'use');
  assert.equal(published(on).revision, revision, 'the revision stays');
  assert.notEqual(published(on).certificate, published(made).certificate);
  assert.equal(listed(), 2);
  on.clock.seconds += OVERLAP_SECONDS;
  await rotate(on, 'repository', 'finish');
  assert.equal(listed(), 1);
  const after = loadKeys(on.place.folder, FQRN);
  assert.deepEqual(after.certificates, [after.certificate]);
  assert.notDeepEqual(after.certificate, before.certificate);
  const old = { [MANIFEST_PATH]: readFileSync(join(made.storage, MANIFEST_PATH)) };
  await assert.rejects(on.fetchManifest([on.paths.publicKey], old), {
    code: 'TRUST',
    message: /certificate/,
  });
});

const published = (on: KeyRepository) =>
  parseManifest(nodeHashing, readFileSync(join(on.storage, MANIFEST_PATH))).manifest;

test('steps of the repository key wait until caches have forgotten, unless told not to', async (t) => {
  const on = copyOf(t);
  await rotate(on, 'repository', 'begin');
  on.clock.seconds += OVERLAP_SECONDS - 1;
  await assert.rejects(rotate(on, 'repository', 'use'), {
    code: 'CONFLICT',
    message: /before 20\d\d-.*Z: caches/,
  });
  // Once more signed is not once more begun.
  await rotate(on, 'repository', 'begin');
  on.clock.seconds += 1;
  await rotate(on, 'repository', 'use');
  await assert.rejects(rotate(on, 'repository', 'finish'), { code: 'CONFLICT', hint: /--now/ });
  await rotate(on, 'repository', 'finish', { withoutWaiting: true });
  assert.deepEqual(loadKeys(on.place.folder, FQRN).certificates.length, 1);
});

const OUT_OF_ORDER: readonly (readonly [RotatedKey, readonly RotationStep[], RotationStep, RegExp])[] = [
  ['repository', [], 'use', /thimble key rotate tree\.example\.org repository$/],
  ['repository', [], 'finish', /thimble key rotate tree\.example\.org repository$/],
  ['repository', ['begin'], 'finish', /repository --use$/],
  ['repository', ['begin', 'use'], 'begin', /repository --finish$/],
  ['master', [], 'use', /thimble key rotate tree\.example\.org master$/],
  ['master', [], 'finish', /thimble key rotate tree\.example\.org master$/],
  ['master', ['begin'], 'finish', /master --use$/],
  ['master', ['begin', 'use'], 'begin', /master --finish$/],
  ['master', ['begin', 'use'], 'use', /thimble key rotate tree\.example\.org master$/],
  ['ed25519', [], 'finish', /thimble key rotate tree\.example\.org ed25519$/],
];

for (const [key, done, step, hint] of OUT_OF_ORDER) {
  test(`--${step} of the ${key} key after [${done}] is refused, with the step to take`, async (t) => {
    const on = copyOf(t);
    for (const one of done) await rotate(on, key, one, { withoutWaiting: true });
    await assert.rejects(rotate(on, key, step), { code: 'CONFLICT', hint });
  });
}

test('an Ed25519 key has no second step', async (t) => {
  await assert.rejects(rotate(copyOf(t), 'ed25519', 'use'), { code: 'USAGE', hint: /ed25519 --finish$/ });
});

test('an Ed25519 key that is half replaced has to be finished before another is begun', async (t) => {
  const on = copyOf(t);
  await rotate(on, 'ed25519', 'begin');
  await cutOff(on, 'ed25519', 'finish', 1);
  await assert.rejects(rotate(on, 'ed25519', 'begin'), { code: 'CONFLICT', hint: /ed25519 --finish$/ });
});

test('the new repository key is not used while the whitelist does not have it', async (t) => {
  const on = copyOf(t);
  const whitelist = readFileSync(join(on.storage, WHITELIST_PATH));
  await rotate(on, 'repository', 'begin');
  writeFileSync(join(on.storage, WHITELIST_PATH), whitelist);
  const refused = { code: 'CONFLICT', hint: `thimble repo resign ${FQRN}` };
  await assert.rejects(rotate(on, 'repository', 'use', { withoutWaiting: true }), refused);
  writeFileSync(join(on.storage, WHITELIST_PATH), 'damaged');
  await assert.rejects(rotate(on, 'repository', 'use', { withoutWaiting: true }), refused);
});

test('the old certificate stays while what is published is signed with it', async (t) => {
  const on = copyOf(t);
  const manifest = readFileSync(join(on.storage, MANIFEST_PATH));
  await rotate(on, 'repository', 'begin');
  await rotate(on, 'repository', 'use', { withoutWaiting: true });
  writeFileSync(join(on.storage, MANIFEST_PATH), manifest);
  const finish = () => rotate(on, 'repository', 'finish', { withoutWaiting: true });
  await assert.rejects(finish(), { code: 'CONFLICT', hint: /repository --use$/ });
  rmSync(join(on.storage, MANIFEST_PATH));
  await assert.rejects(finish(), { code: 'CONFLICT' });
  writeFileSync(join(on.storage, MANIFEST_PATH), manifest);
  await rotate(on, 'repository', 'use');
  await finish();
});

test('a publisher that loaded the old key before it was replaced does nothing wrong', async (t) => {
  const on = copyOf(t);
  await rotate(on, 'repository', 'begin');
  const release = takeLock(join(on.place.folder, 'publish.lock'), FQRN);
  for (const step of ['use', 'finish'] as const) {
    await assert.rejects(rotate(on, 'repository', step, { withoutWaiting: true }), {
      code: 'CONFLICT',
      message: /is changing it/,
    });
  }
  release();
  assert.ok(existsSync(on.next.repositoryKey));
});

test('two changes of keys at a time are refused', async (t) => {
  const on = copyOf(t);
  const release = takeLock(join(on.place.folder, 'keys.lock'), 'keys');
  await assert.rejects(rotate(on, 'master', 'begin'), { code: 'CONFLICT' });
  release();
  await rotate(on, 'master', 'begin');
});

test('a repository without an Ed25519 key gets one, and older clients do not notice', async (t) => {
  const on = copyOf(t);
  const keys = [on.paths.publicKey, on.paths.ed25519PublicKey];
  for (const path of [on.paths.ed25519Key, on.paths.ed25519PublicKey]) rmSync(path);
  await on.publish('without');
  await rotate(on, 'ed25519', 'begin');
  for (const keyFiles of [keys, keys.slice(0, 1)])
    assert.equal((await on.fetchManifest(keyFiles)).revision, 2);
  await on.publish('with');
  assert.equal((await on.fetchManifest(keys)).revision, 3);
});

test('a publisher with an Ed25519 key does not go on from a manifest that lacks its signature', async (t) => {
  const on = copyOf(t);
  rmSync(on.paths.ed25519Key);
  await on.publish('without');
  copyFileSync(made.paths.ed25519Key, on.paths.ed25519Key);
  await assert.rejects(on.publish('more'), { code: 'TRUST', hint: /thimble repo resign .* --manifest/ });
  await resignManifest(on.place, on.ports);
  await on.publish('more');
  assert.equal((await on.fetchManifest([on.paths.publicKey, on.paths.ed25519PublicKey])).revision, 3);
});

test('the master key need not be here: the whitelist is signed where it is, and installed', async (t) => {
  const on = copyOf(t);
  const stick = join(scratchFolder(t), 'masterkey');
  renameSync(on.paths.masterKey, stick);
  await on.publish('two');
  const noMaster = { code: 'NOT_FOUND', hint: /--master-key/ };
  await assert.rejects(rotate(on, 'repository', 'begin'), noMaster);
  // The new pair is there; what is missing is the whitelist.
  const { masterKey } = loadKeys(made.place.folder, FQRN);
  const certificates = [on.paths.certificate, on.next.certificate].map((path) => readFileSync(path));
  const { bytes } = await makeWhitelist(
    { ...on.place.settings, days: 30 },
    { masterKey, certificates },
    on.ports,
  );
  on.clock.seconds += 10 * OVERLAP_SECONDS;
  await installWhitelist(on.place, bytes, on.ports);
  await assert.rejects(
    rotate(on, 'repository', 'use'),
    { code: 'CONFLICT', message: /caches/ },
    'waits from now on',
  );
  on.clock.seconds += OVERLAP_SECONDS;
  await rotate(on, 'repository', 'use');
  on.clock.seconds += OVERLAP_SECONDS;
  await assert.rejects(rotate(on, 'repository', 'finish'), noMaster);
  await rotate(on, 'repository', 'finish', { masterKeyFile: stick });
  await on.fetchManifest([on.paths.publicKey]);
});

test('a new master key may be kept elsewhere from the beginning', async (t) => {
  const on = copyOf(t);
  await rotate(on, 'master', 'begin');
  const stick = join(scratchFolder(t), 'masterkey');
  renameSync(on.next.masterKey, stick);
  await assert.rejects(rotate(on, 'master', 'use'), { code: 'USAGE', message: /is of another key/ });
  await rotate(on, 'master', 'use', { masterKeyFile: stick });
  assert.ok(existsSync(oldPath(on.paths.masterKey)) && !existsSync(on.paths.masterKey));
  await on.fetchManifest([on.paths.publicKey]);
  await assert.rejects(on.fetchManifest([made.paths.publicKey]), { code: 'TRUST' });
  await rotate(on, 'master', 'finish');
});

test('new keys are protected by the passphrase of the old ones', async (t) => {
  const passphrase = Buffer.from('geheim');
  const on = await KeyRepository.create(scratchFolder(t), { passphrase });
  for (const key of ['repository', 'master', 'ed25519'] as const) await rotate(on, key, 'begin');
  for (const path of [on.next.repositoryKey, on.next.masterKey, on.next.ed25519Key]) {
    assert.ok(isProtected(readFileSync(path)), path);
  }
  await on.publish('two');
  rmSync(on.next.publicKey);
  rmSync(on.paths.masterKey);
  await rotate(on, 'master', 'begin', { passphrase });
  assert.ok(isProtected(readFileSync(on.next.masterKey)), 'there is no old one, but a passphrase');
});
