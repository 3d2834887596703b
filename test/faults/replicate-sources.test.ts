/** Replication from sources that lack something, lie, come and go: the replica stays what it was, or becomes what it should. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { OpenOptions, SourceFile } from '../../src/client/network/source.ts';
import { readWhole } from '../../src/client/objects.ts';
import { objectPath } from '../../src/core/content-hash.ts';
import { type ErrorCode, ThimbleError } from '../../src/core/errors.ts';
import { FolderStorage } from '../../src/storage/folder-storage.ts';
import { fixturePath, unpackFixture } from '../support/fixtures.ts';
import { needs } from '../support/needs.ts';
import {
  type Change,
  changedSource,
  faultsOf,
  fileOf,
  nestedTree,
  objectsIn,
  readManifestOf,
  replicableRepository,
  replicate,
} from '../support/replica.ts';
import { memoryScratch, scratchFolder } from '../support/scratch.ts';

async function setUp(t: TestContext) {
  const original = await replicableRepository(t);
  const source = (change?: Change) => ({ sources: [changedSource(original.storage, change)] });
  return { original, folder: `${original.storage}.replica`, source };
}

/** A replica of revision 1, and revision 2 in the original. */
async function setUpUpdate(t: TestContext) {
  const all = await setUp(t);
  await replicate(all.original, all.folder);
  const had = new Set(objectsIn(all.folder));
  await all.original.publish(nestedTree('two'), { tag: { name: 'v2', description: '' } });
  await replicate(all.original, `${all.folder}.complete`);
  const fresh = objectsIn(`${all.folder}.complete`).filter((path) => !had.has(path));
  return { ...all, fresh };
}

function failure(code: ErrorCode, path: string): ThimbleError {
  return new ThimbleError(code, `Cannot get ${path}: scripted`);
}

const failing =
  (code: ErrorCode, ...paths: readonly string[]): Change =>
  (path, open) => {
    if (paths.includes(path)) throw failure(code, path);
    return open();
  };

const isRoot = (folder: string, path: string) => objectPath(readManifestOf(folder).rootCatalog, 'C') === path;

test('whatever object of the head is missing, the replica keeps its snapshot, and is completed later', async (t) => {
  const { original, folder, source, fresh } = await setUpUpdate(t);
  assert.ok(fresh.length >= 8);
  for (const path of fresh) {
    await assert.rejects(replicate(original, folder, source(failing('NOT_FOUND', path))), (error: Error) => {
      assert.ok(error instanceof ThimbleError);
      assert.deepEqual(
        [error.code, String((error.cause ?? error) as Error).includes(path)],
        ['NOT_FOUND', true],
      );
      return true;
    });
    assert.equal(readManifestOf(folder).revision, 1);
    assert.deepEqual(faultsOf(folder), [], path);
    assert.ok(!existsSync(join(folder, path)));
    assert.ok(!existsSync(join(folder, '.cvmfs_is_snapshotting')));
    // As it was, so that each object is missing in its turn.
    for (const one of fresh) rmSync(join(folder, one), { force: true });
  }
  await replicate(original, folder);
  assert.equal(readManifestOf(folder).revision, 2);
  assert.deepEqual(faultsOf(folder), []);
});

test('a server that fails is no server that lacks something: no snapshot is passed over', async (t) => {
  const { original, folder, source } = await setUp(t);
  const first = original.manifest().rootCatalog;
  await original.publish(nestedTree('two'));
  const broken = source(failing('NETWORK', objectPath(first, 'C')));
  await assert.rejects(replicate(original, folder, { ...broken, withTags: true }), { code: 'NETWORK' });
  assert.ok(!existsSync(join(folder, '.cvmfspublished')));
  assert.deepEqual(faultsOf(folder), []);
});

test('a server that fails for a while is asked again', async (t) => {
  const { original, folder, source } = await setUp(t);
  const failures = new Map<string, number>();
  const report = await replicate(
    original,
    folder,
    source((path, open) => {
      const before = failures.get(path) ?? 0;
      failures.set(path, before + 1);
      if (before < 2) throw failure('NETWORK', path);
      return open();
    }),
  );
  assert.equal(report.revision, 1);
  assert.deepEqual(faultsOf(folder), []);
});

