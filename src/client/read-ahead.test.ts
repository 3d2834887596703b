import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openClient, publishRepository } from '../../test/support/client-repository.ts';
import { noise } from '../../test/support/memory-tree.ts';
import { SMALL_CHUNKS } from '../../test/support/storage-place.ts';
import { dir, file, type Literal } from '../../test/support/trees.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { type NodeId, NotYet } from '../core/vfs.ts';
import { nodeHashing } from '../node/hashing.ts';
import { cacheIdOf } from './cache.ts';
import { MountedSnapshot } from './mounted-snapshot.ts';
import type { Objects } from './objects.ts';
import { lookupChild, rootOf } from './walk.ts';

const named = (count: number, make: (index: number) => Literal) =>
  Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`f${String(index).padStart(3, '0')}`, make(index)]),
  );

interface Scene {
  readonly mounted: MountedSnapshot;
  readonly objects: Objects;
  node(path: string): Promise<NodeId>;
  /** Reads as the kernel does: what is not here is brought. */
  read(path: string, chunk?: number): Promise<void>;
  /** Whether a chunk of a file is here, or on its way. */
  isHere(path: string, chunk?: number): Promise<boolean>;
}

async function scene(t: TestContext, tree: Literal): Promise<Scene> {
  const published = await publishRepository(t, { chunkSizes: SMALL_CHUNKS });
  await published.publish(tree);
  const { repository, objects } = openClient(published);
  const snapshot = await repository.resolve({});
  const mounted = await MountedSnapshot.open(snapshot, objects, { hashing: nodeHashing });
  const node = async (path: string): Promise<NodeId> => {
    let entry = rootOf(mounted);
    for (const name of path.split('/')) entry = (await lookupChild(mounted, entry, name as ByteString))!;
    return entry.node;
  };
  return {
    mounted,
    objects,
    node,
    read: async (path, chunk = 0) => {
      const at = await node(path);
      const { offset } = mounted.vfs.chunksOf(at)[chunk]!;
      const answer = mounted.vfs.read(at, offset, 1, new Uint8Array(1), 0);
      if (answer instanceof NotYet) await mounted.fulfil(answer.need);
    },
    isHere: async (path, chunk = 0) => {
      const { hash, need } = mounted.vfs.chunksOf(await node(path))[chunk]!;
      return objects.isAtHand(cacheIdOf(hash, need.compression));
    },
  };
}

const small = (index: number) => file(noise(200, index));

test('after three files in the order of their directory the next are fetched, more and more', async (t) => {
  const { read, isHere, mounted } = await scene(t, dir({ d: dir(named(100, small)) }));
  await read('d/f000');
  await read('d/f001');
  assert.equal(await isHere('d/f002'), false);
  assert.equal(mounted.readAhead.status().files, 0);
  await read('d/f002');
  assert.equal(await isHere('d/f003'), true);
  assert.equal(await isHere('d/f010'), true);
  assert.equal(await isHere('d/f050'), false);
  const { files } = mounted.readAhead.status();
  await read(`d/f${String(3 + files).padStart(3, '0')}`);
  assert.ok(mounted.readAhead.status().files > 2 * files);
  assert.equal(mounted.readAhead.status().wastedBytes, 0);
});

test('files in no order are not fetched ahead', async (t) => {
  const { read, mounted } = await scene(t, dir({ d: dir(named(60, small)) }));
  for (const index of [40, 7, 33, 2, 51, 20, 9, 46]) await read(`d/f${String(index).padStart(3, '0')}`);
  assert.equal(mounted.readAhead.status().files, 0);
});

test('a reader who leaves files out is no longer followed, and what was fetched for it counts as wasted', async (t) => {
  const tree = dir({ d: dir(named(200, (index) => file(noise(200 + index, index)))), other: file('x') });
  const { read, mounted } = await scene(t, tree);
  for (const index of [0, 1, 2]) await read(`d/f00${index}`);
  const { files } = mounted.readAhead.status();
  // A gap of one behind what was fetched.
  await read(`d/f${String(3 + files + 1).padStart(3, '0')}`);
  assert.equal(mounted.readAhead.status().files, files);
});

test('whoever read one directory to its end goes on in the next one', async (t) => {
  const { read, isHere } = await scene(
    t,
    dir({ a: dir(named(4, small)), b: dir(named(9, (index) => small(index + 50))) }),
  );
  for (const index of [0, 1, 2, 3]) await read(`a/f00${index}`);
  await read('b/f000');
  assert.equal(await isHere('b/f001'), true);
});

test('the chunks behind those that are read in order are fetched, and none for a look into the middle', async (t) => {
  const { read, isHere, mounted, node } = await scene(t, dir({ large: file(noise(400_000)) }));
  const chunks = mounted.vfs.chunksOf(await node('large')).length;
  assert.ok(chunks > 8);
  await read('large', 5);
  await read('large', 2);
  assert.equal(mounted.readAhead.status().chunks, 0);
  await read('large', 3);
  assert.equal(await isHere('large', 4), true);
  assert.equal(await isHere('large', chunks - 1), false);
});

test('at the second catalog beside another the following are fetched', async (t) => {
  const packages = named(12, (index) => dir({ '.cvmfscatalog': file(''), [`x${index}`]: small(index) }));
  const { mounted, node, objects } = await scene(t, dir(packages));
  const { references } = mounted.vfs.catalogs.root;
  const isHere = (name: string) => objects.has(references.get(`/${name}` as ByteString)!.hash);
  await node('f000/x0');
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(mounted.readAhead.status().catalogs, 0);
  await node('f001/x1');
  assert.equal(mounted.readAhead.status().catalogs, 2);
  for (let turns = 0; turns < 100 && !isHere('f002'); turns++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(isHere('f002'), true);
  assert.equal(isHere('f009'), false);
});
