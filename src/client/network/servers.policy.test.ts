/** By which way a file is asked for: proxies, pauses, the way back to what is preferred, and what people say. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdleClock, type JumpingClock, ManualClock } from '../../../test/support/fake-clock.ts';
import { Cancellation } from '../../core/cancellation.ts';
import { type Details, type ErrorCode, ThimbleError } from '../../core/errors.ts';
import { FolderSource } from '../../node/folder-source.ts';
import { readWhole } from '../objects.ts';
import type { ProxyMember } from './proxy-member.ts';
import { Servers } from './servers.ts';
import type { ServersOptions, ServersPorts } from './servers-options.ts';
import type { OpenOptions, Source, SourceFile } from './source.ts';

const PATH = 'data/ab/cd';
const A = 'http://10.0.0.1:3128';
const B = 'http://10.0.0.2:3128';

type Answer = string | { readonly code: ErrorCode; readonly details?: Details };
/** What a server answers by a proxy; undefined for the text "good". */
type Script = (server: string, proxy: string, options: OpenOptions, path: string) => Answer | undefined;

const network = (details: Details = {}): Answer => ({ code: 'NETWORK', details });

/** Servers that answer as a script says, with a list of who was asked by which way. */
function setUp(
  names: readonly string[],
  script: Script,
  options: Partial<ServersOptions> = {},
  more: Partial<ServersPorts> = {},
) {
  const asked: string[] = [];
  const file = (text: string): SourceFile => {
    const chunks = [Buffer.from(text)];
    return { sizeBytes: undefined, next: async () => chunks.shift(), close: () => {} };
  };
  const source = (name: string, proxy?: ProxyMember): Source => ({
    name: proxy === undefined ? name : `${name} through ${proxy.name}`,
    host: name,
    open: async (path, openOptions) => {
      const way = proxy?.name ?? 'DIRECT';
      asked.push(
        `${openOptions.headOnly ? 'try ' : ''}${name} ${way}${openOptions.noCache ? ' no-cache' : ''}`,
      );
      const answer = script(name, way, openOptions, path) ?? 'good';
      if (typeof answer === 'string') return file(answer);
      throw new ThimbleError(answer.code, 'scripted', { details: answer.details ?? {} });
    },
    ...(proxy === undefined ? { through: (member) => source(name, member) } : {}),
  });
  const clock = more.clock ?? new IdleClock();
  const ports = { random: { fraction: () => 0 }, sourceOf: (name: string) => source(name), ...more, clock };
  const servers = new Servers(
    names.map((name) => source(name)),
    ports,
    options,
  );
  const fetch = () => servers.fetch(PATH, textOf);
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return { asked, servers, fetch, settle, clock: clock as JumpingClock };
}

const textOf = async (file: SourceFile) => Buffer.from(await readWhole(file, 1_000)).toString();
const onlyGood = async (file: SourceFile) => {
  const text = await textOf(file);
  if (text !== 'good') throw new ThimbleError('INTEGRITY', `Cannot use ${text}`);
  return text;
};

// ---- proxies ----

test('Servers asks by another proxy when one fails, and stays with it', async () => {
  const { asked, fetch, servers } = setUp(['s'], (_, proxy) => (proxy === A ? network() : undefined), {
    proxyGroups: [[A, B]],
  });
  assert.equal(await fetch(), 'good');
  await fetch();
  assert.deepEqual(asked, [`s ${A}`, `s ${B}`, `s ${B}`]);
  assert.equal(servers.status().proxy, B);
});

test('Servers asks the next server, by the same proxy, when a server fails', async () => {
  const { asked, fetch } = setUp(
    ['s', 't'],
    (name) => (name === 's' ? network({ blame: 'server' }) : undefined),
    {
      proxyGroups: [[A], [B]],
    },
  );
  await fetch();
  assert.deepEqual(asked, [`s ${A}`, `t ${A}`]);
});

