import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { childrenArbitrary, entriesOf } from '../../test/support/arbitrary-tree.ts';
import { describeTree } from '../../test/support/described-tree.ts';
import { snapshotTree } from '../../test/support/exported.ts';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import { publisherRepository } from '../../test/support/publisher-repository.ts';
import { memoryScratch } from '../../test/support/scratch.ts';

test('any snapshot is the tree that was published', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  await fc.assert(
    fc.asyncProperty(childrenArbitrary, async (children) => {
      const tree = memoryTree(entriesOf(children));
      await repository.publish(tree);
      const expected = await describeTree(tree);
      const actual = await describeTree(await snapshotTree(t, repository));
      assert.deepEqual(actual, expected);
    }),
    { numRuns: 20 },
  );
});

test('files that are not read to their end do not stand in the way of others', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  const tree = memoryTree([
    entry(''),
    entry('/a', { content: noise(100_000) }),
    entry('/b', { content: noise(100_000, 2) }),
    entry('/c', { content: 'last' }),
  ]);
  await repository.publish(tree);
  const seen: [string, number][] = [];
  for await (const { path, content } of (await snapshotTree(t, repository)).entries()) {
    let bytes = 0;
    if (content?.kind === 'stream' && path !== '/a') {
      for await (const piece of content.chunks) {
        bytes += piece.length;
        if (path === '/b') break;
      }
    }
    seen.push([path, bytes]);
  }
  assert.deepEqual(
    [seen.map(([path]) => path), seen.at(-1)],
    [
      ['', '/a', '/b', '/c'],
      ['/c', 4],
    ],
  );
});
