/** What stays and what goes, rule by rule. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  addReference,
  assertSound,
  changeManifest,
  collect,
  DAY,
  neededObjects,
  publishDaily,
  referencesOf,
  revisionsOf,
  rootsOf,
  treeOf,
  withoutHistories,
} from '../../test/support/garbage.ts';
import { assertReadsBack } from '../../test/support/publisher-repository.ts';
import { objectsOf } from '../../test/support/storage-place.ts';
import { objectPath } from '../core/content-hash.ts';
import { REFLOG_PATH } from '../core/reflog.ts';

test('without a grace period, all goes that only older revisions have, and nothing else', async (t) => {
  const repository = await publishDaily(t, 'abcd');
  const before = repository.objects();
  const report = await collect(repository);
  // trunk-previous is a tag.
  const needed = neededObjects(repository.storage);
  assert.deepEqual(revisionsOf(repository), [3, 4]);
  assert.deepEqual(repository.objects(), needed);
  assert.deepEqual(report.revisions, { kept: 2, waiting: 0, deleted: 3 });
  assert.equal(report.deleted.objects, before.length - needed.length);
  const { kinds } = report.deleted;
  assert.deepEqual(
    Object.fromEntries(Object.entries(kinds).map(([name, { objects }]) => [name, objects > 0])),
    { files: true, chunks: true, catalogs: true, histories: true, certificates: false, metainfo: false },
  );
  assert.equal(
    Object.values(kinds).reduce((sum, kind) => sum + kind.bytes, 0),
    report.deleted.bytes,
  );
  assert.equal(report.waiting.objects, 0);
  assert.equal(report.nextSeconds, null);
  assert.deepEqual(referencesOf(repository, 'catalog').sort(), rootsOf(repository, 3, 4).sort());
  await assertSound(repository.storage, repository.publicKey);
  await assertReadsBack(repository, treeOf('d'));
});

test('bytes are those of the files that are gone', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const sizes = () =>
    objectsOf(repository.storage).reduce(
      (sum, path) => sum + readFileSync(join(repository.storage, path)).length,
      0,
    );
  const before = sizes();
  const told = await collect(repository, { dryRun: true });
  assert.equal(sizes(), before);
  const report = await collect(repository);
  assert.equal(report.deleted.bytes, before - sizes());
  assert.deepEqual(told.deleted, report.deleted);
  assert.deepEqual(told.revisions, report.revisions);
});

test('a dry run writes nothing at all', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const seen = () => [repository.objects(), readFileSync(join(repository.storage, REFLOG_PATH))];
  const before = seen();
  const report = await collect(repository, { dryRun: true, graceSeconds: DAY });
  assert.ok(report.dryRun && report.waiting.objects > 0 && report.deleted.objects === 0);
  assert.deepEqual(seen(), before);
  // It did not begin a grace period either.
  repository.clock.seconds += 2 * DAY;
  assert.equal((await collect(repository, { graceSeconds: DAY })).deleted.objects, 0);
});

test('what has expired is deleted by the first run after the grace period, which begins with the run that sees it', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const options = { graceSeconds: 1000 };
  const before = repository.objects();
  const first = await collect(repository, options);
  assert.deepEqual(repository.objects(), before);
  assert.deepEqual(first.revisions, { kept: 2, waiting: 2, deleted: 0 });
  assert.equal(first.nextSeconds, repository.clock.seconds + 1000);
  repository.clock.seconds += 999;
  const second = await collect(repository, options);
  assert.deepEqual(repository.objects(), before);
  assert.deepEqual(second.waiting, first.waiting);
  assert.equal(second.nextSeconds, repository.clock.seconds + 1);
  repository.clock.seconds += 1;
  const third = await collect(repository, options);
  assert.deepEqual(third.deleted, first.waiting);
  assert.deepEqual(repository.objects(), neededObjects(repository.storage));
  assert.equal((await collect(repository, options)).deleted.objects, 0);
});

test('a clock that was ahead when something expired does not keep it for ever', async (t) => {
  const repository = await publishDaily(t, 'abc');
  repository.clock.seconds += 1000 * DAY;
  await collect(repository, { graceSeconds: DAY });
  repository.clock.seconds -= 1000 * DAY;
  assert.equal((await collect(repository, { graceSeconds: DAY })).revisions.waiting, 2);
  repository.clock.seconds += DAY;
  assert.equal((await collect(repository, { graceSeconds: DAY })).revisions.deleted, 2);
});

for (const { what, options, stay } of [
  // Now is day 6: revision 3 was the newest when the last three days began.
  { what: 'nothing else is said', options: { keepRevisions: undefined }, stay: [3, 4, 5] },
  { what: 'of one day', options: { keepRevisions: undefined, keepDays: 1 }, stay: [4, 5] },
  { what: 'of four days', options: { keepRevisions: undefined, keepDays: 4 }, stay: [2, 3, 4, 5] },
  { what: 'of many days', options: { keepRevisions: undefined, keepDays: 99 }, stay: [1, 2, 3, 4, 5] },
  { what: 'two before the newest', options: { keepRevisions: 2 }, stay: [3, 4, 5] },
  { what: 'by both rules, days say more', options: { keepRevisions: 1, keepDays: 4 }, stay: [2, 3, 4, 5] },
  {
    what: 'by both rules, the count says more',
    options: { keepRevisions: 3, keepDays: 1 },
    stay: [2, 3, 4, 5],
  },
]) {
  test(`revisions stay: ${what}`, async (t) => {
    const repository = await publishDaily(t, 'abcde');
    await collect(repository, options);
    assert.deepEqual(revisionsOf(repository), stay);
    const needed = neededObjects(repository.storage, rootsOf(repository, ...stay));
    // Histories of revisions that stay, stay too, and where all do the first revision does.
    const rest = repository.objects().filter((path) => !path.endsWith('H') && !needed.includes(path));
    assert.equal(rest.length, stay.length === 5 ? 1 : 0);
    for (const hash of rootsOf(repository, ...stay)) await repository.read(hash);
  });
}

test('tags keep their snapshots, however old; without the tag they go', async (t) => {
  const repository = await publishDaily(t, 'abcd');
  const [rootHash] = rootsOf(repository, 1);
  await repository.publisher().addTag({ name: 'old', description: '' }, { rootHash });
  await collect(repository);
  assert.deepEqual(revisionsOf(repository), [1, 3, 4]);
  await assertSound(repository.storage, repository.publicKey);
  await repository.publisher().removeTags(['old']);
  await collect(repository);
  assert.deepEqual(revisionsOf(repository), [3, 4]);
  assert.deepEqual(...withoutHistories(repository.objects(), neededObjects(repository.storage)));
});

test('a tag that is added during the grace period saves a snapshot; when it is gone, a new period begins', async (t) => {
  const repository = await publishDaily(t, 'abcd');
  const grace = { graceSeconds: DAY };
  await collect(repository, grace);
  const [rootHash] = rootsOf(repository, 1);
  await repository.publisher().addTag({ name: 'saved', description: '' }, { rootHash });
  repository.clock.seconds += DAY;
  await collect(repository, grace);
  assert.deepEqual(revisionsOf(repository), [1, 3, 4]);
  await repository.publisher().removeTags(['saved']);
  assert.equal((await collect(repository, grace)).revisions.waiting, 1);
  assert.deepEqual(revisionsOf(repository), [1, 3, 4]);
  repository.clock.seconds += DAY;
  await collect(repository, grace);
  assert.deepEqual(revisionsOf(repository), [3, 4]);
});

test('objects that come back into use during the grace period stay: a publish did not store them again', async (t) => {
  const repository = await publishDaily(t, 'abcd');
  await collect(repository, { graceSeconds: DAY });
  const again = await repository.publish(treeOf('a'));
  assert.equal(again.changed, true);
  repository.clock.seconds += DAY;
  const report = await collect(repository, { graceSeconds: DAY });
  assert.ok(report.deleted.objects > 0, 'the rest of what expired is deleted');
  await assertSound(repository.storage, repository.publicKey);
  await assertReadsBack(repository, treeOf('a'));
});

test('what only a snapshot in its grace period has stays with it, when others that share it are deleted', async (t) => {
  const repository = await publishDaily(t, 'aba');
  await repository.publish(treeOf('d'));
  // Revision 1 expires before revision 3, which has the same files.
  await collect(repository, { graceSeconds: DAY, keepRevisions: 2 });
  repository.clock.seconds += DAY;
  await repository.publish(treeOf('e'));
  const report = await collect(repository, { graceSeconds: DAY });
  assert.ok(report.revisions.deleted > 0 && report.revisions.waiting > 0);
  const [, , third] = repository.published;
  assert.ok((await repository.read(third!.rootCatalog)).size > 0);
});

for (const settings of [
  { hashAlgorithm: 'sha1' },
  { hashAlgorithm: 'rmd160' },
  { compression: 'none' },
] as const) {
  test(`it collects repositories with ${JSON.stringify(settings)}`, async (t) => {
    const repository = await publishDaily(t, 'abc', settings);
    await collect(repository);
    assert.deepEqual(repository.objects(), neededObjects(repository.storage));
    await assertSound(repository.storage, repository.publicKey);
  });
}

test('certificates, histories and metainfo go that are older than all revisions that stay, and not in use', async (t) => {
  const repository = await publishDaily(t, 'abcde');
  const oldSeconds = repository.clock.seconds - 4 * DAY;
  const oldOnes = (['certificate', 'metainfo', 'history'] as const).map((type) => ({
    type,
    hash: addReference(repository, type, Buffer.from(`old ${type}`), oldSeconds),
  }));
  const young = addReference(repository, 'certificate', Buffer.from('young'), oldSeconds + DAY);
  const { certificate, metainfo, history } = repository.manifest();
  // Keeps revisions 3 to 5; revision 3 is of three days ago.
  const report = await collect(repository, { keepRevisions: 2 });
  assert.equal(report.deleted.kinds.certificates.objects, 1);
  assert.equal(report.deleted.kinds.metainfo.objects, 1);
  for (const { type, hash } of oldOnes) assert.ok(!referencesOf(repository, type).includes(hash), type);
  // Those in use are the oldest of all.
  assert.deepEqual(referencesOf(repository, 'certificate').sort(), [certificate!, young].sort());
  assert.deepEqual(referencesOf(repository, 'metainfo'), [metainfo]);
  const histories = referencesOf(repository, 'history');
  assert.equal(histories.length, 3);
  assert.ok(histories.includes(history!));
  for (const hash of histories) assert.ok(repository.objects().includes(objectPath(hash, 'H')));
  await assertReadsBack(repository, treeOf('e'));
});

test('a catalog of a publish that ended between reference log and manifest goes, with what only it has', async (t) => {
  const repository = await publishDaily(t, 'ab');
  const manifest = readFileSync(join(repository.storage, '.cvmfspublished'));
  await repository.publish(treeOf('c'));
  writeFileSync(join(repository.storage, '.cvmfspublished'), manifest);
  await collect(repository, { keepRevisions: 9 });
  const needed = neededObjects(repository.storage, referencesOf(repository, 'catalog'));
  assert.deepEqual(...withoutHistories(repository.objects(), needed));
  await assertReadsBack(repository, treeOf('b'));
});

test('second paths of what is deleted are deleted, where the manifest says that there are any', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const [first, , third] = rootsOf(repository, 1, 2, 3);
  const paths = [first, third].map((hash) => join(repository.storage, `.cvmfsalt-${hash}C`));
  for (const path of paths) writeFileSync(path, '');
  await changeManifest(repository, { hasAlternativePaths: true });
  await collect(repository);
  assert.deepEqual(paths.map(existsSync), [false, true]);
});

test('the status file says when, and keeps what others say', async (t) => {
  const repository = await publishDaily(t, 'ab');
  const path = join(repository.storage, '.cvmfs_status.json');
  writeFileSync(path, '{"last_check":"then"}');
  repository.clock.seconds = Date.UTC(2026, 10, 2, 3, 4, 5) / 1000;
  await collect(repository);
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), {
    last_check: 'then',
    last_gc: 'Mon Nov  2 03:04:05 UTC 2026',
  });
});

test('it tells how far it is', async (t) => {
  const repository = await publishDaily(t, 'abc');
  const phases = new Set<string>();
  let catalogs = 0;
  await collect(repository, {
    unreferenced: true,
    onProgress: (state) => {
      phases.add(state.phase);
      catalogs = Math.max(catalogs, state.catalogs);
    },
  });
  assert.deepEqual([...phases], ['reading', 'listing', 'deleting']);
  // Each once: of revisions 0 to 3 the roots, their own nested catalogs, and the shared one.
  assert.equal(catalogs, 4 + 3 + 1);
});