test('Servers asks the next server when every proxy fails with the first one', async () => {
  const script: Script = (name) => (name === 's' ? network({ blame: 'proxy' }) : undefined);
  const { asked, fetch } = setUp(['s', 't'], script, { proxyGroups: [[A], [B]] });
  await fetch();
  assert.deepEqual(asked, [`s ${A}`, `s ${B}`, `t ${A}`]);
});

test('Servers asks past caches after damaged data, then another server, and does not blame the proxy', async () => {
  const { asked, servers } = setUp(['s', 't'], (name) => (name === 's' ? 'damaged' : undefined), {
    proxyGroups: [[A], [B]],
  });
  await servers.fetch(PATH, onlyGood);
  assert.deepEqual(asked, [`s ${A}`, `s ${A} no-cache`, `t ${A}`]);
});

test('Servers goes back to the first group when it answers again, and no reader waits for that', async () => {
  const clock = new ManualClock();
  let isDown = true;
  const { asked, fetch, settle, servers } = setUp(
    ['s'],
    (_, proxy) => (proxy === A && isDown ? network() : undefined),
    { proxyGroups: [[A], ['DIRECT']], proxyResetAfterMs: 1_000 },
    { clock },
  );
  await fetch();
  clock.advance(1_500);
  await fetch();
  await settle();
  assert.equal(servers.status().proxy, 'DIRECT', 'it was tried, and has failed');
  isDown = false;
  await fetch();
  await settle();
  assert.equal(servers.status().proxy, 'DIRECT', 'not sooner than after the same time again');
  clock.advance(1_500);
  await fetch();
  await settle();
  assert.equal(servers.status().proxy, A);
  asked.length = 0;
  await fetch();
  assert.deepEqual(asked, [`s ${A}`]);
});

test('Servers goes back to the first server when it answers again, and not before', async () => {
  const clock = new ManualClock();
  let isDown = true;
  const script: Script = (name) => (name === 's' && isDown ? network() : undefined);
  const { fetch, settle, servers } = setUp(['s', 't'], script, { hostResetAfterMs: 1_000 }, { clock });
  await fetch();
  assert.equal(servers.current, 't');
  isDown = false;
  clock.advance(500);
  await fetch();
  await settle();
  assert.equal(servers.current, 't');
  clock.advance(1_000);
  await fetch();
  await settle();
  assert.equal(servers.current, 's');
});

test('Servers finds proxies for "auto" before the first request, and again if that has failed', async () => {
  let found: readonly (readonly string[])[] | undefined;
  const questions: (readonly string[])[] = [];
  const { asked, fetch } = setUp(
    ['s', 't'],
    () => undefined,
    { proxyGroups: [['auto'], ['DIRECT']] },
    {
      discoverProxies: async (servers) => {
        questions.push(servers);
        if (found === undefined) throw new ThimbleError('NETWORK', 'Cannot find any proxy');
        return found;
      },
    },
  );
  await assert.rejects(fetch(), { code: 'NETWORK', message: 'Cannot find any proxy' });
  found = [[A], [B]];
  await Promise.all([fetch(), fetch()]);
  assert.deepEqual(asked, [`s ${A}`, `s ${A}`]);
  assert.deepEqual(questions, [
    ['s', 't'],
    ['s', 't'],
  ]);
});

test('Servers waits for name servers as it waits for servers', async () => {
  let failures = 2;
  const resolver = {
    resolve: async () => {
      if (failures-- > 0) throw new ThimbleError('NETWORK', 'Cannot find the address of squid');
      return { addresses: ['10.0.0.1'], ttlSeconds: 60 };
    },
  };
  const { asked, fetch } = setUp(['s'], () => undefined, { proxyGroups: [['http://squid:1']] }, { resolver });
  assert.equal(await fetch(), 'good');
  assert.deepEqual(asked, ['s http://squid:1 (10.0.0.1)']);
});

test('Servers keeps its deadline also while it looks for a way', async () => {
  const never = () => new Promise<never>(() => {});
  const silent = setUp(
    ['s'],
    () => undefined,
    { proxyGroups: [['http://squid:1']] },
    { resolver: { resolve: never } },
  );
  await assert.rejects(silent.fetch(), { code: 'NETWORK', message: /out of time/ });
  const lost = setUp(['s'], () => undefined, { proxyGroups: [['auto']] }, { discoverProxies: never });
  await assert.rejects(lost.fetch(), { code: 'NETWORK', message: /out of time/ });
});

