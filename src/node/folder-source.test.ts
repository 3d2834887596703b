import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SOURCE_FILES, sourceFolder, testSource } from '../../test/contract/source-contract.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { readWhole } from '../client/objects.ts';
import { FolderSource } from './folder-source.ts';

testSource('FolderSource', async (t) => new FolderSource(sourceFolder(t)));

test('FolderSource says NOT_FOUND when its folder does not exist', async (t) => {
  const source = new FolderSource(join(scratchFolder(t), 'missing'));
  await assert.rejects(source.open('.cvmfspublished'), { code: 'NOT_FOUND' });
});

test('FolderSource says NETWORK for what is there and cannot be read', async (t) => {
  const folder = scratchFolder(t);
  mkdirSync(join(folder, '.cvmfspublished'));
  const file = await new FolderSource(folder).open('.cvmfspublished');
  await assert.rejects(file.next(), { code: 'NETWORK', message: /EISDIR/ });
  file.close();
});

test('FolderSource ends with a file that shrinks, and does not follow one that grows', async (t) => {
  const folder = sourceFolder(t);
  const [path = ''] = Object.keys(SOURCE_FILES).filter((name) => name.endsWith('P'));
  const source = new FolderSource(folder);
  const growing = await source.open(path);
  appendFileSync(join(folder, path), 'more');
  assert.equal((await readWhole(growing, 1e7)).length, SOURCE_FILES[path]!.length);
  growing.close();
  const shrinking = await source.open(path);
  truncateSync(join(folder, path), 10);
  assert.equal((await readWhole(shrinking, 1e7)).length, 10);
  shrinking.close();
});
