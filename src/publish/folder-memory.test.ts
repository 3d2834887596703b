/** A folder that is published again: only what has changed is read, and nothing that has changed is missed. */

import assert from 'node:assert/strict';
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  assertReadsBack,
  type PublisherRepository,
  publisherRepository,
  VARIED_TREE,
} from '../../test/support/publisher-repository.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import { makeTree } from '../../test/support/trees.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { Clock } from '../core/ports.ts';
import { nodeClock } from '../node/clock.ts';
import { FolderMemory } from './folder-memory.ts';
import { FolderTree } from './folder-tree.ts';

/** What was written just now counts as long settled. */
const LATER: Clock = { ...nodeClock, unixSeconds: () => nodeClock.unixSeconds() + 60 };

interface Scene {
  readonly folder: string;
  readonly memory: string;
  readonly repository: PublisherRepository;
  publish(into?: string): ReturnType<PublisherRepository['publish']>;
}

async function scene(t: TestContext): Promise<Scene> {
  const folder = scratchFolder(t);
  makeTree(folder, VARIED_TREE);
  const repository = await publisherRepository(memoryScratch(t));
  const memory = join(repository.folder, 'source.index');
  const publish = (into = '') =>
    repository.publish(new FolderTree(folder, new FolderMemory(memory, into), LATER), {
      into: into as ByteString,
    });
  return { folder, memory, repository, publish };
}

test('a folder that has not changed is not read again', async (t) => {
  const { publish } = await scene(t);
  assert.ok((await publish()).fileBytes > 100_000);
  const { changed, fileBytes, entries } = await publish();
  assert.deepEqual([changed, fileBytes, entries], [false, 0, 13]);
});

for (const [what, act] of [
  [
    'other content of the same size and time',
    (at) => {
      const past = new Date(1e12);
      utimesSync(at('large'), past, past);
      writeFileSync(at('large'), 'y'.repeat(100_000));
      utimesSync(at('large'), past, past);
    },
  ],
  ['one more byte', (at) => appendFileSync(at('nothing'), 'x')],
  ['another mode', (at) => chmodSync(at('usr/share/doc'), 0o600)],
  ['another mode of a folder with a catalog', (at) => chmodSync(at('usr/share'), 0o700)],
  ['a new file', (at) => writeFileSync(at('usr/share/new'), 'new')],
  ['a new folder', (at) => makeTree(at('fresh'), VARIED_TREE)],
  ['a file that is gone', (at) => unlinkSync(at('usr/share/doc'))],
  ['a folder that is gone', (at) => rmSync(at('usr'), { recursive: true })],
  ['a renamed file', (at) => renameSync(at('large'), at('usr/large'))],
  ['a renamed folder', (at) => renameSync(at('usr/share'), at('share'))],
  [
    'two names exchanged',
    (at) => {
      renameSync(at('large'), at('x'));
      renameSync(at('nothing'), at('large'));
      renameSync(at('x'), at('nothing'));
    },
  ],
  ['one more name of a file', (at) => linkSync(at('large'), at('larger'))],
  ['a name of a linked file that is gone', (at) => unlinkSync(at('usr/bin/tool'))],
  [
    'another target of a symlink',
    (at) => {
      unlinkSync(at('lib'));
      symlinkSync('usr/bin', at('lib'));
    },
  ],
  [
    'a folder in the place of a file',
    (at) => {
      unlinkSync(at('large'));
      mkdirSync(at('large'));
    },
  ],
  [
    'a file in the place of a folder',
    (at) => {
      rmSync(at('usr/share'), { recursive: true });
      writeFileSync(at('usr/share'), 'file');
    },
  ],
] as [string, (at: (path: string) => string) => void][]) {
  test(`the next publish sees ${what}`, async (t) => {
    const { folder, repository, publish } = await scene(t);
    await publish();
    act((path) => join(folder, path));
    assert.equal((await publish()).changed, true);
    await assertReadsBack(repository, new FolderTree(folder));
    assert.deepEqual((await publish()).fileBytes, 0);
  });
}

test('what changed just before it was read is read again', async (t) => {
  const { folder, memory, repository } = await scene(t);
  const publish = () => repository.publish(new FolderTree(folder, new FolderMemory(memory, '')));
  const { fileBytes } = await publish();
  assert.equal((await publish()).fileBytes, fileBytes);
});

test('what was published from elsewhere in between is not overlooked', async (t) => {
  const { folder, repository, publish } = await scene(t);
  await publish();
  await repository.publish(new FolderTree(scratchFolder(t)));
  assert.ok((await publish()).fileBytes > 0);
  await assertReadsBack(repository, new FolderTree(folder));
});

test('the same folder in another directory of the repository is read anew', async (t) => {
  const { publish, repository } = await scene(t);
  await publish();
  await publish('/sub');
  assert.ok((await repository.read()).has('/sub/usr/share/doc'));
});

test('a graft that is gone leaves the content of its file', async (t) => {
  const { folder, repository, publish } = await scene(t);
  writeFileSync(join(folder, '.cvmfsgraft-nothing'), `size=7\nchecksum=${'ab'.repeat(20)}`);
  await publish();
  await publish();
  unlinkSync(join(folder, '.cvmfsgraft-nothing'));
  await publish();
  await assertReadsBack(repository, new FolderTree(folder));
});

for (const [what, damage] of [
  ['cut short', (bytes: Buffer) => bytes.subarray(0, bytes.length / 2)],
  ['no JSON', () => Buffer.from('x\n')],
  [
    'of another version',
    (bytes: Buffer) => Buffer.from(bytes.toString('latin1').replace('"version":1', '"version":2'), 'latin1'),
  ],
  ['empty', () => Buffer.alloc(0)],
] as const) {
  test(`a memory that is ${what} is as good as none`, async (t) => {
    const { folder, memory, repository, publish } = await scene(t);
    await publish();
    writeFileSync(memory, damage(readFileSync(memory)));
    appendFileSync(join(folder, 'nothing'), 'x');
    await publish();
    await assertReadsBack(repository, new FolderTree(folder));
  });
}

test('a memory that cannot be written is an error that names it', async (t) => {
  const { memory, publish, repository } = await scene(t);
  mkdirSync(memory);
  await assert.rejects(publish(), { code: 'STORAGE', message: `Cannot write ${memory}` });
  assert.equal(repository.manifest().revision, 1, 'the revision is published all the same');
});
