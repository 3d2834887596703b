import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { inspect } from 'node:util';
import { scratchFolder } from '../../test/support/scratch.ts';
import { messageOf } from '../core/errors.ts';
import {
  encodePrivateKey,
  isProtected,
  KeyOpener,
  type PrivateKeyType,
  readPrivateKeyFile,
  writeKeyFile,
} from './private-keys.ts';

const PASSPHRASE = Buffer.from('correct horse \xc3\xa9', 'latin1');
const KEYS: Readonly<Record<PrivateKeyType, KeyObject>> = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  ed25519: generateKeyPairSync('ed25519').privateKey,
};

function keyFile(t: TestContext, content: string, mode = 0o600): string {
  const path = join(scratchFolder(t), 'a.key');
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
const knows = (passphrase: Uint8Array) => new KeyOpener(() => passphrase);

for (const type of ['rsa', 'ed25519'] as const) {
  test(`a ${type} key is written as OpenSSL reads it, with and without a passphrase`, (t) => {
    const pass = keyFile(t, PASSPHRASE.toString());
    for (const passphrase of [undefined, PASSPHRASE]) {
      const path = keyFile(t, encodePrivateKey(KEYS[type], passphrase));
      const read = openssl('pkey', '-in', path, '-passin', `file:${pass}`);
      assert.ok(createPrivateKey(read).equals(KEYS[type]));
      assert.ok(knows(PASSPHRASE).open(path, type).equals(KEYS[type]));
    }
  });

  for (const [how, args] of [
    ['PBKDF2', ['pkcs8', '-topk8', '-v2', 'aes-256-cbc']],
    ['scrypt', ['pkcs8', '-topk8', '-scrypt']],
    ...(type === 'rsa' ? [['its old form', ['rsa', '-aes256', '-traditional']]] : []),
  ] as [string, string[]][]) {
    test(`a ${type} key that OpenSSL has protected by ${how} is read`, (t) => {
      const plain = keyFile(t, encodePrivateKey(KEYS[type], undefined));
      const pem = openssl(...args, '-in', plain, '-passout', 'pass:geheim');
      assert.ok(isProtected(pem));
      const path = keyFile(t, pem.toString());
      assert.ok(knows(Buffer.from('geheim')).open(path, type).equals(KEYS[type]));
      assert.throws(() => knows(PASSPHRASE).open(path, type), { code: 'USAGE' });
    });
  }
}

test('a protected key is PKCS#8 under scrypt and AES-256, another time with another salt', (t) => {
  const [one, two] = [encodePrivateKey(KEYS.rsa, PASSPHRASE), encodePrivateKey(KEYS.rsa, PASSPHRASE)];
  assert.match(one, /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
  assert.notEqual(one, two);
  const structure = openssl('asn1parse', '-in', keyFile(t, one)).toString();
  for (const name of ['PBES2', 'scrypt', 'aes-256-cbc']) assert.ok(structure.includes(name), name);
});

test('a plain RSA key is PKCS#1, as the reference tools have it', () => {
  assert.match(encodePrivateKey(KEYS.rsa, undefined), /^-----BEGIN RSA PRIVATE KEY-----/);
  assert.match(encodePrivateKey(KEYS.ed25519, undefined), /^-----BEGIN PRIVATE KEY-----/);
});

test('a wrong passphrase is named as such, and neither it nor the key is told', (t) => {
  const pem = encodePrivateKey(KEYS.rsa, PASSPHRASE);
  const path = keyFile(t, pem);
  assert.throws(
    () => knows(Buffer.from('not this one')).open(path, 'rsa'),
    (error: Error & { code: string }) => {
      assert.equal(error.code, 'USAGE');
      assert.equal(messageOf(error), `Cannot open key file ${path}: the passphrase is wrong`);
      const everything = inspect(error, { depth: 9, showHidden: true });
      for (const secret of ['not this one', ...pem.split('\n').slice(1, -2)]) {
        assert.ok(!everything.includes(secret));
      }
      return true;
    },
  );
});

test('a protected key without anybody to ask is refused', (t) => {
  const path = keyFile(t, encodePrivateKey(KEYS.ed25519, PASSPHRASE));
  assert.throws(() => new KeyOpener(undefined).open(path, 'ed25519'), {
    code: 'USAGE',
    message: `Cannot open key file ${path}: it is protected by a passphrase`,
  });
});

test('a passphrase is asked for once where it opens several files, and again where it does not', (t) => {
  const [first, second] = [
    keyFile(t, encodePrivateKey(KEYS.rsa, PASSPHRASE)),
    keyFile(t, encodePrivateKey(KEYS.ed25519, PASSPHRASE)),
  ];
  const third = keyFile(t, encodePrivateKey(KEYS.ed25519, Buffer.from('third')));
  const asked: string[] = [];
  const opener = new KeyOpener((path) => {
    asked.push(path);
    return path === third ? Buffer.from('third') : PASSPHRASE;
  });
  opener.open(first, 'rsa');
  opener.open(second, 'ed25519');
  opener.open(third, 'ed25519');
  assert.deepEqual(asked, [first, third]);
  assert.deepEqual(opener.passphraseOf(second, 'ed25519'), PASSPHRASE);
  assert.equal(opener.passphraseOf(keyFile(t, encodePrivateKey(KEYS.rsa, undefined)), 'rsa'), undefined);
});

for (const mode of [0o640, 0o604, 0o644, 0o620, 0o601, 0o660]) {
  const text = mode.toString(8).padStart(4, '0');
  test(`a private key file of mode ${text} is refused, with the command that mends it`, (t) => {
    const path = keyFile(t, encodePrivateKey(KEYS.ed25519, undefined), mode);
    assert.throws(() => new KeyOpener(undefined).open(path, 'ed25519'), {
      code: 'USAGE',
      message: `Cannot use key file ${path}: others may use it too (mode ${text})`,
      hint: new RegExp(`^chmod 600 ${path}`),
    });
  });
}

test('a private key file of mode 0400 will do', (t) => {
  const path = keyFile(t, encodePrivateKey(KEYS.ed25519, undefined), 0o400);
  assert.ok(new KeyOpener(undefined).open(path, 'ed25519').equals(KEYS.ed25519));
});

test('what is not there, or is a folder, is refused as not found', (t) => {
  const folder = scratchFolder(t);
  chmodSync(folder, 0o700);
  for (const path of [join(folder, 'none'), folder]) {
    assert.throws(() => readPrivateKeyFile(path), {
      code: 'NOT_FOUND',
      message: `Cannot read key file ${path}`,
    });
  }
});

for (const [what, content] of [
  ['empty', ''],
  ['no PEM', 'no key'],
  [
    'a public key',
    generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }) as string,
  ],
] as const) {
  test(`a private key file that is ${what} is refused`, (t) => {
    const path = keyFile(t, content);
    assert.throws(() => new KeyOpener(undefined).open(path, 'rsa'), {
      code: 'FORMAT',
      message: `Cannot read key file ${path}: it is not a private key in PEM`,
    });
  });
}

