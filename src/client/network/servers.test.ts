import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { JumpingClock } from '../../../test/support/fake-clock.ts';
import { type ErrorCode, ThimbleError } from '../../core/errors.ts';
import type { Log } from '../../core/ports.ts';
import { readWhole } from '../objects.ts';
import { Servers } from './servers.ts';
import type { ServersOptions } from './servers-options.ts';
import type { OpenOptions, Source, SourceFile } from './source.ts';

const PATH = '.cvmfspublished';

/** A source that answers with a text or fails with a code, the last step again and again. */
type Step = ErrorCode | { readonly text: string };

interface ScriptedSource extends Source {
  readonly asked: OpenOptions[];
  closed: number;
}

function scripted(name: string, ...steps: readonly Step[]): ScriptedSource {
  const asked: OpenOptions[] = [];
  const source: ScriptedSource = {
    name,
    asked,
    closed: 0,
    open: async (path, options): Promise<SourceFile> => {
      const step = steps[Math.min(asked.length, steps.length - 1)]!;
      asked.push(options);
      if (typeof step === 'string') throw new ThimbleError(step, `Cannot get ${path} from ${name}: scripted`);
      const chunks = [Buffer.from(step.text)];
      return { sizeBytes: undefined, next: async () => chunks.shift(), close: () => void source.closed++ };
    },
  };
  return source;
}

const good = (text = 'good'): Step => ({ text });

function setUp(sources: readonly Source[], options: Partial<ServersOptions> = {}, log?: Log) {
  const clock = new JumpingClock();
  const random = { fraction: () => 0.5 };
  const ports = log === undefined ? { clock, random } : { clock, random, log };
  return { clock, servers: new Servers(sources, ports, options) };
}

const textOf = async (file: SourceFile) => Buffer.from(await readWhole(file, 1_000)).toString();

/** What a consumer of objects does: refuses all texts but one. */
const onlyGood = async (file: SourceFile) => {
  const text = await textOf(file);
  if (text !== 'good') throw new ThimbleError('INTEGRITY', `Cannot use ${text}`);
  return text;
};

test('Servers asks the first server, and no other when it answers', async () => {
  const [a, b] = [scripted('a', good('of a')), scripted('b', good('of b'))];
  const { servers, clock } = setUp([a, b]);
  for (let i = 0; i < 3; i++) assert.equal(await servers.fetch(PATH, textOf), 'of a');
  assert.deepEqual([a.asked.length, b.asked.length, a.closed], [3, 0, 3]);
  assert.deepEqual(clock.waits, []);
  assert.equal(servers.current, 'a');
  assert.deepEqual(servers.counters, { requests: 3, failures: 0, bytes: 12, roundTrips: 3 });
});

test('Servers refuses to be without any server', () => {
  assert.throws(() => setUp([]), { code: 'USAGE' });
});

for (const code of [
  'NETWORK',
  'NOT_FOUND',
  'INTEGRITY',
  'FORMAT',
  'LIMIT',
  'TRUST',
  'UNSUPPORTED',
] as const) {
  test(`Servers asks the next server at once after ${code}, and that one first from then on`, async () => {
    const [a, b] = [scripted('a', code), scripted('b', good())];
    const { servers, clock } = setUp([a, b]);
    assert.equal(await servers.fetch(PATH, textOf), 'good');
    assert.equal(servers.current, 'b');
    const before = a.asked.length;
    await servers.fetch(PATH, textOf);
    assert.deepEqual([a.asked.length, b.asked.length], [before, 2]);
    assert.deepEqual(clock.waits, []);
  });
}

for (const code of ['STORAGE', 'USAGE', 'CANCELLED', 'INTERNAL'] as const) {
  test(`Servers asks nobody else after ${code}: no server can mend that`, async () => {
    const [a, b] = [scripted('a', good()), scripted('b', good())];
    const failing = async () => {
      throw new ThimbleError(code, 'Cannot keep it');
    };
    await assert.rejects(setUp([a, b]).servers.fetch(PATH, failing), { code, message: 'Cannot keep it' });
    assert.deepEqual([a.asked.length, b.asked.length, a.closed], [1, 0, 1]);
  });
}

