/** `thimble check`: golden repositories are sound, damage is named and ends with 5, over folders and HTTP alike. */

import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { CheckReport } from '../../src/client/check-repository.ts';
import { publishRepository } from '../support/client-repository.ts';
import { fileScope } from '../support/file-scope.ts';
import { fixtureManifest, fixturePath, unpackFixture } from '../support/fixtures.ts';
import { noise } from '../support/memory-tree.ts';
import { memoryScratch, scratchFolder } from '../support/scratch.ts';
import { objectsOf } from '../support/storage-place.ts';
import { startThimble, thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, symlink } from '../support/trees.ts';

const scope = fileScope();
const scratch = memoryScratch(scope);
const published = await publishRepository(scope);
await published.publish(
  dir({
    hello: file('hello\n'),
    link: symlink('hello'),
    usr: dir({ '.cvmfscatalog': file(''), noise: file(noise(5000)) }),
  }),
  'v1',
);
const { storage } = published;
const KEY = join(scratch, 'key.pub');
writeFileSync(KEY, published.publicKey);
const ARGS = ['check', storage, '--key', KEY];
const NOISE = objectsOf(storage).find((path) => readFileSync(join(storage, path)).length > 4000)!;

const report = (args: readonly string[]) => thimbleJson<CheckReport>([...ARGS, ...args]);

/** What a check that finds something prints, which ends with 5. */
async function found(args: readonly string[]): Promise<CheckReport> {
  const { status, stdout, stderr } = await thimble([...args, '--json']);
  assert.equal(status, 5, stderr);
  return JSON.parse(stdout) as CheckReport;
}

async function whileDamaged<T>(damage: (file: string) => void, look: () => Promise<T>): Promise<T> {
  const object = join(storage, NOISE);
  const sound = readFileSync(object);
  try {
    damage(object);
    return await look();
  } finally {
    writeFileSync(object, sound);
  }
}

for (const name of ['basic', 'history', 'shake128']) {
  test(`"check --data --all-tags" finds nothing wrong in ${name}, written by the reference`, async (t) => {
    const { fqrn, root_hash } = fixtureManifest(name);
    const folder = unpackFixture(name, scratchFolder(t));
    const key = fixturePath(join(name, `${fqrn}.pub`));
    const result = await thimbleJson<CheckReport>(['check', folder, '--key', key, '--data', '--all-tags']);
    assert.deepEqual([result.findings, result.complete, result.rootHash], [[], true, root_hash]);
    assert.ok(result.objects > 10 && result.bytes > 10_000);
  });
}

for (const name of ['repo-sha1', 'repo-shake128', 'repo-reference']) {
  test(`"check --data" finds nothing wrong in ${name}`, async (t) => {
    const here = scratchFolder(t);
    const folder = join(here, 'test.example.org');
    renameSync(unpackFixture('format-vectors', here, `${name}.tar.zst`, name), folder);
    const key = fixturePath(`format-vectors/${name}.pub`);
    const { findings } = await thimbleJson<CheckReport>(['check', folder, '--key', key, '--data']);
    assert.deepEqual(findings, []);
  });
}

test('"check" says what it has seen, and that nothing is wrong', async () => {
  const { status, stdout, stderr } = await thimble(ARGS);
  assert.equal(status, 0, stderr);
  assert.match(
    stdout,
    /^small\.example\.org [0-9a-f]{40}-shake128: 6 entries in 2 catalogs, 3 objects, [0-9.]+ kB: nothing wrong\n$/,
  );
  assert.match(stderr, /^Check small\.example\.org \.\.\.\nCheck small\.example\.org {2}6 entries/);
});

test('"check --json" prints one object of a stable shape', async () => {
  const result = await report(['--data', '--tag', 'v1']);
  assert.deepEqual(Object.keys(result), [
    'fqrn',
    'rootHash',
    'catalogs',
    'entries',
    'objects',
    'bytes',
    'verifiedBefore',
    'findings',
    'findingsTotal',
    'repaired',
    'repairedTotal',
    'notes',
    'complete',
  ]);
  assert.equal(result.fqrn, 'small.example.org');
});

test('"check" by root hash needs no key', async () => {
  const { rootHash } = await report([]);
  const result = await thimbleJson<CheckReport>(['check', storage, '--root-hash', rootHash!]);
  assert.equal(result.entries, 6);
});

test('"check --data" ends with 5 and names an object that was changed; without --data nothing shows', async () => {
  const flip = (object: string) => {
    const bytes = readFileSync(object);
    bytes[2000]! ^= 4;
    writeFileSync(object, bytes);
  };
  await whileDamaged(flip, async () => {
    assert.deepEqual((await report([])).findings, []);
    const { findings, findingsTotal } = await found([...ARGS, '--data']);
    assert.equal(findingsTotal, 1);
    const [{ rule, path, message }] = findings as [CheckReport['findings'][number]];
    assert.deepEqual([rule, path], ['object-content', '/usr/noise']);
    assert.ok(message.startsWith(`${NOISE}: `), message);
    const { status, stdout } = await thimble([...ARGS, '--data']);
    assert.equal(status, 5);
    assert.match(stdout, /^\/usr\/noise: data\/.*\[object-content\] in catalog .*\n.*: 1 findings\n$/);
  });
});

test('"check" ends with 5 for an object that is missing, and with --data for one cut off', async () => {
  const missing = await whileDamaged(rmSync, () => found(ARGS));
  assert.deepEqual(
    missing.findings.map(({ rule }) => rule),
    ['object-missing'],
  );
  const cut = await whileDamaged(
    (object) => truncateSync(object, 1000),
    () => found([...ARGS, '--data']),
  );
  assert.deepEqual(
    cut.findings.map(({ rule }) => rule),
    ['object-content'],
  );
});

test('"check" asks a web server for the objects, and reads them with --data', async (t) => {
  const child = startThimble(['serve', storage, '--host', '127.0.0.1', '--port', '0', '--quiet']);
  t.after(() => child.kill('SIGKILL'));
  const line = await new Promise<string>((resolve) => {
    child.stdout!.once('data', (text: Buffer) => resolve(String(text)));
  });
  const url = /http:\/\/\S+/.exec(line)![0];
  const args = ['check', url, '--key', KEY];
  const local = await report([]);
  for (const more of [[], ['--data']]) {
    assert.deepEqual(await thimbleJson<CheckReport>([...args, ...more]), local);
    const missing = await whileDamaged(rmSync, () => found([...args, ...more]));
    assert.deepEqual(
      missing.findings.map(({ rule }) => rule),
      ['object-missing'],
    );
  }
});

test('"check" ends with 3 where there is no repository, and with 6 without a key', async () => {
  const nothing = await thimble(['check', join(scratch, 'none.example.org'), '--key', KEY]);
  assert.equal(nothing.status, 3, nothing.stderr);
  assert.equal((await thimble(['check', storage, '--config', scratch])).status, 6);
});

test('"check --max-duration" that suffices changes nothing', async () => {
  assert.equal((await report(['--max-duration', '600'])).complete, true);
});

for (const args of [
  ['--max-duration', '0'],
  ['--max-duration', 'soon'],
  ['--all-tags', '--tag', 'v1'],
]) {
  test(`"check ${args.join(' ')}" is refused with 2`, async () => {
    const { status, stderr } = await thimble([...ARGS, ...args]);
    assert.equal(status, 2);
    assert.match(stderr, /^error: Cannot use /);
  });
}
