/** Keys as people handle them: folders of them, passphrases, a master key on a stick, blacklists, warnings. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WHITELIST_PATH } from '../../src/core/whitelist.ts';
import { nodeClock } from '../../src/node/clock.ts';
import { changePassphrase } from '../../src/publish/change-passphrase.ts';
import { loadKeys } from '../../src/publish/keys.ts';
import { isProtected } from '../../src/publish/private-keys.ts';
import { makeWhitelist } from '../../src/publish/whitelist-writer.ts';
import { assertFails } from '../support/cli-failures.ts';
import { fileScope } from '../support/file-scope.ts';
import { FQRN, KeyRepository } from '../support/key-repository.ts';
import { memoryScratch, scratchFolder } from '../support/scratch.ts';
import { type Outcome, type RunOptions, thimble, thimbleJson } from '../support/thimble.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const DAY = 24 * 3600;
const scope = fileScope();
let made: KeyRepository;

before(async () => {
  made = await KeyRepository.create(memoryScratch(scope), {}, nodeClock.unixSeconds());
  await made.publish('one');
});

const copyOf = (t: TestContext) => made.copy(memoryScratch(t));

function run(on: KeyRepository, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return thimble(['--config', on.folder, ...args], options);
}

async function succeed(
  on: KeyRepository,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const outcome = await run(on, args, options);
  assert.equal(outcome.status, 0, outcome.stderr);
  return outcome;
}

function written(on: KeyRepository, name: string, content: string | Uint8Array): string {
  const path = join(on.folder, name);
  writeFileSync(path, content);
  return path;
}

function tree(on: KeyRepository): string {
  const path = join(on.folder, 'tree');
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'a'), String(process.hrtime.bigint()));
  return path;
}

// ---- readers ----

test('--key takes a folder: all keys in it, but for Ed25519 keys of other repositories', async (t) => {
  const on = copyOf(t);
  const folder = join(on.folder, 'keys');
  mkdirSync(folder);
  const log = ['log', on.storage, '--key', folder];
  assertFails(await thimble(log), { code: 'NOT_FOUND', says: /there is no \*\.pub in / });
  copyFileSync(on.paths.publicKey, join(folder, 'a.pub'));
  writeFileSync(join(folder, 'README'), 'no key');
  const strange = await KeyRepository.create(scratchFolder(t));
  copyFileSync(strange.paths.publicKey, join(folder, 'b.pub'));
  copyFileSync(strange.paths.ed25519PublicKey, join(folder, 'other.example.org.ed25519pub'));
  assert.equal((await thimble(log)).status, 0);
  copyFileSync(strange.paths.ed25519PublicKey, join(folder, `${FQRN}.ed25519pub`));
  assertFails(await thimble(log), { code: 'TRUST', says: /none of the 1 given Ed25519 keys signed it/ });
  copyFileSync(on.paths.ed25519PublicKey, join(folder, `${FQRN}.next.ed25519pub`));
  assert.equal((await thimble(log)).status, 0);
});

test('"repo resign" says which file it cannot read or write', async (t) => {
  const on = copyOf(t);
  const none = join(on.folder, 'none');
  const install = await run(on, ['repo', 'resign', FQRN, '--install', none]);
  assertFails(install, { code: 'NOT_FOUND', says: /^Cannot read whitelist .*none/ });
  const sign = ['repo', 'resign', FQRN, '--master-key', on.paths.masterKey];
  const certificate = await run(on, [...sign, '--certificate', none, '--output', join(on.folder, 'w')]);
  assertFails(certificate, { code: 'NOT_FOUND', says: /^Cannot read certificate .*none/ });
  const output = await run(on, [...sign, '--certificate', on.paths.certificate, '--output', join(none, 'w')]);
  assertFails(output, { code: 'STORAGE', says: /^Cannot write .*none\/w/ });
});

test('--blacklist refuses revisions and certificates', async (t) => {
  const on = copyOf(t);
  const list = written(on, 'blacklist', `<${FQRN} 2\n`);
  const failing = await run(on, ['log', FQRN, '--blacklist', list]);
  assertFails(failing, {
    code: 'TRUST',
    says: /Cannot use revision 1 of .*: the blacklist refuses those before 2/,
  });
  writeFileSync(list, 'misspelt');
  assertFails(await run(on, ['tag', 'list', FQRN, '--blacklist', list]), {
    code: 'FORMAT',
    says: /line 1 of the blacklist/,
    hint: /<os\.example\.org 17/,
  });
});

// ---- master key elsewhere ----

test('publishing needs no master key; the whitelist is signed with it from anywhere', async (t) => {
  const on = copyOf(t);
  const stick = join(on.folder, 'stick');
  renameSync(on.paths.masterKey, stick);
  await succeed(on, ['publish', FQRN, tree(on)]);
  await succeed(on, ['tag', 'add', FQRN, 'v1']);
  assertFails(await run(on, ['repo', 'resign', FQRN]), {
    code: 'NOT_FOUND',
    says: /there is no master key/,
    hint: /--master-key/,
  });
  await succeed(on, ['repo', 'resign', FQRN, '--master-key', stick, '--days', '5', '--manifest']);
  await succeed(on, ['log', FQRN]);
  // Where nothing is known of the repository.
  const [output, elsewhere] = [join(on.folder, 'whitelist'), join(on.folder, 'nothing')];
  const args = ['repo', 'resign', FQRN, '--config', elsewhere, '--master-key', stick];
  const signed = await thimbleJson<object>([
    ...args,
    '--certificate',
    on.paths.certificate,
    '--days',
    '7',
    '--output',
    output,
  ]);
  const expires = new Date(Date.now() + 7 * DAY * 1000).toISOString().slice(0, 10);
  assert.deepEqual(signed, { fqrn: FQRN, expires });
  assert.ok(!existsSync(elsewhere));
  const installed = await succeed(on, ['repo', 'resign', FQRN, '--install', output]);
  assert.match(installed.stdout, new RegExp(`valid until ${expires}`));
  assert.deepEqual(readFileSync(join(on.storage, WHITELIST_PATH)), readFileSync(output));
});

const BAD_RESIGN: readonly (readonly string[])[] = [
  ['--output', 'w'],
  ['--certificate', 'c'],
  ['--install', 'w', '--master-key', 'm'],
  ['--install', 'w', '--certificate', 'c', '--output', 'w'],
  ['--output', 'w', '--certificate', 'c'],
  ['--output', 'w', '--certificate', 'c', '--master-key', 'm', '--manifest'],
  ['--days', '0'],
];

for (const args of BAD_RESIGN) {
  test(`"repo resign ${args.join(' ')}" is refused as a whole`, async () => {
    assertFails(await run(made, ['repo', 'resign', FQRN, ...args]), { code: 'USAGE', says: /^Cannot / });
  });
}

// ---- passphrases ----

/** Everything that must never be printed of the keys that are here. */
function secretsOf(on: KeyRepository, passphrase: string): string[] {
  const files = [on.paths.masterKey, on.paths.repositoryKey, on.paths.ed25519Key];
  const lines = files.flatMap((file) => readFileSync(file, 'latin1').split('\n'));
  return [passphrase, ...lines.filter((line) => line.length > 20 && !line.startsWith('-----'))];
}

