/** However many files it takes: to find the newest snapshot has one deadline. */

import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import {
  openClient,
  type PublishedRepository,
  publishRepository,
} from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { dir, file } from '../../test/support/trees.ts';
import { FolderSource } from '../node/folder-source.ts';
import type { Source } from './network/source.ts';

const scope = fileScope();
let published: PublishedRepository;

before(async () => {
  published = await publishRepository(scope);
  await published.publish(dir({ a: file('one') }), 'v1');
});

/** Answers after a while, and keeps the deadlines that it was given by the kinds of files. */
function watched() {
  const deadlines = new Map<string, number>();
  const folder = new FolderSource(published.storage);
  const source: Source = {
    name: 'test',
    open: async (path, options) => {
      deadlines.set(/[A-Z]$|^\..*/.exec(path)?.[0] ?? path, options.deadlineMs);
      await new Promise((resolve) => setTimeout(resolve, 2));
      return folder.open(path, options);
    },
  };
  return { deadlines, client: openClient(published, { sources: [source] }) };
}

for (const [selection, kinds] of [
  [{}, ['.cvmfspublished', 'X', '.cvmfswhitelist']],
  [{ tag: 'v1' }, ['.cvmfspublished', 'X', '.cvmfswhitelist', 'H']],
] as const) {
  test(`resolve(${JSON.stringify(selection)}) has one deadline for all files`, async () => {
    const { deadlines, client } = watched();
    await client.repository.resolve(selection);
    assert.deepEqual([...deadlines.keys()].sort(), [...kinds].sort());
    assert.equal(new Set(deadlines.values()).size, 1, 'all have the same deadline');
  });
}

test('compareServers() has one deadline for each server', async () => {
  const { deadlines, client } = watched();
  await client.repository.compareServers();
  assert.equal(deadlines.get('.cvmfswhitelist'), deadlines.get('.cvmfspublished'));
});
