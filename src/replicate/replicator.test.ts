import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { FQRN } from '../../test/support/publisher-repository.ts';
import {
  changedSource,
  faultsOf,
  nestedTree,
  objectsIn,
  readManifestOf,
  replicableRepository,
  replicate,
} from '../../test/support/replica.ts';
import { hashBytes, objectPath } from '../core/content-hash.ts';
import { silentLog } from '../core/ports.ts';
import { decodeReflog } from '../core/reflog.ts';
import { nodeClock } from '../node/clock.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { openRepository } from '../node/repository-access.ts';
import { FolderStorage } from '../storage/folder-storage.ts';
import { REPLICABLE_PATH, Replicator } from './replicator.ts';

const PORTS = { hashing: nodeHashing, inflating: nodeInflating, clock: nodeClock };

async function setUp(t: TestContext) {
  const original = await replicableRepository(t);
  return { original, folder: `${original.storage}.replica` };
}

const isData = (path: string) => path.startsWith('data/');
const mutable = (folder: string, name: string) => readFileSync(join(folder, name));

test('a replica has everything of the newest snapshot, as it is', async (t) => {
  const { original, folder } = await setUp(t);
  const report = await replicate(original, folder);
  for (const name of ['.cvmfspublished', '.cvmfswhitelist', '.cvmfs_master_replica'])
    assert.deepEqual(mutable(folder, name), mutable(original.storage, name), name);
  for (const path of objectsIn(folder))
    assert.deepEqual(mutable(folder, path), mutable(original.storage, path), path);
  assert.deepEqual(faultsOf(folder), []);
  const { rootCatalog, revision } = original.manifest();
  const { objects, bytes, ...rest } = report;
  assert.deepEqual(rest, {
    fqrn: FQRN,
    rootCatalog,
    revision,
    formerRevision: null,
    snapshots: 1,
    skipped: [],
    catalogs: 5,
    isPartial: false,
    ttlSeconds: 240,
  });
  assert.equal(objects, objectsIn(folder).length);
  const sizes = objectsIn(folder).map((path) => mutable(folder, path).length);
  assert.equal(
    bytes,
    sizes.reduce((sum, size) => sum + size),
  );
});

test('a replica tells when it was made, and has a reference log of its own', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  const date = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d UTC \d{4}$/;
  assert.match(mutable(folder, '.cvmfs_last_snapshot').toString().trimEnd(), date);
  assert.match(JSON.parse(mutable(folder, '.cvmfs_status.json').toString()).last_snapshot, date);
  const { rootCatalog, certificate, history, metainfo } = original.manifest();
  const references = decodeReflog(mutable(folder, '.cvmfsreflog')).map(({ hash, type }) => [type, hash]);
  assert.deepEqual(
    references.sort(),
    [
      ['catalog', rootCatalog],
      ['certificate', certificate],
      ['history', history],
      ['metainfo', metainfo],
    ].sort(),
  );
  assert.ok(!existsSync(join(folder, '.cvmfs_is_snapshotting')));
});

test('a second run asks for what changes, and for no object', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  const source = changedSource(original.storage);
  const before = mutable(folder, '.cvmfspublished');
  const report = await replicate(original, folder, { sources: [source] });
  assert.deepEqual([report.objects, report.bytes, report.formerRevision], [0, 0, 1]);
  assert.deepEqual(source.asked.filter(isData), [objectPath(original.manifest().certificate!, 'X')]);
  assert.deepEqual(mutable(folder, '.cvmfspublished'), before);
});

test('a new whitelist comes to a replica that is as new as its source', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  writeFileSync(join(folder, '.cvmfswhitelist'), 'an old one');
  await replicate(original, folder);
  assert.deepEqual(mutable(folder, '.cvmfswhitelist'), mutable(original.storage, '.cvmfswhitelist'));
});

