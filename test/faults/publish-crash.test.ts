import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { FolderTree } from '../../src/publish/folder-tree.ts';
import { keyPaths } from '../../src/publish/key-paths.ts';
import { describeTree, readRepository } from '../support/described-tree.ts';
import { noise } from '../support/memory-tree.ts';
import { FQRN } from '../support/publisher-repository.ts';
import { randomNumbers } from '../support/random-numbers.ts';
import { memoryScratch } from '../support/scratch.ts';
import { readManifest } from '../support/storage-place.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

const ROUNDS = 15;
const SEED = 20_261_122;
const CRASH_POINT = new URL('../support/publish-crash-point.ts', import.meta.url).href;

/** Trees that share some files with each other and not the rest. */
function makeRound(folder: string, round: number): void {
  const files = Array.from({ length: 12 }, (_, i) => [
    `f${i}`,
    file(noise(2000 + i * 3000, i % 3 === 0 ? i + 1 : round * 100 + i + 1)),
  ]);
  makeTree(
    folder,
    dir({
      round: file(String(round)),
      nested: dir({ '.cvmfscatalog': file(''), ...Object.fromEntries(files) }),
    }),
  );
}

test(`a publisher that is killed at any of its file operations leaves a whole revision, and the next one goes on (seed ${SEED})`, async (t) => {
  const scratch = memoryScratch(t);
  const config = join(scratch, 'config');
  const storage = join(scratch, 'storage', FQRN);
  await thimbleJson([
    'repo',
    'create',
    FQRN,
    '--storage',
    storage,
    '--config',
    config,
    '--chunks',
    '1k,4k,16k',
  ]);
  const publisher = join(config, 'repositories', FQRN);
  const { publicKey } = keyPaths(publisher, FQRN);
  const treeOf = (round: number) => {
    const folder = join(scratch, `tree-${round}`);
    makeRound(folder, round);
    return folder;
  };
  const publish = (folder: string, env: Record<string, string>) =>
    thimble(['publish', FQRN, folder, '--config', config], {
      env: { NODE_OPTIONS: `--import=${CRASH_POINT}`, ...env },
    });

  let published = treeOf(0);
  const countFile = join(scratch, 'count');
  assert.equal((await publish(published, { CRASH_COUNT: countFile })).status, 0);
  const operations = Number(readFileSync(countFile, 'utf8'));
  assert.ok(operations > 50, `${operations} operations are enough to choose from`);

  const random = randomNumbers(SEED);
  let killed = 0;
  for (let round = 1; round <= ROUNDS; round++) {
    const folder = treeOf(round);
    const before = readManifest(storage);
    // One round is killed in each part of the work.
    const crashAt =
      Math.floor((operations * (round - 1)) / ROUNDS) + random(Math.ceil(operations / ROUNDS)) + 1;
    const { status } = await publish(folder, { CRASH_AT: String(crashAt) });
    if (status === null) killed++;
    const { revision } = readManifest(storage);
    assert.ok(revision === before.revision || revision === before.revision + 1);
    if (revision > before.revision) published = folder;
    assert.deepEqual(
      await readRepository(storage, publicKey),
      await describeTree(new FolderTree(published)),
      `round ${round}, killed at operation ${crashAt}`,
    );
  }
  assert.ok(killed >= ROUNDS / 2, `${killed} of ${ROUNDS} were killed`);

  const last = treeOf(ROUNDS + 1);
  assert.equal((await publish(last, {})).status, 0);
  assert.deepEqual(await readRepository(storage, publicKey), await describeTree(new FolderTree(last)));
  assert.deepEqual(readdirSync(join(storage, 'data/txn')), []);
  assert.equal(existsSync(join(publisher, 'publish.db')), false);
  assert.equal(existsSync(join(publisher, 'publish.lock')), false);
});
