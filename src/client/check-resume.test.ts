/** Checks that stop and go on, night after night. */

import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { openClient } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { rewriteCatalog } from '../../test/support/rewritten-catalog.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { objectsOf, readManifest } from '../../test/support/storage-place.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { nodeHashing } from '../node/hashing.ts';
import { type CheckedObject, type ObjectCheck, PresenceCheck } from './check-objects.ts';
import { type CheckOptions, type CheckReport, checkRepository } from './check-repository.ts';
import { CheckState } from './check-state.ts';

const published = await publishSmallTree(fileScope());
const { storage } = published;
const ROOT = readManifest(storage).rootCatalog;
const KIND = { fqrn: published.fqrn, data: false };

const newState = () => new CheckState(KIND, 1000, nodeHashing);
/** As the next night reads it. */
const saved = (state: CheckState) => CheckState.decode(state.encode(), KIND, nodeHashing);

/** Objects that were asked for are noted. */
function check(
  state: CheckState | undefined,
  options: Partial<CheckOptions> = {},
  asked: CheckedObject[] = [],
): Promise<CheckReport> {
  const { repository, servers } = openClient(published, { retries: { rounds: 1 } });
  const presence = new PresenceCheck(servers, true);
  const objects: ObjectCheck = {
    add: (object, onResult) => {
      asked.push(object);
      return presence.add(object, onResult);
    },
    drain: () => presence.drain(),
    close: () => presence.close(),
  };
  return checkRepository(repository, {
    selection: {},
    hashing: nodeHashing,
    isLocal: true,
    state,
    ...options,
    objects,
  });
}

test('a check that came to its end is not done again', async () => {
  const state = newState();
  const first = await check(state, { allTags: true });
  assert.deepEqual([first.findings, first.complete], [[], true]);
  assert.deepEqual(first.verifiedBefore, { trees: 0, objects: 0 });
  const asked: CheckedObject[] = [];
  const second = await check(saved(state), { allTags: true }, asked);
  assert.deepEqual([second.findings, second.complete, second.catalogs], [[], true, 0]);
  assert.ok(second.verifiedBefore.trees >= 2);
  assert.deepEqual(asked, []);
});

for (const steps of [1, 2, 3, 5, 8]) {
  test(`checks with time for ${steps} steps each get through, and each object is asked for about once`, async () => {
    let state = newState();
    const asked: CheckedObject[] = [];
    let nights = 0;
    for (let complete = false; !complete; nights++) {
      assert.ok(nights < 100, 'it never ends');
      let left = steps + 3;
      ({ complete } = await check(state, { isOver: () => left-- <= 0 }, asked));
      state = saved(state);
    }
    assert.ok(nights > 1, String(nights));
    const unique = new Set(asked.map(({ hash, type }) => hash + type));
    // Requests that were under way when time was over may be repeated.
    assert.equal(unique.size, asked.length);
    const whole: CheckedObject[] = [];
    await check(undefined, {}, whole);
    assert.deepEqual(unique, new Set(whole.map(({ hash, type }) => hash + type)));
  });
}

test('what was bad is looked at again, with all catalogs above it, and nothing else', async () => {
  const path = objectsOf(storage).find((one) => one.endsWith('P'))!;
  const file = join(storage, path);
  const sound = readFileSync(file);
  const state = newState();
  try {
    rmSync(file);
    assert.equal((await check(state)).findings[0]?.rule, 'object-missing');
    const asked: CheckedObject[] = [];
    const again = await check(saved(state), {}, asked);
    assert.equal(again.findings[0]?.rule, 'object-missing');
    assert.equal(asked.length, 1);
    assert.equal(again.verifiedBefore.trees, 1, 'nested catalogs are sound');
  } finally {
    writeFileSync(file, sound);
  }
  assert.deepEqual((await check(saved(state))).findings, []);
});

test('an object that two catalogs name is bad in both', async () => {
  const moved = (database: DatabaseSync) =>
    database.exec("UPDATE catalog SET mtime = mtime + 1 WHERE name = 'a.txt'");
  const other = rewriteCatalog(storage, ROOT, '', moved);
  const path = objectsOf(storage).find((one) => one.endsWith('P'))!;
  const file = join(storage, path);
  const sound = readFileSync(file);
  const state = newState();
  try {
    rmSync(file);
    await check(state, { selection: { rootHash: ROOT } });
    await check(state, { selection: { rootHash: other } });
    for (const rootHash of [ROOT, other]) {
      assert.equal(state.isTreeVerified(rootHash, ''), false);
      assert.equal((await check(state, { selection: { rootHash } })).findings[0]?.rule, 'object-missing');
    }
  } finally {
    writeFileSync(file, sound);
  }
});

for (const [what, mountpoint, sql, rule] of [
  ['a wrong row', '/usr/share', "UPDATE catalog SET hardlinks = 0 WHERE name = 'readme'", 'link-count'],
  [
    'a directory unlike its catalog',
    '/usr',
    "UPDATE catalog SET mode = mode | 2 WHERE name = 'usr'",
    'transition-agreement',
  ],
  [
    'a wrong subtree counter',
    '',
    "UPDATE statistics SET value = value + 1 WHERE counter = 'subtree_dir'",
    'subtree-counters',
  ],
  ['a wrong size of a nested catalog', '', 'UPDATE nested_catalogs SET size = size + 1', 'catalog-size'],
] as const) {
  test(`${what} is found again, and again below what was verified before`, async () => {
    const state = newState();
    assert.deepEqual((await check(state)).findings, []);
    const change = (database: DatabaseSync) => database.exec(sql);
    const rootHash = rewriteCatalog(storage, ROOT, mountpoint, change);
    for (let night = 0; night < 2; night++) {
      const { findings } = await check(saved(state), { selection: { rootHash } });
      assert.deepEqual(
        findings.map((finding) => finding.rule),
        [rule],
      );
    }
  });
}

test('a new catalog above a tree that was verified before is held against it, and only that', async () => {
  const state = newState();
  await check(state);
  const change = (database: DatabaseSync) =>
    database.exec("UPDATE catalog SET mtime = mtime + 1 WHERE name = 'a.txt'");
  const rootHash = rewriteCatalog(storage, ROOT, '', change);
  const asked: CheckedObject[] = [];
  const report = await check(saved(state), { selection: { rootHash } }, asked);
  assert.deepEqual([report.findings, report.verifiedBefore.trees, asked], [[], 1, []]);
  const usr = nestedCatalog(rootHash);
  const sound = readFileSync(usr);
  try {
    rmSync(usr);
    const gone = await check(saved(state), { selection: { rootHash } });
    assert.equal(gone.findings[0]?.rule, 'catalog-object');
  } finally {
    writeFileSync(usr, sound);
  }
});

function nestedCatalog(rootHash: ContentHash): string {
  const reader = CatalogReader.open(inflateSync(readFileSync(join(storage, objectPath(rootHash, 'C')))));
  return join(storage, objectPath(reader.nested[0]!.hash, 'C'));
}