test('an update brings what is new and nothing else', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  const had = new Set(objectsIn(folder));
  await original.publish(nestedTree('two'));
  const source = changedSource(original.storage);
  const report = await replicate(original, folder, { sources: [source] });
  assert.deepEqual(faultsOf(folder), []);
  // Root and the three nested catalogs whose files are others, those files, a history.
  assert.deepEqual([report.objects, report.catalogs, report.formerRevision, report.revision], [8, 4, 1, 2]);
  const twice = source.asked.filter((path) => isData(path) && had.has(path));
  assert.deepEqual(twice, [objectPath(original.manifest().certificate!, 'X')]);
});

/** Looks before every change whether what readers may believe is true. */
class WatchedStorage extends FolderStorage {
  readonly folder: string;
  readonly writes: string[] = [];
  flushes = 0;

  constructor(folder: string) {
    super(folder);
    this.folder = folder;
  }

  override async putObject(path: string, bytes: Uint8Array): Promise<boolean> {
    this.writes.push(path);
    const isNew = await super.putObject(path, bytes);
    assert.deepEqual(faultsOf(this.folder), [], path);
    return isNew;
  }

  override async replace(path: string, bytes: Uint8Array): Promise<void> {
    this.writes.push(path);
    await super.replace(path, bytes);
    assert.deepEqual(faultsOf(this.folder), [], path);
  }

  override async flush(): Promise<void> {
    this.flushes++;
    this.writes.push('flush');
  }
}

test('at every moment, below each catalog that is there everything is', async (t) => {
  const { original, folder } = await setUp(t);
  const storage = new WatchedStorage(folder);
  await replicate(original, folder, { storage });
  await original.publish(nestedTree('two'));
  await replicate(original, folder, { storage });
  const names = storage.writes.filter((path) => path.startsWith('.cvmfs'));
  assert.deepEqual(names.slice(0, 7), [
    '.cvmfs_is_snapshotting',
    '.cvmfsreflog',
    '.cvmfs_master_replica',
    '.cvmfswhitelist',
    '.cvmfspublished',
    '.cvmfs_status.json',
    '.cvmfs_last_snapshot',
  ]);
});

test('what is below a catalog is safe from a power cut before the catalog is there', async (t) => {
  const { original, folder } = await setUp(t);
  const storage = new WatchedStorage(folder);
  await replicate(original, folder, { storage });
  const { writes } = storage;
  const flushesBefore = (path: string) =>
    writes.slice(0, writes.indexOf(path)).filter((one) => one === 'flush');
  const catalogs = writes.filter((path) => path.endsWith('C'));
  const root = objectPath(original.manifest().rootCatalog, 'C');
  assert.equal(catalogs.at(-1), root);
  // One more for each level: /a/b/c and /d, /a/b, /a, the root.
  assert.deepEqual(
    catalogs.map((path) => flushesBefore(path).length),
    [1, 1, 2, 3, 4],
  );
  assert.ok(flushesBefore('.cvmfspublished').length > flushesBefore(root).length);
});

test('the snapshots of all tags come when they are asked for', async (t) => {
  const { original, folder } = await setUp(t);
  const first = original.manifest().rootCatalog;
  await original.publish(nestedTree('two'), { tag: { name: 'v2', description: '' } });
  await original.publish(nestedTree('three'));
  await replicate(original, folder);
  assert.ok(!existsSync(join(folder, objectPath(first, 'C'))));
  const report = await replicate(original, folder, { withTags: true });
  assert.equal(report.snapshots, 3);
  assert.ok(existsSync(join(folder, objectPath(first, 'C'))));
  assert.deepEqual(faultsOf(folder), []);
  const references = decodeReflog(mutable(folder, '.cvmfsreflog')).filter(({ type }) => type === 'catalog');
  assert.equal(references.length, 3);
});

test('so many revisions before the newest come as are asked for', async (t) => {
  const { original, folder } = await setUp(t);
  const roots = [original.manifest().rootCatalog];
  for (const seed of ['two', 'three', 'four']) {
    await original.publish(nestedTree(seed));
    roots.push(original.manifest().rootCatalog);
  }
  const here = () => roots.map((hash) => existsSync(join(folder, objectPath(hash, 'C'))));
  await replicate(original, folder, { previousRevisions: 1 });
  assert.deepEqual(here(), [false, false, true, true]);
  // The newest ones are there: the way to older ones leads through them.
  const report = await replicate(original, folder, { previousRevisions: 2 });
  assert.deepEqual(here(), [false, true, true, true]);
  assert.equal(report.snapshots, 3);
  await replicate(original, folder, { previousRevisions: 100 });
  assert.deepEqual(here(), [true, true, true, true]);
  assert.deepEqual(faultsOf(folder), []);
});