test('a key of another kind is refused', (t) => {
  const path = keyFile(t, encodePrivateKey(KEYS.ed25519, undefined));
  assert.throws(() => new KeyOpener(undefined).open(path, 'rsa'), {
    code: 'FORMAT',
    message: `Cannot use key file ${path}: rsa expected, it is ed25519`,
  });
});

test('a protected key that was damaged is refused', (t) => {
  const lines = encodePrivateKey(KEYS.rsa, PASSPHRASE).split('\n');
  const path = keyFile(t, lines.toSpliced(10, 1).join('\n'));
  assert.throws(() => knows(PASSPHRASE).open(path, 'rsa'), { code: 'USAGE', hint: /damaged/ });
});

test('writeKeyFile() makes the folder, overwrites nothing unless told to, and leaves nothing else behind', (t) => {
  const folder = join(scratchFolder(t), 'keys');
  const path = join(folder, 'a.key');
  writeKeyFile(path, 'one', 0o600);
  assert.throws(() => writeKeyFile(path, 'two', 0o600), {
    code: 'CONFLICT',
    message: `Cannot write key file ${path}: it exists`,
  });
  assert.equal(readFileSync(path, 'utf8'), 'one');
  writeKeyFile(path, 'three', 0o644, { replace: true });
  assert.equal(readFileSync(path, 'utf8'), 'three');
  assert.deepEqual(readdirSync(folder), ['a.key']);
  const mode = (of: string) => statSync(of).mode & 0o777;
  assert.deepEqual([mode(folder), mode(path)], [0o700, 0o644]);
});

test('writeKeyFile() says which file it could not write', (t) => {
  const folder = join(scratchFolder(t), 'keys');
  writeFileSync(folder, 'a file');
  assert.throws(() => writeKeyFile(join(folder, 'a.key'), '', 0o600), {
    code: 'STORAGE',
    message: `Cannot write key file ${join(folder, 'a.key')}`,
  });
  const taken = join(scratchFolder(t), 'taken');
  mkdirSync(taken);
  assert.throws(() => writeKeyFile(taken, '', 0o600, { replace: true }), { code: 'STORAGE' });
});
