/** Whatever the past of a repository is: what is kept is whole, and in the end nothing else is left. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertSound, collect, DAY, neededObjects } from '../../test/support/garbage.ts';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import { type PublisherRepository, publisherRepository } from '../../test/support/publisher-repository.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Tree } from '../core/tree.ts';

/** Folders `a` to `d`, each with a catalog of its own and one of a few contents. */
const treeOf = (contents: readonly number[]): Tree =>
  memoryTree([
    entry(''),
    ...contents.flatMap((content, i) => {
      const folder = `/${'abcd'[i]}`;
      return [
        entry(folder),
        entry(`${folder}/.cvmfscatalog`, { content: '' }),
        entry(`${folder}/small`, { content: `content ${content}` }),
        entry(`${folder}/large`, { content: noise(20_000, content + 1) }),
      ];
    }),
  ]);

const tagName = fc.constantFrom('v1', 'v2', 'v3');
const operation = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      what: fc.constant('publish' as const),
      contents: fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }),
      tag: fc.option(tagName, { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('remove' as const), tag: tagName }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('rollback' as const), tag: tagName }) },
  {
    weight: 2,
    arbitrary: fc.record({ what: fc.constant('wait' as const), days: fc.integer({ min: 1, max: 5 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.constant('collect' as const),
      keepRevisions: fc.option(fc.nat(3), { nil: undefined }),
      keepDays: fc.option(fc.nat(4), { nil: undefined }),
      graceDays: fc.nat(2),
      unreferenced: fc.boolean(),
      rebuildReflog: fc.boolean(),
    }),
  },
);

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

async function apply(repository: PublisherRepository, one: Operation): Promise<void> {
  switch (one.what) {
    case 'publish': {
      const tag = one.tag === undefined ? undefined : { name: one.tag, description: '' };
      await repository.publish(treeOf(one.contents), { tag });
      break;
    }
    case 'remove':
      await repository.publisher().removeTags([one.tag]);
      break;
    case 'rollback':
      await repository.publisher().rollback(one.tag);
      break;
    case 'wait':
      repository.clock.seconds += one.days * DAY;
      break;
    case 'collect': {
      const { graceDays, what: _, ...options } = one;
      await collect(repository, { ...options, graceSeconds: graceDays * DAY });
    }
  }
}

/** Tags that are taken or unknown, and snapshots that are the newest already. */
const REFUSALS = ['CONFLICT', 'NOT_FOUND', 'USAGE'];

test('after any publishes, tags, rollbacks and collections, all that is kept is there, and the last collection leaves nothing else', async (t) => {
  const scratch = memoryScratch(t);
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 3, maxLength: 12 }), async (operations) => {
      const repository = await publisherRepository(scratch, {}, `r${runs++}`);
      repository.clock.seconds = Math.floor(Date.now() / 1000);
      for (const one of operations) {
        await apply(repository, one).catch((error: unknown) => {
          const isRefusal = error instanceof ThimbleError && REFUSALS.includes(error.code);
          if (!isRefusal || one.what === 'collect') throw error;
        });
        const present = new Set(repository.objects());
        for (const path of neededObjects(repository.storage)) assert.ok(present.has(path), path);
      }
      repository.clock.seconds += 10 * DAY;
      await collect(repository, { unreferenced: true });
      // A history that is younger than the newest revision is kept.
      const isHistory = (path: string) => path.endsWith('H');
      assert.deepEqual(
        repository.objects().filter((path) => !isHistory(path)),
        neededObjects(repository.storage).filter((path) => !isHistory(path)),
      );
      await assertSound(repository.storage, repository.publicKey);
    }),
    { numRuns: 8 },
  );
});
