/** Objects that are asked for ahead of need, and those who come to wait for them. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { ManualClock } from '../../test/support/fake-clock.ts';
import { hashBytes } from '../core/content-hash.ts';
import { type ErrorCode, ThimbleError } from '../core/errors.ts';
import type { ObjectNeed } from '../core/vfs.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { cacheIdOf, MemoryCache } from './cache.ts';
import { Servers } from './network/servers.ts';
import type { OpenOptions, Source, SourceFile } from './network/source.ts';
import { Objects } from './objects.ts';

const DEADLINE_MS = 30_000;
const CONTENT = 'what somebody will want to read';

interface Asked {
  readonly options: OpenOptions;
  readonly answer: () => void;
  readonly fail: (code: ErrorCode) => void;
}

/** Requests that a test answers when it likes. */
function setUp() {
  const stored = deflateSync(CONTENT);
  const hash = hashBytes(nodeHashing, 'shake128', stored);
  const asked: Asked[] = [];
  const source: Source = {
    name: 'test',
    open: (_path, options) =>
      new Promise<SourceFile>((resolve, reject) => {
        const pieces = [stored];
        const file = { sizeBytes: stored.length, next: async () => pieces.shift(), close: () => {} };
        const fail = (code: ErrorCode) => reject(new ThimbleError(code, 'scripted'));
        asked.push({ options, answer: () => resolve(file), fail });
      }),
  };
  const clock = new ManualClock();
  const options = { deadlineMs: DEADLINE_MS, rounds: 1, firstContactRounds: 1 };
  const servers = new Servers([source], { clock, random: { fraction: () => 0 } }, options);
  const objects = new Objects(servers, new MemoryCache(1e6), {
    hashing: nodeHashing,
    inflating: nodeInflating,
  });
  const need: ObjectNeed = {
    kind: 'object',
    hash,
    type: '',
    compression: 'zlib',
    sizeBytes: CONTENT.length,
  };
  const isHere = () => objects.isAtHand(cacheIdOf(hash, 'zlib'));
  return { objects, need, asked, clock, isHere };
}

/** Until nothing happens any more that needs no time. */
const rest = () => new Promise((resolve) => setImmediate(resolve));

test('fetch() hurries what was asked for ahead of need when somebody waits for it', async () => {
  const { objects, need, asked, isHere } = setUp();
  const ahead = objects.fetch(need, { background: true });
  await rest();
  assert.equal(asked[0]!.options.background, true);
  assert.equal(asked[0]!.options.urgency?.isRaised, false);
  const alsoAhead = objects.fetch(need, { background: true });
  assert.equal(asked[0]!.options.urgency?.isRaised, false, 'nobody waits yet');
  const read = objects.fetch(need);
  assert.equal(asked[0]!.options.urgency?.isRaised, true);
  asked[0]!.answer();
  await Promise.all([ahead, alsoAhead, read]);
  assert.ok(isHere());
  assert.equal(asked.length, 1);
});

test('fetch() asks again, once for all who wait, where what was asked for ahead of need fails', async () => {
  const { objects, need, asked, clock } = setUp();
  const ahead = objects.fetch(need, { background: true });
  await rest();
  clock.advance(20_000);
  const untilMs = objects.untilMs();
  const reads = [objects.fetch(need, { untilMs }), objects.fetch(need, { untilMs })];
  asked[0]!.fail('NETWORK');
  await assert.rejects(ahead, { code: 'NETWORK' });
  await rest();
  assert.equal(asked.length, 2);
  assert.equal(asked[1]!.options.background, false);
  assert.equal(asked[1]!.options.deadlineMs, untilMs, 'it has the deadline of the read');
  asked[1]!.answer();
  await Promise.all(reads);
});

test('fetch() takes the word of what was asked for ahead of need where it is more than a failure of the network', async () => {
  const { objects, need, asked } = setUp();
  const ahead = objects.fetch(need, { background: true });
  await rest();
  const read = objects.fetch(need);
  asked[0]!.fail('NOT_FOUND');
  await assert.rejects(ahead, { code: 'NOT_FOUND' });
  await assert.rejects(read, { code: 'NOT_FOUND' });
  assert.equal(asked.length, 1);
});

test('load() hurries and asks again in the same way', async () => {
  const { objects, need, asked } = setUp();
  const load = (options: { background?: boolean }) => objects.load(need.hash, 'C', 1_000, 'catalog', options);
  const ahead = load({ background: true });
  const wanted = load({});
  await rest();
  assert.equal(asked[0]!.options.urgency?.isRaised, true);
  asked[0]!.fail('NETWORK');
  await assert.rejects(ahead, { code: 'NETWORK' });
  await rest();
  asked[1]!.answer();
  assert.equal(Buffer.from(await wanted).toString(), CONTENT);
});

test('fetch() asks nobody when it is too late', async () => {
  const { objects, need, asked, clock } = setUp();
  const untilMs = objects.untilMs();
  clock.advance(DEADLINE_MS);
  await assert.rejects(objects.fetch(need, { untilMs }), { code: 'NETWORK', message: /out of time/ });
  assert.equal(asked.length, 0);
});
