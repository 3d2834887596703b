import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ManualClock } from '../../test/support/fake-clock.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { CheckStateFile } from './check-state-file.ts';

const KIND = { fqrn: 'a.example.org', data: false };
const HASH = 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497' as ContentHash;
const DAY = 24 * 3600;
const open = (path: string, clock: ManualClock) => CheckStateFile.open(path, KIND, 30 * DAY, clock);

test('CheckStateFile goes on with what was saved, until it is complete and too old', (t) => {
  const folder = scratchFolder(t);
  const path = join(folder, 'state');
  const clock = new ManualClock();
  const first = open(path, clock);
  assert.equal(existsSync(path), false);
  first.state.add(HASH, '');
  first.save();
  assert.deepEqual(readdirSync(folder), ['state']);
  clock.advance(31 * DAY * 1000);
  const second = open(path, clock);
  assert.equal(second.state.isVerified(HASH, ''), true, 'it never came to its end');
  second.state.completedSeconds = clock.unixSeconds();
  second.save();
  const third = open(path, clock);
  assert.equal(third.state.count, 0);
  assert.equal(third.state.startedSeconds, clock.unixSeconds());
});

test('CheckStateFile is saved once a minute', (t) => {
  const path = join(scratchFolder(t), 'state');
  const clock = new ManualClock();
  const file = open(path, clock);
  clock.advance(59_999);
  file.saveNowAndThen();
  assert.equal(existsSync(path), false);
  clock.advance(1);
  file.saveNowAndThen();
  assert.equal(existsSync(path), true);
});

test('CheckStateFile fails with FORMAT for another file, and with STORAGE where it cannot read or write', (t) => {
  const folder = scratchFolder(t);
  const clock = new ManualClock();
  writeFileSync(join(folder, 'other'), 'something else');
  assert.throws(() => open(join(folder, 'other'), clock), { code: 'FORMAT' });
  mkdirSync(join(folder, 'folder'));
  assert.throws(() => open(join(folder, 'folder'), clock), { code: 'STORAGE' });
  const nowhere = open(join(folder, 'missing/state'), clock);
  assert.throws(() => nowhere.save(), { code: 'STORAGE', message: /missing\/state$/ });
});