// ---- patience ----

test('Servers asks once more by the same way when a connection broke', async () => {
  let failures = 1;
  const script: Script = () => (failures-- > 0 ? network({ phase: 'transfer' }) : undefined);
  const { asked, fetch, clock } = setUp(['s', 't'], script);
  await fetch();
  assert.deepEqual(asked, ['s DIRECT', 's DIRECT']);
  assert.deepEqual(clock.waits, []);
});

test('Servers leaves a server alone for as long as it wants', async () => {
  let failures = 1;
  const script: Script = () =>
    failures-- > 0 ? network({ status: 429, blame: 'server', retryAfterSeconds: 7 }) : undefined;
  const { asked, fetch, clock } = setUp(['s'], script);
  await fetch();
  assert.deepEqual(clock.waits, [7_000]);
  assert.equal(asked.length, 2);
});

test('Servers gives up at once when the server wants to be left alone beyond the deadline', async () => {
  const script: Script = () => network({ blame: 'server', retryAfterSeconds: 1e9 });
  const { asked, fetch, clock } = setUp(['s'], script, { rounds: 1e9 });
  await assert.rejects(fetch(), { code: 'NETWORK' });
  assert.deepEqual([asked.length, clock.waits.length], [1, 0]);
});

test('requests that find a server left alone wait without using up their rounds', async () => {
  const seen = new Set<string>();
  const script: Script = (_server, _proxy, _options, path) => {
    const isFirst = !seen.has(path);
    seen.add(path);
    return isFirst ? network({ blame: 'server', retryAfterSeconds: 1 }) : undefined;
  };
  const { servers } = setUp(['s'], script, { rounds: 2, deadlineMs: 1e9 });
  const paths = Array.from({ length: 8 }, (_, i) => `data/${i}`);
  const all = await Promise.all(paths.map((path) => servers.fetch(path, textOf)));
  assert.equal(all.length, 8);
});

test('Servers asks another server while one wants to be left alone', async () => {
  const script: Script = (name) =>
    name === 's' ? network({ blame: 'server', retryAfterSeconds: 7 }) : undefined;
  const { fetch, clock } = setUp(['s', 't'], script);
  await fetch();
  assert.deepEqual(clock.waits, []);
});

test('Servers gives up soon until the first answer, and from then on asks until the deadline', async () => {
  let isDown = true;
  const options = { rounds: Number.POSITIVE_INFINITY, firstContactRounds: 2, deadlineMs: 60_000 };
  const { asked, fetch, clock } = setUp(['s'], () => (isDown ? network() : undefined), options);
  await assert.rejects(fetch(), { code: 'NETWORK' });
  assert.equal(asked.length, 2);
  isDown = false;
  await fetch();
  isDown = true;
  const startedMs = clock.nowMs;
  await assert.rejects(fetch(), { code: 'NETWORK' });
  assert.ok(clock.nowMs - startedMs > 50_000);
  assert.ok(clock.nowMs - startedMs <= 60_000);
});

test('Servers without a deadline asks until somebody does not want it any more', async () => {
  const signal = new Cancellation();
  let count = 0;
  const script: Script = () => {
    if (++count === 500) signal.cancel();
    return network();
  };
  const { servers, clock } = setUp(['s'], script, {
    rounds: Number.POSITIVE_INFINITY,
    deadlineMs: Number.POSITIVE_INFINITY,
  });
  await assert.rejects(servers.fetch(PATH, textOf, undefined, { signal }), { code: 'CANCELLED' });
  assert.equal(count, 500);
  assert.ok(
    clock.waits.every((ms) => ms <= 5_000),
    'recovery takes one period at most',
  );
});

