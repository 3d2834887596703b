/** `thimble check` that repairs, that goes on from night to night, and that lists what nobody needs. */

import assert from 'node:assert/strict';
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { CheckReport } from '../../src/client/check-repository.ts';
import { CliRepository } from '../support/cli-repository.ts';
import { fileScope } from '../support/file-scope.ts';
import { noise } from '../support/memory-tree.ts';
import { memoryScratch } from '../support/scratch.ts';
import { objectsOf } from '../support/storage-place.ts';
import { thimble } from '../support/thimble.ts';

const scratch = memoryScratch(fileScope());
const repository = await CliRepository.create(scratch);
const source = join(scratch, 'source.txt');
writeFileSync(source, noise(5000));
const tree = join(scratch, 'tree');
cpSync(source, join(tree, 'noise'));
await repository.publish(tree, ['--tag', 'v1']);
const { storage } = repository;
const { FQRN } = CliRepository;
const replica = join(scratch, 'replica', FQRN);
cpSync(storage, replica, { recursive: true });
const config = ['--config', join(scratch, 'config')];
const NOISE = objectsOf(storage).find((path) => readFileSync(join(storage, path)).length > 4000)!;

async function check(args: readonly string[], name: string = FQRN) {
  const { status, stdout, stderr } = await thimble([...config, '--json', 'check', name, ...args]);
  assert.ok(status === 0 || status === 5, stderr);
  return { status, report: JSON.parse(stdout) as CheckReport };
}

function damage(): void {
  const bytes = readFileSync(join(replica, NOISE));
  bytes[100]! ^= 1;
  writeFileSync(join(storage, NOISE), bytes);
}

test('"check --repair-from" looks first, then brings what is damaged from a replica, over HTTP too', async () => {
  const served = await repository.serve();
  try {
    damage();
    const dry = await check(['--data', '--repair-from', replica, '--dry-run']);
    assert.deepEqual([dry.status, dry.report.findingsTotal, dry.report.repairedTotal], [5, 1, 1]);
    for (const [from, name] of [
      [replica, FQRN],
      [replica, storage],
    ] as const) {
      damage();
      const key = name === FQRN ? [] : ['--key', repository.key];
      const { status, report } = await check(['--data', '--repair-from', from, ...key], name);
      assert.deepEqual([status, report.findingsTotal, report.repairedTotal], [0, 0, 1]);
      assert.equal(report.repaired[0]?.path, '/noise');
      assert.deepEqual(readFileSync(join(storage, NOISE)), readFileSync(join(replica, NOISE)));
    }
    // The storage repairs itself: what it serves is as damaged.
    damage();
    const { status, report } = await check(['--data', '--repair-from', served.url]);
    assert.deepEqual([status, report.repairedTotal], [5, 0]);
    assert.match(report.findings[0]!.message, /; not repaired: .* is damaged/);
  } finally {
    await served.stop();
    cpSync(join(replica, NOISE), join(storage, NOISE));
  }
});

test('"check --repair-from" says in words what it did', async () => {
  rmSync(join(storage, NOISE));
  const { status, stdout } = await thimble([...config, 'check', FQRN, '--repair-from', replica]);
  assert.equal(status, 0);
  assert.match(
    stdout,
    /^repaired: \/noise: .*; repaired from .*replica.* \[object-missing\] in catalog .*\n/,
  );
  assert.match(stdout, /: nothing wrong; 1 repaired\n$/);
});

test('"check --state" passes over what was verified, until it is too old', async () => {
  const state = join(scratch, 'state');
  const first = await check(['--data', '--state', state]);
  assert.deepEqual([first.report.complete, first.report.catalogs > 0], [true, true]);
  assert.ok(existsSync(state));
  const second = await check(['--data', '--state', state]);
  assert.equal(second.report.catalogs, 0);
  assert.ok(second.report.verifiedBefore.trees > 0);
  const anew = await check(['--data', '--state', state, '--state-age', '0']);
  // Within the same second, nothing is older than that.
  assert.ok(anew.report.catalogs >= 0);
  const { status, stderr } = await thimble([...config, 'check', FQRN, '--state', state]);
  assert.equal(status, 2);
  assert.match(stderr, /of a check of test\.example\.org with --data\n.*name another file/s);
  const { stdout } = await thimble([...config, 'check', FQRN, '--data', '--state', state]);
  assert.match(stdout, /: nothing wrong; verified before: \d+ trees of catalogs, and \d+ objects\n$/);
});

test('"check --unreferenced" lists what nothing names', async () => {
  const path = `data/00/${'1'.repeat(38)}`;
  writeFileSync(join(storage, path), 'garbage');
  try {
    const { status, report } = await check(['--unreferenced']);
    assert.equal(status, 0);
    const { objects, bytes, paths } = report.unreferenced!;
    assert.ok(paths.includes(path) && objects === paths.length && bytes >= 7, JSON.stringify(paths));
    const { stdout } = await thimble([...config, 'check', FQRN, '--unreferenced']);
    assert.ok(stdout.startsWith(`unreferenced: ${path}\n`), stdout);
    assert.match(stdout, new RegExp(`\nunreferenced: ${objects} objects, ${bytes} B\n`));
  } finally {
    rmSync(join(storage, path));
  }
});

for (const [args, message] of [
  [['--dry-run'], 'Cannot use --dry-run without --repair-from'],
  [['--unreferenced', '--tag', 'v1'], 'Cannot use --unreferenced with --tag'],
  [['--unreferenced', '--state', 'x'], 'Cannot use --unreferenced with --state'],
  [['--unreferenced', '--max-duration', '5'], 'Cannot use --unreferenced with --state or --max-duration'],
  [['--state-age', 'long'], 'Cannot use "long" as a number of days'],
  [['--server', 'http://127.0.0.1:1/cvmfs/x.y', '--unreferenced'], 'Cannot list the files of'],
  [['--server', 'http://127.0.0.1:1/cvmfs/x.y', '--repair-from', 'x'], 'Cannot repair test.example.org'],
] as const) {
  test(`"check ${args.join(' ')}" is refused with 2`, async () => {
    const { status, stderr } = await thimble([...config, 'check', FQRN, ...args]);
    assert.equal(status, 2, stderr);
    assert.ok(stderr.includes(message), stderr);
  });
}
