/** Repositories that the publisher wrote are sound, whatever the tree, read by worker threads. */

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { sourceFolder } from '../../test/contract/source-contract.ts';
import { childrenArbitrary, entriesOf } from '../../test/support/arbitrary-tree.ts';
import { memoryTree } from '../../test/support/memory-tree.ts';
import { publisherRepository } from '../../test/support/publisher-repository.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import { checkRepository } from '../client/check-repository.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { ReferencedObject } from '../core/catalog/check-catalog.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { silentLog } from '../core/ports.ts';
import type { RepositorySettings } from '../publish/repository-settings.ts';
import { nodeHashing } from './hashing.ts';
import { ObjectCheckPool } from './object-check-pool.ts';
import { openRepository, type RepositoryAddress } from './repository-access.ts';

const addressOf = (storage: string, keyFiles: readonly string[] = []): RepositoryAddress => ({
  fqrn: 'tree.example.org',
  servers: [storage],
  proxies: [],
  keyFiles,
});

/** The same ones for all settings: making them up takes longer than all the rest. */
const TREES = fc.sample(childrenArbitrary, { seed: 1, numRuns: 5 });

const SETTINGS: readonly Partial<RepositorySettings>[] = [
  { hashAlgorithm: 'shake128', compression: 'zlib' },
  { hashAlgorithm: 'sha1', compression: 'none' },
  { hashAlgorithm: 'rmd160', compression: 'zlib' },
];

for (const settings of SETTINGS) {
  const { hashAlgorithm, compression } = settings;
  test(`trees of anything that are published with ${hashAlgorithm} and ${compression} check clean, with all tags`, async (t) => {
    const repository = await publisherRepository(memoryScratch(t), settings);
    const address = addressOf(repository.storage, [repository.publicKey]);
    const pool = new ObjectCheckPool(address, 1);
    t.after(() => pool.close());
    for (const [index, children] of TREES.entries()) {
      const tag = { name: `v${index}`, description: '' };
      await repository.publish(memoryTree(entriesOf(children)), { threads: 1, tag });
      const access = openRepository(address, {
        cacheFolder: undefined,
        cacheLimitBytes: 1e8,
        log: silentLog,
      });
      const report = await checkRepository(access.repository, {
        selection: {},
        allTags: true,
        hashing: nodeHashing,
        objects: pool,
      });
      assert.deepEqual(report.findings, []);
      assert.equal(report.complete, true);
    }
  });
}

const absent = (n: number, type: '' | 'P' = ''): ReferencedObject => ({
  hash: n.toString(16).padStart(40, '0') as ContentHash,
  type,
  sizeBytes: 1,
  compression: 'none',
  path: `/file-${n}` as ByteString,
});

test('ObjectCheckPool tells of each of a thousand objects whether it is there, on several threads', async (t) => {
  const pool = new ObjectCheckPool(addressOf(sourceFolder(t)), 2);
  t.after(() => pool.close());
  const failed: string[] = [];
  for (let n = 1; n <= 1000; n++) {
    await pool.add(absent(n, n % 2 === 0 ? 'P' : ''), ({ failure }) => {
      if (failure === undefined) return;
      assert.equal(failure.code, 'NOT_FOUND');
      failed.push(failure.object.path);
    });
  }
  await pool.drain();
  assert.equal(new Set(failed).size, 1000);
});

test('ObjectCheckPool fails when the source cannot be reached, and stays failed', async (t) => {
  const pool = new ObjectCheckPool(addressOf('http://127.0.0.1:1/cvmfs/tree.example.org'), 1);
  t.after(() => pool.close());
  const results: unknown[] = [];
  await pool.add(absent(1), (result) => results.push(result));
  await assert.rejects(pool.drain(), { code: 'NETWORK' });
  assert.deepEqual(results, [], 'nobody knows what is wrong with it, if anything');
  await assert.rejects(
    pool.add(absent(2), () => {}),
    { code: 'NETWORK' },
  );
});

test('ObjectCheckPool calls everything missing once the storage is gone', async (t) => {
  const folder = join(scratchFolder(t), 'storage');
  rmSync(folder, { recursive: true, force: true });
  const pool = new ObjectCheckPool(addressOf(folder), 1);
  t.after(() => pool.close());
  const codes: (string | undefined)[] = [];
  await pool.add(absent(1), ({ failure }) => failure && codes.push(failure.code));
  await pool.drain();
  assert.deepEqual(codes, ['NOT_FOUND']);
});