test('Servers ends a pause when nobody wants the file any more', async () => {
  const clock = new ManualClock();
  const signal = new Cancellation();
  const { servers, settle } = setUp(['s'], () => network(), {}, { clock });
  const pending = servers.fetch(PATH, textOf, undefined, { signal });
  pending.catch(() => {});
  await settle();
  assert.equal(clock.timers, 1);
  signal.cancel();
  await assert.rejects(pending, { code: 'CANCELLED' });
  assert.equal(clock.timers, 0);
});

test('Servers begins a round no later than a period after the one before, also when that took its time', async () => {
  const starts: number[] = [];
  const clock = new IdleClock();
  const script: Script = () => {
    starts.push(clock.nowMs);
    clock.nowMs += 4_900;
    return network();
  };
  const { fetch } = setUp(['s'], script, { rounds: 12, deadlineMs: 1e9 }, { clock });
  await assert.rejects(fetch(), { code: 'NETWORK' });
  for (let i = 1; i < starts.length; i++) assert.ok(starts[i]! - starts[i - 1]! <= 5_400);
});

test('a request can have a deadline and rounds of its own, and says when it is in the background', async () => {
  const seen: OpenOptions[] = [];
  const { servers, clock } = setUp(['s'], (_server, _proxy, options) => void seen.push(options) as undefined);
  await servers.fetch(PATH, textOf, undefined, { background: true, deadlineMs: 5 });
  assert.equal(seen[0]?.background, true);
  assert.equal(seen[0]?.deadlineMs, clock.nowMs + 5);
  const failing = setUp(['s'], () => network());
  await assert.rejects(failing.servers.fetch(PATH, textOf, undefined, { rounds: 1 }), { code: 'NETWORK' });
  assert.equal(failing.asked.length, 1);
});

// ---- order, and what people say ----

test('Servers takes the order that a server knows, and only so many of them', async () => {
  const script: Script = (_server, _proxy, _options, path) =>
    path.startsWith('api/') ? '3,1,2\n' : undefined;
  const options = { geoOrder: true, maxServers: 2 };
  const { servers, fetch } = setUp(['r', 's', 't'], script, options);
  await fetch();
  assert.deepEqual(
    servers.status().servers.map(({ address }) => address),
    ['t', 'r'],
  );
  const unknown = setUp(
    ['r', 's', 't'],
    (_server, _proxy, _options, path) => (path.startsWith('api/') ? network() : undefined),
    options,
  );
  await unknown.fetch();
  assert.equal(unknown.servers.current, 'r');
});

test('Servers uses only the first so many servers', () => {
  const { servers } = setUp(['r', 's', 't'], () => undefined, { maxServers: 2 });
  assert.equal(servers.status().servers.length, 2);
});

test('probeOrder() puts the fastest server first, and those that do not answer last', async () => {
  const clock = new IdleClock();
  const took: Record<string, number> = { r: 50, s: 10, t: 5 };
  const script: Script = (name) => {
    clock.nowMs += took[name]!;
    return name === 't' ? network() : undefined;
  };
  const { servers } = setUp(['r', 't', 's'], script, {}, { clock });
  await servers.probeOrder();
  assert.deepEqual(
    servers.status().servers.map(({ address }) => address),
    ['s', 'r', 't'],
  );
});

test('servers and proxies can be switched and changed by hand', async () => {
  const { asked, servers, fetch } = setUp(['r', 's', 't'], () => undefined, { proxyGroups: [[A], [B]] });
  servers.switchServer();
  assert.equal(servers.current, 's');
  servers.switchServer('t');
  servers.switchProxy();
  await fetch();
  servers.switchServer();
  assert.equal(servers.current, 'r');
  assert.throws(() => servers.switchServer('x'), { code: 'USAGE', hint: /r, s, t/ });
  servers.setServers(['x']);
  servers.setProxies([]);
  await fetch();
  assert.deepEqual(asked, [`t ${B}`, 'x DIRECT']);
  assert.throws(() => servers.setServers([]), { code: 'USAGE' });
  assert.throws(() => servers.setProxies([['ftp://a']]), { code: 'USAGE' });
});