test('Servers does not hide an error that is not one of ours', async () => {
  const bug = new TypeError('undefined is not a function');
  const source = scripted('a', good());
  await assert.rejects(
    setUp([source]).servers.fetch(PATH, async () => {
      throw bug;
    }),
    bug,
  );
  assert.deepEqual([source.asked.length, source.closed], [1, 1]);
});

test('Servers comes back to a server that has recovered when the other one fails', async () => {
  const a = scripted('a', 'NETWORK', good('of a'));
  const b = scripted('b', good('of b'), 'NETWORK');
  const { servers } = setUp([a, b]);
  assert.equal(await servers.fetch(PATH, textOf), 'of b');
  assert.equal(await servers.fetch(PATH, textOf), 'of a');
  assert.equal(servers.current, 'a');
});

test('Servers asks the whole list again after a pause, which doubles', async () => {
  const [a, b] = [scripted('a', 'NETWORK'), scripted('b', 'NETWORK', 'NETWORK', 'NETWORK', good())];
  const { servers, clock } = setUp([a, b], { rounds: 4, backoffInitMs: 100, deadlineMs: 60_000 });
  assert.equal(await servers.fetch(PATH, textOf), 'good');
  // Three quarters, with a fraction of one half between half and whole.
  assert.deepEqual(clock.waits, [75, 150, 300]);
  assert.deepEqual([a.asked.length, b.asked.length], [4, 4]);
  assert.deepEqual(servers.counters, { requests: 8, failures: 7, bytes: 4, roundTrips: 8 });
});

test('Servers never pauses longer than its limit, and never without need', async () => {
  const { servers, clock } = setUp([scripted('a', 'NETWORK')], {
    rounds: 12,
    backoffInitMs: 1_000,
    backoffMaxMs: 4_000,
    deadlineMs: 1e9,
  });
  await assert.rejects(servers.fetch(PATH, textOf), { code: 'NETWORK' });
  assert.equal(clock.waits.length, 11);
  assert.deepEqual(clock.waits.slice(0, 4), [750, 1_500, 3_000, 3_000]);
  assert.ok(clock.waits.every((ms) => ms <= 4_000));
});

test('Servers gives up after the last round, with the name of the server and the cause', async () => {
  const { servers } = setUp([scripted('a', 'NETWORK')], { rounds: 2 });
  await assert.rejects(servers.fetch(PATH, textOf), (error: ThimbleError) => {
    assert.equal(error.code, 'NETWORK');
    assert.equal(error.message, `Cannot get ${PATH} from a`);
    assert.match(error.hint!, /server/);
    assert.match(String((error.cause as Error).message), /scripted/);
    return true;
  });
});

test('Servers keeps its deadline: no pause that would end behind it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 20_000 }),
      fc.integer({ min: 1, max: 5_000 }),
      fc.integer({ min: 0, max: 3_000 }),
      async (deadlineMs, backoffInitMs, requestMs) => {
        const clock = new JumpingClock();
        const ends: number[] = [];
        const slow: Source = {
          name: 'slow',
          open: async (_, options) => {
            // Takes its time, but not beyond the deadline that it was given.
            ends.push(options.deadlineMs);
            clock.nowMs = Math.max(clock.nowMs, Math.min(clock.nowMs + requestMs, options.deadlineMs));
            throw new ThimbleError('NETWORK', 'slow');
          },
        };
        const servers = new Servers(
          [slow, slow],
          { clock, random: { fraction: () => 0.9 } },
          { deadlineMs, rounds: 50, backoffInitMs },
        );
        const startedMs = clock.nowMs;
        await assert.rejects(servers.fetch(PATH, textOf), { code: 'NETWORK' });
        assert.ok(clock.nowMs <= startedMs + deadlineMs);
        assert.ok(ends.every((ms) => ms === startedMs + deadlineMs));
      },
    ),
  );
});

