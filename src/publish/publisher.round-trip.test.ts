/** What is published is what clients read. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { childrenArbitrary, entriesOf } from '../../test/support/arbitrary-tree.ts';
import { memoryTree } from '../../test/support/memory-tree.ts';
import { needs } from '../../test/support/needs.ts';
import {
  assertReadsBack,
  publisherRepository,
  VARIED_TREE,
} from '../../test/support/publisher-repository.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, makeTree } from '../../test/support/trees.ts';
import { FolderTree } from './folder-tree.ts';

test(
  'devices, FIFOs, owners, set-user-id bits, attributes, odd names and nanoseconds come back from a folder',
  needs('root', 'attr'),
  async (t) => {
    const repository = await publisherRepository(memoryScratch(t));
    const folder = scratchFolder(t);
    makeTree(folder, VARIED_TREE);
    makeTree(
      join(folder, 'more'),
      dir({ [`${'n'.repeat(255)}`]: file('x', { uid: 1000, gid: 3_000_000_000 }), ' \n\t': dir({}) }),
    );
    writeFileSync(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0xfe, 0x80])]), 'not UTF-8');
    for (const args of [
      ['null', 'c', '1', '3'],
      ['disk', 'b', '259', '300'],
      ['fifo', 'p'],
    ]) {
      assert.equal(spawnSync('mknod', [join(folder, args[0]!), ...args.slice(1)]).status, 0);
    }
    spawnSync('setfattr', [
      '-n',
      'security.capability',
      '-v',
      '0x0100000200200000000000000000000000000000',
      join(folder, 'large'),
    ]);
    spawnSync('touch', ['-d', '1969-12-31T23:59:58.123456789Z', join(folder, 'nothing')]);
    await repository.publish(new FolderTree(folder));
    await assertReadsBack(repository, new FolderTree(folder));
    const { mtime, content } = (await repository.read()).get('/nothing')!;
    assert.deepEqual([mtime, content?.slice(0, 7)], ['-2+123456789', '0 bytes']);
  },
);

test('any tree that is published is read back as it was, whatever was published before', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  await fc.assert(
    fc.asyncProperty(childrenArbitrary, async (children) => {
      const tree = memoryTree(entriesOf(children));
      await repository.publish(tree, { threads: 1 });
      await assertReadsBack(repository, tree);
      assert.equal((await repository.publish(tree, { threads: 1 })).changed, false);
    }),
    { numRuns: 20 },
  );
});