test('servers cannot be changed where nobody knows how to reach others', () => {
  const sources = [new FolderSource('/nowhere')];
  const servers = new Servers(sources, { clock: new ManualClock(), random: { fraction: () => 0 } });
  assert.throws(() => servers.setServers(['/elsewhere']), { code: 'UNSUPPORTED' });
});

test('fetchFromEach() asks every server once, and tells what each says', async () => {
  const script: Script = (name) => (name === 's' ? { code: 'NOT_FOUND' } : `of ${name}`);
  const { asked, servers } = setUp(['r', 's', 't', 'u', 'v', 'w'], script);
  const answers = await servers.fetchFromEach(PATH, textOf);
  assert.deepEqual(
    answers.map((answer) => ('value' in answer ? answer.value : (answer.error as ThimbleError).code)),
    ['of r', 'NOT_FOUND', 'of t', 'of u', 'of v', 'of w'],
  );
  assert.equal(asked.length, 6);
  assert.equal(servers.current, 'r');
  assert.equal(servers.counters.roundTrips, 0, 'nobody waited');
});

test('status() tells what was asked, what failed, and what took longest', async () => {
  const clock = new IdleClock();
  const script: Script = (name) => {
    clock.nowMs += name === 's' ? 40 : 10;
    return name === 's' ? network() : undefined;
  };
  const { servers, fetch } = setUp(
    ['s', 't'],
    script,
    { proxyGroups: [['http://user:secret@10.0.0.1:3128']] },
    { clock },
  );
  await fetch();
  const status = servers.status();
  assert.deepEqual(status.servers, [
    { address: 's', isCurrent: false, requests: 1, failures: 1, bytes: 0, lastError: 'scripted' },
    { address: 't', isCurrent: true, requests: 1, failures: 0, bytes: 4, lastError: undefined },
  ]);
  assert.deepEqual(status.counters, { requests: 2, failures: 1, bytes: 4, roundTrips: 2 });
  assert.deepEqual(status.slowest, { path: PATH, server: `s through ${A}`, milliseconds: 40 });
  assert.equal(status.lastError?.server, `s through ${A}`);
  assert.ok(!JSON.stringify(status).includes('secret'));
});

test('round trips are requests that nobody could send earlier', async () => {
  const { servers, fetch } = setUp(['s'], () => undefined);
  await Promise.all([fetch(), fetch(), fetch()]);
  assert.equal(servers.counters.roundTrips, 1);
  await fetch();
  assert.equal(servers.counters.roundTrips, 2);
});

// ---- what a reader is told ----

for (const [what, first, second, answered] of [
  ['nobody answers', network({ phase: 'connect' }), network(), 'no'],
  ['one is silent and one says that it is not here', network(), { code: 'NOT_FOUND' }, 'no'],
  ['no name has an address', network({ phase: 'resolve' }), network({ phase: 'resolve' }), 'no'],
  ['one is silent and one is out of order', network({ status: 503 }), network(), 'yes'],
  ['one is out of order and one is silent', network(), network({ status: 503 }), 'yes'],
] as const) {
  test(`where ${what}, the failure says whether anybody has answered`, async () => {
    const { fetch } = setUp(['s', 't'], (name) => (name === 's' ? first : second), { rounds: 2 });
    await assert.rejects(fetch(), (error: ThimbleError) => {
      assert.equal(error.code, 'NETWORK');
      assert.equal(error.details['answered'], answered);
      return true;
    });
  });
}

test('a body that breaks off is an answer', async () => {
  const { servers } = setUp(['s'], () => undefined, { rounds: 1 });
  const breaking = async () => {
    throw new ThimbleError('NETWORK', 'Cannot receive');
  };
  await assert.rejects(servers.fetch(PATH, breaking), { details: { answered: 'yes' } });
});

test('one round of silence is forgotten where another was answered', async () => {
  let asked = 0;
  const { fetch } = setUp(['s'], () => network(asked++ === 0 ? { status: 500, blame: 'server' } : {}), {
    rounds: 3,
  });
  await assert.rejects(fetch(), (error: ThimbleError) => error.details['answered'] === 'yes');
});