for (const what of ['root', 'nested', 'data'] as const) {
  test(`an old tag whose ${what} is gone is passed over and reported`, async (t) => {
    const { original, folder, source } = await setUp(t);
    const first = original.manifest().rootCatalog;
    const old = new Set(original.objects());
    await original.publish(nestedTree('two'), { tag: { name: 'v2', description: '' } });
    await replicate(original, `${folder}.new`);
    const gone = [...old].filter((path) => !existsSync(join(`${folder}.new`, path)));
    const path = {
      root: objectPath(first, 'C'),
      nested: gone.filter((one) => one.endsWith('C') && one !== objectPath(first, 'C'))[0]!,
      data: gone.filter((one) => /[0-9a-f]$/.test(one))[0]!,
    }[what];
    const broken = { ...source(failing('NOT_FOUND', path)), withTags: true };
    const report = await replicate(original, folder, broken);
    assert.deepEqual(
      report.skipped.map(({ rootCatalog }) => rootCatalog),
      [first],
    );
    assert.ok(report.skipped[0]!.tags.includes('v1'));
    assert.ok(report.skipped[0]!.reason.includes(path), report.skipped[0]!.reason);
    assert.ok(!existsSync(join(folder, objectPath(first, 'C'))));
    assert.deepEqual(faultsOf(folder), []);
    assert.equal(readManifestOf(folder).revision, 2);
    // It is there again, and comes.
    const again = await replicate(original, folder, { withTags: true });
    assert.deepEqual(again.skipped, []);
    assert.ok(existsSync(join(folder, objectPath(first, 'C'))));
  });
}

test('a revision that is gone ends the way back, and is reported', async (t) => {
  const { original, folder, source } = await setUp(t);
  const first = original.manifest().rootCatalog;
  await original.publish(nestedTree('two'));
  const broken = source(failing('NOT_FOUND', objectPath(first, 'C')));
  const report = await replicate(original, folder, { ...broken, previousRevisions: 5 });
  assert.equal(report.snapshots, 1);
  assert.deepEqual(
    report.skipped.map(({ rootCatalog }) => rootCatalog),
    [first],
  );
});

test('a source without garbage collection may lack nothing', async (t) => {
  const scratch = scratchFolder(t);
  const storage = unpackFixture('history', scratch);
  const original = { storage, publicKey: fixturePath('history/history.peer.test.pub') };
  assert.equal(readManifestOf(storage).garbageCollectable, false);
  const folder = join(scratch, 'replica');
  await replicate(original, `${folder}.all`, { withTags: true });
  const gone = objectsIn(`${folder}.all`).filter((path) => path.endsWith('C') && !isRoot(storage, path));
  await replicate(original, `${folder}.head`);
  const past = gone.find((path) => !existsSync(join(`${folder}.head`, path)))!;
  rmSync(join(storage, past));
  await assert.rejects(replicate(original, folder, { withTags: true }), { code: 'NOT_FOUND' });
  assert.ok(!existsSync(join(folder, '.cvmfspublished')));
});

// ---- damaged data ----

const DAMAGES: Readonly<Record<string, (bytes: Uint8Array) => Uint8Array>> = {
  'a wrong byte': (bytes) => bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte)),
  'an end too early': (bytes) => bytes.subarray(0, bytes.length - 1),
  'nothing at all': () => new Uint8Array(0),
  'bytes behind the end': (bytes) => Buffer.concat([bytes, Buffer.from('more')]),
  'a page that wants a password': () => Buffer.from('<html>Please log in</html>'),
};

const damaged =
  (
    damage: (bytes: Uint8Array) => Uint8Array,
    isDamaged: (path: string, options: OpenOptions) => boolean,
  ): Change =>
  async (path, open, options): Promise<SourceFile> => {
    const file = await open();
    if (!path.startsWith('data/') || !isDamaged(path, options)) return file;
    const bytes = await readWhole(file, 1e9);
    file.close();
    return fileOf(damage(bytes));
  };