test('a replica can be made from a replica', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder, { withTags: true });
  const second = `${folder}.second`;
  await replicate({ ...original, storage: folder }, second, { withTags: true });
  assert.deepEqual(objectsIn(second), objectsIn(folder));
  assert.deepEqual(mutable(second, '.cvmfspublished'), mutable(original.storage, '.cvmfspublished'));
});

test('a replica never goes back to an older revision, unless it is told to', async (t) => {
  const { original, folder } = await setUp(t);
  const old = `${folder}.old`;
  await replicate(original, old);
  await original.publish(nestedTree('two'));
  await replicate(original, folder);
  const lagging = { ...original, storage: old };
  await assert.rejects(replicate(lagging, folder), {
    code: 'CONFLICT',
    message: /the source has revision 1, the replica revision 2 already/,
    hint: /--allow-older/,
  });
  assert.equal(readManifestOf(folder).revision, 2);
  const report = await replicate(lagging, folder, { allowOlder: true });
  assert.deepEqual([report.formerRevision, report.revision, readManifestOf(folder).revision], [2, 1, 1]);
});

test('a replica does not take another tree of the same revision', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  const other = await replicableRepository(t, 'other');
  await assert.rejects(replicate(other, folder), { code: 'CONFLICT', message: /another revision 1/ });
  assert.equal(readManifestOf(folder).rootCatalog, original.manifest().rootCatalog);
});

test('a folder with another repository is left alone', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  const manifest = mutable(folder, '.cvmfspublished').toString('latin1');
  const [text = '', rest = ''] = manifest.split('--\n');
  const other = Buffer.from(text.replace(`N${FQRN}`, 'Nother.example.org'), 'latin1');
  const signature = rest.slice(rest.indexOf('\n') + 1);
  const hash = hashBytes(nodeHashing, 'sha1', other);
  const forged = Buffer.concat([other, Buffer.from(`--\n${hash}\n${signature}`, 'latin1')]);
  writeFileSync(join(folder, '.cvmfspublished'), forged);
  await assert.rejects(replicate(original, folder), {
    code: 'CONFLICT',
    message: /it has other\.example\.org/,
  });
  assert.deepEqual(mutable(folder, '.cvmfspublished'), forged);
});

test('a repository that does not offer it is not replicated', async (t) => {
  const { original, folder } = await setUp(t);
  rmSync(join(original.storage, REPLICABLE_PATH));
  await assert.rejects(replicate(original, folder), { code: 'UNSUPPORTED', hint: /\.cvmfs_master_replica/ });
  assert.ok(!existsSync(folder));
});

test('a replica has the alternative paths that the manifest promises', async (t) => {
  const { original, folder } = await setUp(t);
  const address = { fqrn: FQRN, servers: [original.storage], proxies: [], keyFiles: [original.publicKey] };
  const { repository } = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: 1e6,
    log: silentLog,
  });
  const source = {
    fqrn: FQRN,
    servers: repository.servers,
    fetchVerifiedManifest: async () => {
      const verified = await repository.fetchVerifiedManifest();
      return { ...verified, manifest: { ...verified.manifest, hasAlternativePaths: true } };
    },
  };
  const storage = new FolderStorage(folder);
  await new Replicator(source, storage, PORTS, {
    parallel: 4,
    temporary: `${folder}.reflog`,
  }).run();
  const { rootCatalog, certificate, history, metainfo } = original.manifest();
  for (const [hash, type] of [
    [rootCatalog, 'C'],
    [certificate!, 'X'],
    [history!, 'H'],
    [metainfo!, 'M'],
  ] as const)
    assert.deepEqual(mutable(folder, `.cvmfsalt-${hash}${type}`), mutable(folder, objectPath(hash, type)));
});
