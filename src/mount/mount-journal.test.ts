import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { type MountEvent, MountJournal } from './mount-journal.ts';
import { STATE_FILES } from './state-folder.ts';

const catalog = (mountpoint: string): MountEvent => ({
  event: 'catalog',
  mountpoint: mountpoint as ByteString,
  hash: 'ab'.repeat(20) as ContentHash,
});

test('nothing is written before something may be mounted, then all of it', (t) => {
  const folder = scratchFolder(t);
  const journal = MountJournal.open(folder);
  journal.add(catalog(''));
  journal.add(catalog('/\xff'));
  assert.equal(MountJournal.open(folder).isBegun, false);
  journal.begin();
  journal.add({ event: 'mounted', device: '0:42' });
  const next = MountJournal.open(folder);
  assert.equal(next.isBegun, true);
  assert.deepEqual(next.events, [catalog(''), catalog('/\xff'), { event: 'mounted', device: '0:42' }]);
  assert.deepEqual(next.last('catalog'), catalog('/\xff'));
  assert.equal(next.last('negotiated'), undefined);
});

test('a journal that was abandoned is gone', (t) => {
  const folder = scratchFolder(t);
  const journal = MountJournal.open(folder);
  journal.begin();
  journal.add(catalog(''));
  journal.abandon();
  assert.equal(existsSync(join(folder, STATE_FILES.journal)), false);
});

test('a line that was not written to its end is left out', (t) => {
  const folder = scratchFolder(t);
  const journal = MountJournal.open(folder);
  journal.add(catalog('/a'));
  journal.begin();
  appendFileSync(join(folder, STATE_FILES.journal), '{"event":"cata');
  assert.deepEqual(MountJournal.open(folder).events, [catalog('/a')]);
});

test('what cannot be read or written is named', (t) => {
  const folder = scratchFolder(t);
  const file = join(folder, STATE_FILES.journal);
  writeFileSync(file, 'no JSON\n');
  assert.throws(() => MountJournal.open(folder), { code: 'STORAGE', message: `Cannot read ${file}` });
  const journal = MountJournal.open(join(folder, 'none'));
  assert.throws(() => journal.begin(), { code: 'STORAGE' });
  mkdirSync(join(folder, 'none'));
  journal.begin();
});
