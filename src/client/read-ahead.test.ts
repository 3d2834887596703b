import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openClient, publishRepository } from '../../test/support/client-repository.ts';
import { noise } from '../../test/support/memory-tree.ts';
import { SMALL_CHUNKS } from '../../test/support/storage-place.ts';
import { dir, file, type Literal } from '../../test/support/trees.ts';
import { type ByteString, bytesOf } from '../core/bytes/byte-string.ts';
import { type NodeId, NotYet } from '../core/vfs.ts';
import { cacheIdOf } from './cache.ts';
import type { MountedSnapshot } from './mounted-snapshot.ts';
import type { Objects } from './objects.ts';
import { lookupChild, rootOf } from './walk.ts';

const named = (count: number, make: (index: number) => Literal) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${String(index).padStart(3, '0')}`, make(index)]));

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
  const client = openClient(published);
  const mounted = await client.mount();
  const { objects } = client;
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
