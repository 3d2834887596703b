import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { silentLog } from '../core/ports.ts';
import { RevisionFile, revisionFolder } from './revision-file.ts';

const at = (revision: number) => ({ revision, rootCatalog: `${revision}`.padStart(40, '0') as ContentHash });

test('the highest revision stays, whoever comes with an older one, and in whichever process', (t) => {
  const folder = scratchFolder(t);
  const key = join(folder, 'key.pub');
  writeFileSync(key, 'a key');
  const open = () => RevisionFile.of(join(folder, 'new', 'state'), 'a.example.org', [key], silentLog);
  assert.equal(open().recall(), undefined);
  open().remember({ ...at(7), extra: 'not kept' } as never);
  open().remember(at(6));
  assert.deepEqual(open().recall(), at(7));
  open().remember(at(8));
  assert.deepEqual(open().recall(), at(8));
});

test('a repository with other keys is another one; without keys there is no memory', (t) => {
  const folder = scratchFolder(t);
  const [one, two] = [join(folder, '1.pub'), join(folder, '2.pub')];
  writeFileSync(one, 'first');
  writeFileSync(two, 'second');
  RevisionFile.of(folder, 'a.example.org', [one], silentLog).remember(at(7));
  assert.equal(RevisionFile.of(folder, 'a.example.org', [two], silentLog).recall(), undefined);
  const none = RevisionFile.of(folder, 'a.example.org', [], silentLog);
  none.remember(at(9));
  assert.equal(none.recall(), undefined);
});

test('a damaged file, or one that cannot be written, is told of and stops nobody', (t) => {
  const folder = scratchFolder(t);
  const key = join(folder, 'key.pub');
  writeFileSync(key, 'a key');
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void warnings.push(message) };
  const state = join(folder, 'state');
  const memory = RevisionFile.of(state, 'a.example.org', [key], log);
  memory.remember(at(7));
  const [name = ''] = readdirSync(state);
  for (const text of ['', '{"revision":"7"}', 'null', '{"revision":7,"rootCatalog":"x"}']) {
    writeFileSync(join(state, name), text);
    assert.equal(memory.recall(), undefined, text);
  }
  memory.remember(at(8));
  assert.deepEqual(memory.recall(), at(8));
  writeFileSync(join(folder, 'file'), '');
  RevisionFile.of(join(folder, 'file'), 'a.example.org', [key], log).remember(at(1));
  mkdirSync(join(folder, 'unused'));
  assert.deepEqual(
    [...new Set(warnings)],
    ['cannot read the memory of revisions', 'cannot write the memory of revisions'],
  );
});

test('the folder follows THIMBLE_DATA', () => {
  assert.equal(revisionFolder({ THIMBLE_DATA: '/x' }), '/x/revisions');
});
