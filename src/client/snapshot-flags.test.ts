/** What flags of rows do to reading: hidden entries, bind mount points, direct I/O, and what nobody knows yet. */

import assert from 'node:assert/strict';
import { readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, type TestContext, test } from 'node:test';
import { openClient } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { fixturePath, unpackFixture } from '../../test/support/fixtures.ts';
import { rewriteCatalog } from '../../test/support/rewritten-catalog.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { readManifest } from '../../test/support/storage-place.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { parseFqrn } from '../core/fqrn.ts';
import { nodeHashing } from '../node/hashing.ts';
import { MountedSnapshot } from './mounted-snapshot.ts';
import { SnapshotReader } from './snapshot-reader.ts';
import { listDirectory, readFileContent, rootOf, type WalkOptions, walkSnapshot } from './walk.ts';

const published = await publishSmallTree(fileScope());

/** Of the reference: revision 3, with two tags in `/.cvmfs/snapshots`. */
async function openReference(t: TestContext) {
  const here = scratchFolder(t);
  const storage = join(here, 'test.example.org');
  renameSync(unpackFixture('format-vectors', here, 'repo-reference.tar.zst', 'repo-reference'), storage);
  const publicKey = readFileSync(fixturePath('format-vectors/repo-reference.pub'));
  const published = { fqrn: parseFqrn('test.example.org'), storage, publicKey };
  const { repository, objects } = openClient(published, { retries: { rounds: 1 } });
  const snapshot = await repository.resolve({});
  const mounted = await MountedSnapshot.open(snapshot, objects, { hashing: nodeHashing });
  return { storage, mounted, reader: new SnapshotReader(mounted) };
}

async function pathsOf(mounted: MountedSnapshot, options: WalkOptions): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of walkSnapshot(mounted, undefined, options)) paths.push(path);
  return paths;
}

const SNAPSHOTS = '/.cvmfs/snapshots';

describe('hidden entries', () => {
  test('are found by name, and not listed', async (t) => {
    const { mounted, reader } = await openReference(t);
    const listed = await listDirectory(mounted, rootOf(mounted));
    assert.ok(listed.length > 0 && listed.every(({ path }) => path !== '/.cvmfs'));
    assert.ok((await reader.find('/.cvmfs')) !== undefined);
    assert.deepEqual(await reader.list(SNAPSHOTS), ['v1', 'v2']);
  });

  test('are listed and walked where that is asked for', async (t) => {
    const { mounted } = await openReference(t);
    const listed = await listDirectory(mounted, rootOf(mounted), true);
    assert.ok(listed.some(({ path }) => path === '/.cvmfs'));
    const plain = await pathsOf(mounted, {});
    const all = await pathsOf(mounted, { withHidden: true });
    assert.deepEqual(
      all.filter((path) => !plain.includes(path)),
      ['/.cvmfs', '/.cvmfs/.cvmfscatalog', SNAPSHOTS, `${SNAPSHOTS}/v1`, `${SNAPSHOTS}/v2`],
    );
  });
});

describe('bind mount points', () => {
  test('show another revision, with files and nested catalogs of its own', async (t) => {
    const { mounted, reader } = await openReference(t);
    const names = await reader.list(`${SNAPSHOTS}/v1`);
    assert.ok(names.length > 3, names.join());
    // What was changed or removed in between.
    assert.notDeepEqual(await reader.list(`${SNAPSHOTS}/v2`), names);
    const usr = (await reader.find(`${SNAPSHOTS}/v1/usr`))!;
    assert.ok(mounted.vfs.nestedCatalogOf(usr.node) !== undefined);
    assert.ok((await listDirectory(mounted, usr)).length > 0);
    assert.equal(mounted.vfs.pathOf(usr.node), `${SNAPSHOTS}/v1/usr`);
    const bind = (await reader.find(`${SNAPSHOTS}/v1`))!;
    assert.equal(mounted.vfs.isBindMountpoint(bind.node), true);
    assert.equal(mounted.vfs.isBindMountpoint(usr.node), false);
  });

  test('are walked where that is asked for, once', async (t) => {
    const { mounted } = await openReference(t);
    const paths = await pathsOf(mounted, { withHidden: true, withBindMounts: true });
    assert.ok(paths.includes(`${SNAPSHOTS}/v1/usr`));
    assert.ok(paths.includes(`${SNAPSHOTS}/v2/usr`));
    // The tagged revision may have snapshots itself; what is in those was seen already.
    assert.ok(!paths.some((path) => path.split(SNAPSHOTS).length > 2 && path.split('/').length > 8));
    assert.equal(new Set(paths).size, paths.length);
  });

  test('lead nowhere when their catalog is gone, and the rest can be read', async (t) => {
    const { mounted, reader, storage } = await openReference(t);
    const bind = (await reader.find(`${SNAPSHOTS}/v1`))!;
    rmSync(join(storage, objectPath(mounted.vfs.nestedCatalogOf(bind.node)!, 'C')));
    await assert.rejects(reader.list(`${SNAPSHOTS}/v1`), { code: 'NOT_FOUND' });
    assert.ok((await reader.list(`${SNAPSHOTS}/v2`)).length > 0);
    assert.ok((await pathsOf(mounted, { withHidden: true })).includes(`${SNAPSHOTS}/v1`));
  });
});