test('protected keys open with a file, named by option or environment, and tell nobody what is in them', async (t) => {
  const on = copyOf(t);
  const [right, wrong] = [written(on, 'right', 'geheim\nmore\n'), written(on, 'wrong', 'falsch-falsch')];
  changePassphrase(on.place, Buffer.from('geheim'));
  const publish = ['publish', FQRN, tree(on), '--debug'];
  const variable = 'THIMBLE_PASSPHRASE_FILE';
  await succeed(on, publish, { env: { [variable]: right } });
  await succeed(on, ['--passphrase-file', right, ...publish], { env: { [variable]: wrong } });
  const failures = [
    await run(on, publish, { env: { [variable]: wrong } }),
    await run(on, ['repo', 'resign', FQRN, '--debug', '--json', '--passphrase-file', wrong]),
    await run(on, [...publish, '--passphrase-file', join(on.folder, 'none')]),
    await run(on, [...publish, '--passphrase-file', written(on, 'empty', '\n')]),
  ];
  const secrets = [...secretsOf(on, 'geheim'), 'falsch-falsch'];
  for (const { status, stdout, stderr } of failures) {
    assert.ok(status === 2 || status === 3, stderr);
    for (const secret of secrets) assert.ok(!`${stdout}${stderr}`.includes(secret), stderr);
  }
  assert.match(failures[0]!.stderr, /^error: Cannot open key file .*\.key: the passphrase is wrong$/m);
  assert.equal((await run(on, ['log', FQRN])).status, 0, 'readers need no private key');
});