for (const [what, damage] of Object.entries(DAMAGES)) {
  test(`objects with ${what} are asked for again without caches, and never seen`, async (t) => {
    const { original, folder, source } = await setUp(t);
    await replicate(original, folder, source(damaged(damage, (_, { noCache }) => !noCache)));
    assert.deepEqual(faultsOf(folder), []);
    assert.deepEqual(
      objectsIn(folder).filter((path) => readFileSync(join(folder, path)).length === 0),
      [],
    );
  });

  test(`objects with ${what} are taken from another server`, async (t) => {
    const { original, folder } = await setUp(t);
    const bad = changedSource(
      original.storage,
      damaged(damage, () => true),
    );
    await replicate(original, folder, { sources: [bad, changedSource(original.storage)] });
    assert.deepEqual(faultsOf(folder), []);
  });

  test(`an object with ${what} everywhere ends the run, by its name`, async (t) => {
    const { original, folder, source, fresh } = await setUpUpdate(t);
    const path = fresh.find((one) => !/[A-Z]$/.test(one))!;
    await assert.rejects(
      replicate(original, folder, source(damaged(damage, (one) => one === path))),
      (error: ThimbleError) => {
        assert.ok(['INTEGRITY', 'LIMIT'].includes(error.code));
        assert.match(`${error.message} ${(error.cause as Error).message}`, new RegExp(path.slice(8)));
        return true;
      },
    );
    assert.equal(readManifestOf(folder).revision, 1);
    assert.deepEqual(faultsOf(folder), []);
  });
}

test('an object without end is not read to its end', async (t) => {
  const { original, folder, source, fresh } = await setUpUpdate(t);
  const path = fresh.find((one) => !/[A-Z]$/.test(one))!;
  let read = 0;
  const endless: SourceFile = {
    sizeBytes: undefined,
    next: async () => {
      read += 1000;
      return new Uint8Array(1000);
    },
    close: () => {},
  };
  const change: Change = (one, open) => (one === path ? endless : open());
  await assert.rejects(replicate(original, folder, source(change)), { code: 'LIMIT' });
  assert.ok(read < 10_000);
});

// ---- a source that changes ----

test('a source that goes on and drops what is being fetched is followed to its newest snapshot', async (t) => {
  const { original, folder, source } = await setUp(t);
  const root = objectPath(original.manifest().rootCatalog, 'C');
  let isGone = false;
  const change: Change = async (path, open) => {
    if (path === root && !isGone) {
      isGone = true;
      await original.publish(nestedTree('two'));
      rmSync(join(original.storage, root));
    }
    return open();
  };
  const report = await replicate(original, folder, source(change));
  assert.equal(report.revision, 2);
  assert.deepEqual(faultsOf(folder), []);
});

test('a source that never stays the same is given up', async (t) => {
  const { original, folder, source } = await setUp(t);
  let seed = 0;
  const change: Change = async (path, open) => {
    const root = original.manifest().rootCatalog;
    if (path !== objectPath(root, 'C')) return open();
    await original.publish(nestedTree(String(seed++)));
    throw failure('NOT_FOUND', path);
  };
  await assert.rejects(replicate(original, folder, source(change)), { code: 'NOT_FOUND' });
  assert.equal(seed, 4);
});

test('a source that publishes in the middle of a run leaves the replica at one of the two', async (t) => {
  const { original, folder, source } = await setUp(t);
  let isPublished = false;
  const change: Change = async (path, open) => {
    if (path.endsWith('C') && !isPublished) {
      isPublished = true;
      await original.publish(nestedTree('two'));
    }
    return open();
  };
  assert.equal((await replicate(original, folder, source(change))).revision, 1);
  assert.deepEqual(faultsOf(folder), []);
  assert.equal((await replicate(original, folder)).revision, 2);
  assert.deepEqual(faultsOf(folder), []);
});

