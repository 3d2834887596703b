import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { openClient, openSnapshot, type PublishedRepository } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { NULL_HASH } from '../core/content-hash.ts';
import { type Attributes, type Need, NotYet, ROOT_NODE } from '../core/vfs.ts';
import { nodeHashing } from '../node/hashing.ts';
import { type CatalogFile, MountedSnapshot } from './mounted-snapshot.ts';

const scope = fileScope();
let published: PublishedRepository;

before(async () => {
  published = await publishSmallTree(scope);
});

/** What the vfs asks for, to list /usr. */
function needOf(mounted: MountedSnapshot): Need {
  const usr = mounted.vfs.lookup(ROOT_NODE, Buffer.from('usr')) as Attributes;
  const answer = mounted.vfs.readdir(usr.node, 0, () => true);
  assert.ok(answer instanceof NotYet);
  return answer.need;
}

test('open() loads the root catalog and nothing else', async () => {
  const { repository, objects, servers } = openClient(published);
  const snapshot = await repository.resolve({});
  const before = servers.counters.requests;
  const mounted = await MountedSnapshot.open(snapshot, objects, { hashing: nodeHashing });
  assert.equal(servers.counters.requests, before + 1);
  assert.equal(mounted.snapshot, snapshot);
  assert.equal(mounted.vfs.catalogs.count, 1);
});

test('open() fails where there is no such catalog', async () => {
  const { objects } = openClient(published);
  const snapshot = { rootCatalog: NULL_HASH, revision: undefined, tag: undefined };
  await assert.rejects(MountedSnapshot.open(snapshot, objects, { hashing: nodeHashing }), {
    code: 'NOT_FOUND',
  });
});

test('fulfil() attaches a nested catalog once, however many want it', async () => {
  const { repository, objects } = openClient(published);
  const files: CatalogFile[] = [];
  const mounted = await MountedSnapshot.open(await repository.resolve({}), objects, {
    hashing: nodeHashing,
    onCatalog: (file) => {
      files.push(file);
      return file.bytes;
    },
  });
  const need = needOf(mounted);
  await Promise.all([mounted.fulfil(need), mounted.fulfil(need), mounted.fulfil(need)]);
  await mounted.fulfil(need);
  assert.deepEqual(
    files.map(({ mountpoint }) => mountpoint),
    ['', '/usr'],
  );
  assert.equal(mounted.vfs.catalogs.count, 2);
});

test('fulfil() uses the bytes that onCatalog gives back', async () => {
  const { repository, objects } = openClient(published);
  const shared: SharedArrayBuffer[] = [];
  const mounted = await MountedSnapshot.open(await repository.resolve({}), objects, {
    hashing: nodeHashing,
    onCatalog: ({ bytes }) => {
      const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
      copy.set(bytes);
      shared.push(copy.buffer as SharedArrayBuffer);
      return copy;
    },
  });
  assert.equal((mounted.vfs.lookup(ROOT_NODE, Buffer.from('a.txt')) as Attributes).sizeBytes, 5);
  new Uint8Array(shared[0]!).fill(0);
  assert.throws(() => mounted.vfs.lookup(ROOT_NODE, Buffer.from('a.txt')), { code: 'FORMAT' });
});

test('fulfil() brings an object, and fails when it is nowhere', async () => {
  const mounted = await openSnapshot(published);
  const { node } = mounted.vfs.lookup(ROOT_NODE, Buffer.from('a.txt')) as Attributes;
  const into = Buffer.alloc(5);
  const answer = mounted.vfs.read(node, 0, 5, into, 0);
  assert.ok(answer instanceof NotYet && answer.need.kind === 'object');
  await assert.rejects(mounted.fulfil({ ...answer.need, hash: NULL_HASH }), { code: 'NOT_FOUND' });
  await mounted.fulfil(answer.need);
  assert.equal(mounted.vfs.read(node, 0, 5, into, 0), 5);
  assert.equal(into.toString(), 'hello');
});

test('fulfil() asks again for a catalog after it failed', async () => {
  const mounted = await openSnapshot(published);
  const need = needOf(mounted);
  await assert.rejects(mounted.fulfil({ ...need, hash: NULL_HASH }), { code: 'NOT_FOUND' });
  await mounted.fulfil(need);
  assert.equal(mounted.vfs.catalogs.count, 2);
});