/** In a session of its own there is no terminal. */
function withoutTerminal(on: KeyRepository, args: readonly string[]): string {
  const command = ['-w', process.execPath, MAIN, '--config', on.folder, ...args];
  try {
    execFileSync('setsid', command, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '' },
    });
  } catch (error) {
    return String((error as { stderr: Buffer }).stderr);
  }
  return '';
}

test('protected keys without a passphrase and without a terminal: it says how to give one', (t) => {
  const on = copyOf(t);
  changePassphrase(on.place, Buffer.from('geheim'));
  const stderr = withoutTerminal(on, ['tag', 'add', FQRN, 'v1']);
  assert.match(
    stderr,
    /^error: Cannot open key file .*\.key: there is no terminal to ask for the passphrase/m,
  );
  assert.match(stderr, /^hint: .*--passphrase-file or THIMBLE_PASSPHRASE_FILE/m);
  assert.match(withoutTerminal(on, ['key', 'passphrase', FQRN]), /there is no terminal/);
});

/** Runs a command on a terminal of its own, where somebody answers each question; and what the terminal showed. */
async function onTerminal(
  on: KeyRepository,
  args: readonly string[],
  answers: readonly string[],
): Promise<{ status: number | null; shown: string }> {
  const line = [process.execPath, MAIN, '--config', on.folder, ...args].map((word) => `'${word}'`).join(' ');
  const env = { ...process.env, NODE_OPTIONS: '', SHELL: '/bin/sh' };
  const child = spawn('script', ['-qfec', line, '/dev/null'], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '';
  const left = [...answers];
  child.stdout.setEncoding('latin1').on('data', (part: string) => {
    shown += part;
    // What is typed before somebody asks would be shown by the terminal itself.
    if (part.endsWith(': ')) child.stdin.write(left.shift() ?? '\r');
  });
  const timer = setTimeout(() => child.kill(), 60_000);
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  return { status, shown };
}

test('a passphrase is asked for on the terminal, and not shown', async (t) => {
  const on = copyOf(t);
  const added = await onTerminal(on, ['key', 'passphrase', FQRN], ['gehx\x7feim\r', 'geheim\r']);
  assert.equal(added.status, 0, added.shown);
  assert.ok(isProtected(readFileSync(on.paths.masterKey)));
  const asked = await onTerminal(on, ['tag', 'add', FQRN, 'v1'], ['geheim\r']);
  assert.equal(asked.status, 0, asked.shown);
  assert.match(asked.shown, /Passphrase of .*\.key: /);
  assert.equal(asked.shown.match(/Passphrase/g)!.length, 1, 'once for both keys');
  for (const { shown } of [added, asked]) assert.ok(!/geh|eim/.test(shown), shown);
  assert.equal((await onTerminal(on, ['tag', 'add', FQRN, 'v2'], ['falsch\r'])).status, 2);
  assert.equal((await onTerminal(on, ['tag', 'add', FQRN, 'v2'], ['ge\x03'])).status, 130, 'Ctrl-C');
});

test('a new passphrase has to be typed twice, and not be empty', async (t) => {
  const on = copyOf(t);
  const differ = await onTerminal(on, ['key', 'passphrase', FQRN], ['one\r', 'two\r']);
  assert.match(differ.shown, /the two passphrases differ/);
  const empty = await onTerminal(on, ['key', 'passphrase', FQRN], ['\r']);
  assert.match(empty.shown, /the passphrase is empty/);
  assert.ok(!isProtected(readFileSync(on.paths.masterKey)));
});

test('"key passphrase" adds and removes; "repo create" protects from the beginning', async (t) => {
  const scratch = scratchFolder(t);
  const on = new KeyRepository(scratch);
  const file = written(on, 'passphrase', 'geheim');
  const create = ['repo', 'create', FQRN, '--storage', on.storage, '--no-ed25519', '--passphrase-file', file];
  await succeed(on, create);
  assert.ok(isProtected(readFileSync(on.paths.repositoryKey)));
  assert.ok(!existsSync(on.paths.ed25519Key));
  const removed = await succeed(on, ['key', 'passphrase', FQRN, '--remove', '--passphrase-file', file]);
  assert.match(removed.stdout, /^No passphrase protects .*\.masterkey$/m);
  assert.ok(!isProtected(readFileSync(on.paths.masterKey)));
  const both = ['key', 'passphrase', FQRN, '--remove', '--new-passphrase-file', file];
  assertFails(await run(on, both), { code: 'USAGE', says: /--remove with/ });
});

test('a private key that others may read is not used', async (t) => {
  const on = copyOf(t);
  chmodSync(on.paths.repositoryKey, 0o640);
  const outcome = await run(on, ['publish', FQRN, tree(on)]);
  assertFails(outcome, { code: 'USAGE', says: /others may use it too \(mode 0640\)/, hint: /chmod 600/ });
});

// ---- show, rotate ----

test('"key show" and "key rotate" tell what is there and what comes next', async (t) => {
  const on = copyOf(t);
  const json = <T>(args: readonly string[]) => thimbleJson<T>(['--config', on.folder, ...args]);
  const begun = await json<{ key: string; step: string; done: string[]; next: string }>([
    'key',
    'rotate',
    FQRN,
  ]);
  assert.deepEqual([begun.key, begun.step, begun.done.length], ['repository', 'begin', 3]);
  assert.match(begun.next, /--use$/);
  assertFails(await run(on, ['key', 'rotate', FQRN, '--use']), {
    code: 'CONFLICT',
    says: /caches may hold/,
    hint: /--now/,
  });
  await succeed(on, ['key', 'rotate', FQRN, '--use', '--now']);
  await succeed(on, ['publish', FQRN, tree(on)]);
  await succeed(on, ['key', 'rotate', FQRN, '--finish', '--now']);
  await succeed(on, ['log', FQRN]);
  const shown = await json<{ fqrn: string; files: { path: string; isListed: boolean | null }[] }>([
    'key',
    'show',
    FQRN,
  ]);
  assert.equal(shown.files.length, 6);
  assert.deepEqual(
    shown.files.map(({ isListed }) => isListed),
    [null, null, null, true, null, null],
  );
  const text = (await succeed(on, ['key', 'show', FQRN])).stdout;
  assert.match(text, /0600 {2}private key {2}\S+\.masterkey {2}no passphrase\n/);
  assert.match(text, /certificate .* on the whitelist\n/);
  for (const secret of secretsOf(on, 'no-such-secret')) assert.ok(!text.includes(secret));
});

test('"key rotate" refuses what is no key, and two steps at once', async () => {
  assertFails(await run(made, ['key', 'rotate', FQRN, 'house']), {
    code: 'USAGE',
    says: /rotate key "house"/,
    hint: /repository, master, ed25519/,
  });
  assertFails(await run(made, ['key', 'rotate', FQRN, '--use', '--finish']), {
    code: 'USAGE',
    says: /two steps/,
  });
});

// ---- warnings ----

test('publish and log warn of a whitelist that expires soon, or has; resign of one that is good for long', async (t) => {
  const on = copyOf(t);
  const { masterKey, certificates } = loadKeys(on.place.folder, FQRN);
  const signedBefore = async (days: number) => {
    const clock = { ...nodeClock, unixSeconds: () => nodeClock.unixSeconds() - days * DAY };
    const request = { ...on.place.settings, days: 30 };
    const { bytes } = await makeWhitelist(request, { masterKey, certificates }, { ...on.ports, clock });
    writeFileSync(join(on.storage, WHITELIST_PATH), bytes);
  };
  const warning = new RegExp(
    `^warning: The whitelist of ${FQRN} expires at .*\nhint: .*thimble repo resign ${FQRN}$`,
    'm',
  );
  await signedBefore(20);
  assert.doesNotMatch((await succeed(on, ['log', FQRN])).stderr, /warning/);
  await signedBefore(25);
  assert.match((await succeed(on, ['log', FQRN])).stderr, warning);
  assert.match((await succeed(on, ['publish', FQRN, tree(on)])).stderr, warning);
  const { warning: inJson } = JSON.parse((await succeed(on, ['log', FQRN, '--json'])).stderr);
  assert.match(inJson.message, /expires at/);
  await signedBefore(31);
  assert.match((await succeed(on, ['publish', FQRN, tree(on)])).stderr, /^warning: .* expired at /m);
  assertFails(await run(on, ['log', FQRN]), { code: 'TRUST', says: /expired/ });
  assert.match(
    (await succeed(on, ['repo', 'resign', FQRN, '--days', '90'])).stderr,
    /^warning: .* valid for 90 days/m,
  );
  assert.doesNotMatch((await succeed(on, ['repo', 'resign', FQRN, '--days', '30'])).stderr, /warning/);
  assert.equal(statSync(join(on.storage, WHITELIST_PATH)).mode & 0o777, 0o644);
  rmSync(join(on.storage, WHITELIST_PATH));
  assert.doesNotMatch((await succeed(on, ['publish', FQRN, tree(on)])).stderr, /warning/);
});