test('Servers says NOT_FOUND at once when all of them do', async () => {
  const [a, b] = [scripted('a', 'NOT_FOUND'), scripted('b', 'NOT_FOUND')];
  const { servers, clock } = setUp([a, b]);
  await assert.rejects(servers.fetch(PATH, textOf), { code: 'NOT_FOUND' });
  assert.deepEqual([a.asked.length, b.asked.length], [1, 1]);
  assert.deepEqual(clock.waits, []);
});

for (const order of [
  ['NOT_FOUND', 'NETWORK'],
  ['NETWORK', 'NOT_FOUND'],
] as const) {
  test(`Servers does not say NOT_FOUND while one cannot be reached (${order.join(', ')})`, async () => {
    const sources = order.map((code, i) => scripted(`s${i}`, code));
    await assert.rejects(setUp(sources).servers.fetch(PATH, textOf), { code: 'NETWORK' });
    assert.ok(sources.every(({ asked }) => asked.length === 3));
  });
}

test('Servers finds on one server what another one does not have', async () => {
  const { servers } = setUp([scripted('a', 'NOT_FOUND'), scripted('b', good())]);
  assert.equal(await servers.fetch(PATH, textOf), 'good');
});

test('Servers asks a server with damaged data once more, past caches, then the next one', async () => {
  const [a, b] = [scripted('a', good('damaged')), scripted('b', good())];
  const { servers } = setUp([a, b]);
  assert.equal(await servers.fetch(PATH, onlyGood), 'good');
  assert.deepEqual(
    a.asked.map(({ noCache }) => noCache),
    [false, true],
  );
  assert.deepEqual(
    b.asked.map(({ noCache }) => noCache),
    [false],
  );
  assert.deepEqual([a.closed, b.closed], [2, 1]);
  assert.equal(servers.counters.failures, 2);
});

test('Servers is content when only a cache on the way held damaged data', async () => {
  const [a, b] = [scripted('a', good('damaged'), good()), scripted('b', good())];
  const { servers } = setUp([a, b]);
  assert.equal(await servers.fetch(PATH, onlyGood), 'good');
  assert.deepEqual([a.asked.length, b.asked.length], [2, 0]);
});

test('Servers says INTEGRITY when all data is damaged, and does not ask for ever', async () => {
  const sources = [scripted('a', good('damaged')), scripted('b', good('too')), scripted('c', 'NOT_FOUND')];
  const { servers, clock } = setUp(sources);
  await assert.rejects(servers.fetch(PATH, onlyGood), { code: 'INTEGRITY', message: 'Cannot use too' });
  assert.deepEqual(
    sources.map(({ asked }) => asked.length),
    [2, 2, 1],
  );
  assert.deepEqual(clock.waits, []);
});

test('Servers does not ask past caches for what nobody trusts', async () => {
  const source = scripted('a', good());
  const untrusted = async () => {
    throw new ThimbleError('TRUST', 'Cannot trust it');
  };
  await assert.rejects(setUp([source]).servers.fetch(PATH, untrusted), { code: 'TRUST' });
  assert.deepEqual(
    source.asked.map(({ noCache }) => noCache),
    [false],
  );
});

test('Servers tells the log of every failure, with server and path', async () => {
  const lines: string[] = [];
  const log: Log = {
    debug: () => {},
    info: () => {},
    warn: (message, fields) => void lines.push(`${message} ${fields?.['server']} ${fields?.['path']}`),
    error: () => {},
  };
  const sources = [scripted('a', 'NETWORK'), scripted('b', good('damaged'), good())];
  await setUp(sources, {}, log).servers.fetch(PATH, onlyGood);
  assert.deepEqual(lines, [`fetch failed a ${PATH}`, `bad data, asking again without caches b ${PATH}`]);
});
