import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { CliRepository } from '../support/cli-repository.ts';
import { needs } from '../support/needs.ts';
import { makeRandomTree, randomTree } from '../support/random-tree.ts';
import { scratchFolder } from '../support/scratch.ts';
import { readTree, type SeenEntry } from '../support/trees.ts';

const RUNS = 12;

test('a mount shows any tree as it was published', needs('fuse'), async (t) => {
  const scratch = scratchFolder(t);
  // Small pieces and small catalogs: these trees have several of each.
  const small = ['--chunks', '1k,4k,8k', '--catalog-entries', '20'];
  const repository = await CliRepository.create(scratch, small);
  const source = join(scratch, 'source');
  const mountpoint = join(scratch, 'mount');
  mkdirSync(mountpoint);
  await fc.assert(
    fc.asyncProperty(randomTree, async (tree) => {
      rmSync(source, { recursive: true, force: true });
      mkdirSync(source);
      makeRandomTree(source, tree);
      await repository.publish(source);
      await repository.mount(mountpoint);
      try {
        assert.deepEqual(withoutMarkers(readTree(mountpoint)), readTree(source));
      } finally {
        await repository.unmount(mountpoint);
      }
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
});

/** The publisher marks where it split a catalog, with the two files that the reference puts there. */
function withoutMarkers(tree: Map<string, SeenEntry>): Map<string, SeenEntry> {
  return new Map([...tree].filter(([path]) => !/\/\.cvmfs(auto)?catalog$/.test(path)));
}