// ---- the end of a run ----

test('a run that is stopped leaves what it has, and the next one goes on there', async (t) => {
  const { original, folder, source } = await setUp(t);
  const stop = new AbortController();
  let count = 0;
  const change: Change = (path, open) => {
    if (path.startsWith('data/') && ++count === 8) stop.abort();
    return open();
  };
  await assert.rejects(replicate(original, folder, { ...source(change), signal: stop.signal }), {
    code: 'CANCELLED',
  });
  assert.deepEqual(faultsOf(folder), []);
  assert.ok(!existsSync(join(folder, '.cvmfs_is_snapshotting')));
  const had = objectsIn(folder);
  assert.ok(had.length > 0);
  const all = source();
  await replicate(original, folder, all);
  const certificate = objectPath(original.manifest().certificate!, 'X');
  assert.deepEqual(
    all.sources[0]!.asked.filter((path) => had.includes(path) && path !== certificate),
    [],
  );
  assert.deepEqual(faultsOf(folder), []);
});

test('after a run that was killed, files that a power cut has cut short are fetched anew', async (t) => {
  const { original, folder, source } = await setUp(t);
  const root = objectPath(original.manifest().rootCatalog, 'C');
  await assert.rejects(replicate(original, folder, source(failing('NOT_FOUND', root))));
  const cut = objectsIn(folder)[0]!;
  await replicate(original, `${folder}.all`);
  const path = objectsIn(`${folder}.all`).find((one) => !/[A-Z]$/.test(one))!;
  writeFileSync(join(folder, path), readFileSync(join(`${folder}.all`, path)));
  for (const one of [cut, path]) truncateSync(join(folder, one), 3);
  writeFileSync(join(folder, '.cvmfs_is_snapshotting'), 'Sun Nov 22 12:54:10 UTC 2026\n');
  await replicate(original, folder);
  assert.deepEqual(faultsOf(folder), []);
});

test('a catalog that a power cut has cut short is fetched anew, and what is below it looked at', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  const { rootCatalog } = original.manifest();
  const nested = objectsIn(folder).find((one) => one.endsWith('C') && !isRoot(folder, one))!;
  rmSync(join(folder, objectPath(rootCatalog, 'C')));
  truncateSync(join(folder, nested), 0);
  writeFileSync(join(folder, '.cvmfs_is_snapshotting'), '');
  await replicate(original, folder);
  assert.deepEqual(faultsOf(folder), []);
});

class FailingStorage extends FolderStorage {
  override async flush(): Promise<void> {
    throw new ThimbleError('STORAGE', 'Cannot flush: scripted');
  }
}

test('a storage that cannot be made safe gets no catalog, and is looked at closely the next time', async (t) => {
  const { original, folder } = await setUp(t);
  await assert.rejects(replicate(original, folder, { storage: new FailingStorage(folder) }), {
    code: 'STORAGE',
  });
  assert.deepEqual(
    objectsIn(folder).filter((path) => path.endsWith('C')),
    [],
  );
  assert.ok(existsSync(join(folder, '.cvmfs_is_snapshotting')));
  truncateSync(join(folder, objectsIn(folder)[0]!), 1);
  await replicate(original, folder);
  assert.deepEqual(faultsOf(folder), []);
});

test('a disk that is full ends the run; with room, the next one goes on', needs('root'), async (t) => {
  const { original } = await setUp(t);
  const folder = join(memoryScratch(t, '48k'), 'replica');
  // The folders alone take no room there, the objects do.
  await assert.rejects(replicate(original, folder), { code: 'STORAGE', hint: 'the disk is full' });
  assert.deepEqual(faultsOf(folder), []);
  assert.ok(!existsSync(join(folder, '.cvmfspublished')));

  assert.equal(spawnSync('mount', ['-o', 'remount,size=10m', join(folder, '..')]).status, 0);
  await replicate(original, folder);
  assert.deepEqual(faultsOf(folder), []);
});
