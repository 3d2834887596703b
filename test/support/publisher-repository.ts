/**
 * A repository for tests of the publisher: any `Tree` is published, also one in memory; all repositories of a process
 * share one pair of keys, chunks are small, and the clock stands still. For tests of clients there is
 * `client-repository.ts`, for those of the command line `cli-repository.ts`.
 */

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContentHash } from '../../src/core/content-hash.ts';
import { parseFqrn } from '../../src/core/fqrn.ts';
import type { parseManifest } from '../../src/core/manifest.ts';
import type { Clock } from '../../src/core/ports.ts';
import type { Tree } from '../../src/core/tree.ts';
import { nodeClock } from '../../src/node/clock.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { nodeSignatures } from '../../src/node/signatures.ts';
import { createKeys, type RepositoryKeys } from '../../src/publish/keys.ts';
import {
  Publisher,
  type PublisherPorts,
  type PublishResult,
  type PublishTarget,
  type PublishTreeOptions,
} from '../../src/publish/publisher.ts';
import { defaultSettings, type RepositorySettings } from '../../src/publish/repository-settings.ts';
import { writeWhitelist } from '../../src/publish/whitelist-writer.ts';
import { type Described, describeTree, readRepository } from './described-tree.ts';
import { noise } from './memory-tree.ts';
import { makeStorage, objectsOf, readManifest, SMALL_CHUNKS } from './storage-place.ts';
import { dir, file, hardlink, symlink } from './trees.ts';

export const FQRN = parseFqrn('tree.example.org');

/** Some of everything that can be made without being root. */
export const VARIED_TREE = dir({
  usr: dir({
    '.cvmfscatalog': file(''),
    bin: dir({ tool: file('#!/bin/sh\n', { mode: 0o4755 }), same: hardlink('usr/bin/tool') }),
    share: dir({ '.cvmfscatalog': file(''), doc: file('text') }),
  }),
  large: file(noise(100_000)),
  empty: dir({}),
  nothing: file(''),
  lib: symlink('usr/lib'),
});

/** Seconds that a test sets. */
export function testClock(seconds: number): Clock & { seconds: number } {
  const clock = { ...nodeClock, seconds, unixSeconds: () => clock.seconds };
  return clock;
}

let sharedKeys: Promise<RepositoryKeys> | undefined;

/** Made once per process: RSA keys take longer than most tests. */
function keysOfTests(folder: string): Promise<RepositoryKeys> {
  sharedKeys ??= createKeys(folder, FQRN, 1_700_000_000);
  return sharedKeys;
}

export interface PublisherRepository {
  readonly settings: RepositorySettings;
  readonly storage: string;
  readonly publicKey: string;
  /** Of the publisher alone. */
  readonly folder: string;
  readonly clock: Clock & { seconds: number };
  readonly target: PublishTarget;
  readonly ports: PublisherPorts;
  /** For one change. */
  publisher(): Publisher;
  publish(tree: Tree, options?: PublishTreeOptions): Promise<PublishResult>;
  /** What clients read now; or with a root hash, of that snapshot. */
  read(rootHash?: ContentHash): Promise<Map<string, Described>>;
  manifest(): ReturnType<typeof parseManifest>['manifest'];
  /** Objects in the storage. */
  objects(): string[];
}

/** An empty repository at revision 0 below `scratch`, with small chunks and a clock that stands still. */
export async function publisherRepository(
  scratch: string,
  changes: Partial<RepositorySettings> = {},
  name = 'r',
): Promise<PublisherRepository> {
  const folder = join(scratch, `${name}-publisher`);
  const storage = join(scratch, name, FQRN);
  const clock = testClock(1_750_000_000);
  const settings = { ...defaultSettings(FQRN, storage), chunkSizes: SMALL_CHUNKS, ...changes };
  mkdirSync(folder, { recursive: true });
  const keys = await keysOfTests(folder);
  const publicKey = join(folder, 'client.pub');
  writeFileSync(publicKey, keys.publicKey);
  const ports = { hashing: nodeHashing, inflating: nodeInflating, signatures: nodeSignatures, clock };
  makeStorage(storage);
  // Clients compare with the time of this machine.
  await writeWhitelist(settings, keys, { ...ports, clock: nodeClock });
  // A publisher counts for one publish.
  const publisher = () => new Publisher({ settings, keys, folder }, ports);
  await publisher().publishFirst(Buffer.from('{}\n'));
  return {
    settings,
    storage,
    publicKey,
    folder,
    clock,
    target: { settings, keys, folder },
    ports,
    publisher,
    publish: (tree, options = {}) => publisher().publish(tree, { threads: 1, ...options }),
    read: (rootHash) => readRepository(storage, publicKey, rootHash),
    manifest: () => readManifest(storage),
    objects: () => objectsOf(storage),
  };
}

/** Clients see the tree as it is. */
export async function assertReadsBack(repository: PublisherRepository, tree: Tree): Promise<void> {
  const expected = await describeTree(tree);
  const actual = await repository.read();
  assert.deepEqual([...actual.keys()], [...expected.keys()]);
  assert.deepEqual(actual, expected);
}