async function openChanged(sql: string) {
  const change = (database: DatabaseSync) => database.exec(sql);
  const rootHash: ContentHash = rewriteCatalog(
    published.storage,
    readManifest(published.storage).rootCatalog,
    '',
    change,
  );
  const { repository, objects } = openClient(published);
  const mounted = await MountedSnapshot.open(await repository.resolve({ rootHash }), objects, {
    hashing: nodeHashing,
  });
  const node = (await new SnapshotReader(mounted).find('/a.txt'))!.node;
  return { mounted, node };
}

const setFlags = (value: string) => `UPDATE catalog SET flags = ${value} WHERE name = 'a.txt'`;

describe('a file', () => {
  for (const [what, value] of [
    ['compression', 'flags | (5 << 11)'],
    ['hash', 'flags | (7 << 8)'],
  ] as const) {
    test(`with an unknown ${what} cannot be read; all others can, and it is listed`, async () => {
      const { mounted, node } = await openChanged(setFlags(value));
      await assert.rejects(readFileContent(mounted, node, 0, 10), { code: 'UNSUPPORTED' });
      assert.ok((await pathsOf(mounted, {})).includes('/a.txt'));
      assert.equal(mounted.vfs.getattr(node)?.sizeBytes, 5);
      const reader = new SnapshotReader(mounted);
      assert.equal(await reader.readText('/etc/passwd'), 'root:x:0:0\n');
    });
  }

  test('that triggers a bundle, or has flags that nobody knows, is a file like any other', async () => {
    const { mounted, node } = await openChanged(setFlags('flags | (1 << 17) | (1 << 20) | (1 << 30)'));
    assert.equal(Buffer.from(await readFileContent(mounted, node, 0, 10)).toString(), 'hello');
    assert.equal(mounted.vfs.readsDirectly(node), false);
  });

  test('may ask to be read directly', async () => {
    const { mounted, node } = await openChanged(setFlags('flags | (1 << 16)'));
    assert.equal(mounted.vfs.readsDirectly(node), true);
    assert.equal(mounted.vfs.readsDirectly(rootOf(mounted).node), false);
    assert.equal(mounted.vfs.readsDirectly(999_999 as never), false);
    assert.equal(Buffer.from(await readFileContent(mounted, node, 0, 10)).toString(), 'hello');
  });
});

test('a catalog with properties, columns and tables that nobody knows is read as if they were not there', async () => {
  const { mounted, node } = await openChanged(
    "INSERT INTO properties VALUES ('novelty', 'x'), ('schema_revisions', '9'); ALTER TABLE catalog ADD COLUMN novelty BLOB; CREATE TABLE novelties (a); UPDATE properties SET value = '9' WHERE key = 'schema_revision'",
  );
  assert.equal(Buffer.from(await readFileContent(mounted, node, 0, 10)).toString(), 'hello');
  assert.equal(mounted.vfs.listxattr(node).length, 2 as number);
  assert.ok(mounted.vfs.getxattr(node, 'user.comment' as ByteString) !== undefined);
});
