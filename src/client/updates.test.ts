import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openClient, publishRepository } from '../../test/support/client-repository.ts';
import { ManualClock } from '../../test/support/fake-clock.ts';
import { dir, file } from '../../test/support/trees.ts';
import { ThimbleError } from '../core/errors.ts';
import { type LogFields, silentLog } from '../core/ports.ts';
import { FolderSource } from '../node/folder-source.ts';
import { nodeHashing } from '../node/hashing.ts';
import { MountedSnapshot } from './mounted-snapshot.ts';
import type { Source } from './network/source.ts';
import { Updates, type UpdatesOptions } from './updates.ts';

async function follow(t: TestContext, options: Partial<UpdatesOptions> = {}) {
  const published = await publishRepository(t);
  const publish = (text: string) => published.publish(dir({ file: file(text) }));
  await publish('first');
  const storage = new FolderSource(published.storage);
  const network = { isAway: false };
  const source: Source = {
    name: 'test',
    open: async (path, how) => {
      if (network.isAway) throw new ThimbleError('NETWORK', 'away');
      return storage.open(path, how);
    },
  };
  const retries = { rounds: 1, firstContactRounds: 1 };
  const { repository, objects } = openClient(published, { sources: [source], retries });
  const mounted = await MountedSnapshot.open(await repository.resolve({}), objects, { hashing: nodeHashing });
  const clock = new ManualClock();
  const told: number[] = [];
  const warnings: string[] = [];
  const log = {
    ...silentLog,
    warn: (message: string, fields?: LogFields) => void warnings.push(`${message} ${fields?.['error']}`),
  };
  const updates = new Updates(
    mounted,
    repository,
    async (changes) => void told.push(changes.size),
    { clock, random: { fraction: () => 0.5 }, log },
    options,
  );
  t.after(() => updates.stop());
  return { publish, network, mounted, clock, told, updates, warnings };
}

/** Until what was set going by a timer has come to rest. */
const rest = () => new Promise((resolve) => setTimeout(resolve, 50));

test('a new revision is shown when the time to live has passed, and the kernel is told', async (t) => {
  const { publish, mounted, clock, told, updates } = await follow(t);
  updates.start();
  const { revision } = await publish('second');
  clock.advance(239_000);
  await rest();
  assert.equal(mounted.snapshot.revision, revision - 1);
  clock.advance(1_000);
  while (updates.status().moves === 0) await rest();
  assert.equal(mounted.snapshot.revision, revision);
  assert.deepEqual(told, [1]);
  const { ttlSeconds, nextCheckInSeconds, checkedSeconds } = updates.status();
  assert.deepEqual([ttlSeconds, nextCheckInSeconds, checkedSeconds], [240, 240, clock.unixSeconds()]);
});

test('nothing happens where there is nothing new, and all who ask at once ask once', async (t) => {
  const { updates, told, publish } = await follow(t);
  assert.equal((await updates.checkNow()).kind, 'unchanged');
  await publish('second');
  const results = await Promise.all([updates.checkNow(), updates.checkNow()]);
  assert.deepEqual([results[0]!.kind, results[0] === results[1], told.length], ['moved', true, 1]);
});

test('a failed look is tried again soon, and said once', async (t) => {
  const { publish, network, mounted, clock, updates, warnings } = await follow(t);
  updates.start();
  const { revision } = await publish('second');
  network.isAway = true;
  await assert.rejects(updates.checkNow(), { code: 'NETWORK' });
  assert.equal(updates.status().nextCheckInSeconds, 30);
  clock.advance(30_000);
  await rest();
  assert.match(updates.status().error ?? '', /Cannot get \.cvmfspublished/);
  assert.equal(warnings.length, 1);
  network.isAway = false;
  clock.advance(30_000);
  while (updates.status().moves === 0) await rest();
  assert.deepEqual([mounted.snapshot.revision, updates.status().error], [revision, undefined]);
});

test('a server that tells is believed at once, and asked again afterwards', async (t) => {
  let tell: (answer: 'news' | 'none' | 'unsupported') => void = () => {};
  const asked: (number | undefined)[] = [];
  const { publish, mounted, clock, updates } = await follow(t, {
    waitForNews: ({ revision }) => {
      asked.push(revision);
      return new Promise((resolve) => {
        tell = resolve;
      });
    },
  });
  updates.start();
  tell('none');
  await rest();
  assert.deepEqual([asked.length, updates.status().isPushed], [2, true]);
  const { revision } = await publish('second');
  tell('news');
  await rest();
  clock.advance(500);
  while (updates.status().moves === 0) await rest();
  await rest();
  assert.equal(mounted.snapshot.revision, revision);
  assert.deepEqual(asked, [revision - 1, revision - 1, revision]);
});

test('a server that cannot tell, or breaks off, is left alone for a while', async (t) => {
  const answers: (() => 'unsupported')[] = [
    () => 'unsupported',
    () => {
      throw new ThimbleError('NETWORK', 'broken off');
    },
  ];
  let asked = 0;
  const { clock, updates } = await follow(t, {
    waitForNews: async () => (answers[asked++] ?? (() => 'unsupported' as const))(),
  });
  updates.start();
  await rest();
  assert.deepEqual([asked, updates.status().isPushed], [1, false]);
  clock.advance(300_000);
  await rest();
  assert.equal(asked, 2);
  clock.advance(30_000);
  await rest();
  assert.equal(asked, 3);
  updates.stop();
  await rest();
  assert.equal(clock.timers, 0, 'nothing is left that would wake up');
});

test('an update that cannot be had leaves the old revision, whole', async (t) => {
  const { publish, network, mounted, updates, told } = await follow(t);
  const before = mounted.snapshot;
  await publish('second');
  network.isAway = true;
  await assert.rejects(updates.checkNow(), { code: 'NETWORK' });
  assert.deepEqual([mounted.snapshot, told.length], [before, 0]);
});
