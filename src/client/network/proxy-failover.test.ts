import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../../test/support/fake-clock.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { Resolver } from '../../core/ports.ts';
import { ProxyFailover, type ProxyOptions } from './proxy-failover.ts';

const OPTIONS: ProxyOptions = {
  shardProxies: false,
  maxAddressesPerProxy: 0,
  ipFamily: 'any',
  proxyResetAfterMs: 1_000,
};
const A = 'http://10.0.0.1:3128';
const B = 'http://10.0.0.2:3128';
const C = 'http://10.0.0.3:3128';

function setUp(
  groups: readonly (readonly string[])[],
  more: Partial<ProxyOptions> & { readonly resolver?: Resolver; readonly fraction?: number } = {},
) {
  const { resolver, fraction = 0, ...options } = more;
  const clock = new ManualClock();
  const ports = { clock, random: { fraction: () => fraction }, resolver };
  const proxies = new ProxyFailover(groups, ports, { ...OPTIONS, ...options });
  const pick = (path = 'x') => proxies.pick(path, clock.monotonicMs());
  const burn = () => proxies.burn(pick()!);
  return { clock, proxies, pick, burn };
}

/** Answers from a table, which a test may change. */
function resolverOf(table: Record<string, readonly string[]>, ttlSeconds = 60) {
  const asked: string[] = [];
  const resolver: Resolver = {
    resolve: async (host) => {
      asked.push(host);
      const addresses = table[host];
      if (addresses === undefined) throw new ThimbleError('NETWORK', `Cannot find the address of ${host}`);
      return { addresses, ttlSeconds };
    },
  };
  return { asked, resolver };
}

test('ProxyFailover without groups goes directly', () => {
  const { proxies, pick, burn } = setUp([]);
  assert.equal(pick()?.target, undefined);
  assert.deepEqual(proxies.status(), [{ group: 1, name: 'DIRECT', isCurrent: true, isBurned: false }]);
  burn();
  assert.equal(pick()?.name, 'DIRECT');
});

test('ProxyFailover refuses proxies that are none', () => {
  assert.throws(() => setUp([['nonsense://x']]), { code: 'USAGE' });
});

test('ProxyFailover chooses a member by chance, and stays with it', () => {
  const names = [0, 0.4, 0.8].map((fraction) => setUp([[A, B, C]], { fraction }).pick()?.name);
  assert.deepEqual(names, [A, B, C]);
  const { pick } = setUp([[A, B]]);
  assert.equal(pick('one'), pick('other'));
});

test('ProxyFailover goes through a group, then to the next one, and begins anew when all have failed', () => {
  const { proxies, pick, burn } = setUp([[A, B], [C], ['DIRECT']]);
  const seen: (string | undefined)[] = [];
  for (let i = 0; i < 4; i++) {
    seen.push(pick()?.name);
    if (i < 3) burn();
  }
  assert.deepEqual(seen, [A, B, C, 'DIRECT']);
  assert.deepEqual(
    proxies.status().map(({ isBurned }) => isBurned),
    [true, true, true, false],
  );
  burn();
  assert.equal(pick()?.name, A);
  assert.equal(proxies.trialMs, Number.POSITIVE_INFINITY);
  assert.ok(proxies.status().every(({ isBurned }) => !isBurned));
});

test('ProxyFailover counts a failure once, however many requests report it', () => {
  const { proxies, pick } = setUp([[A], [B], [C]]);
  const failed = pick()!;
  for (let i = 0; i < 3; i++) proxies.burn(failed);
  assert.equal(pick()?.name, B);
});

test('ProxyFailover comes back to the first group when one of its members answers again', async () => {
  const { clock, proxies, pick, burn } = setUp([[A, B], [C]]);
  burn();
  burn();
  assert.equal(pick()?.name, C);
  assert.equal(proxies.trialMs, clock.monotonicMs() + 1_000);
  clock.advance(1_500);
  const members = await proxies.trialMembers();
  assert.deepEqual(
    members.map(({ name }) => name),
    [A, B],
  );
  assert.equal(proxies.trialMs, clock.monotonicMs() + 1_000, 'again later, if none answers');
  proxies.restore(members[1]!);
  assert.equal(pick()?.name, B);
  assert.deepEqual(await proxies.trialMembers(), [members[0]], 'the other one is still to be tried');
  proxies.restore(members[0]!);
  assert.equal(proxies.trialMs, Number.POSITIVE_INFINITY);
  assert.equal(pick()?.name, B, 'the one in use stays');
});

test('ProxyFailover asked directly goes to a proxy only when no server answers', () => {
  const { proxies, pick } = setUp([['DIRECT'], [A]]);
  proxies.onAllServersFailed();
  assert.equal(pick()?.name, A);
  proxies.onAllServersFailed();
  assert.equal(pick()?.name, A);
});

test('ProxyFailover can be told to use another proxy', () => {
  const { proxies, pick } = setUp([[A], [B]]);
  proxies.switch();
  assert.equal(pick()?.name, B);
  assert.equal(proxies.current, B);
});

test('ProxyFailover shares objects out, always in the same way, among members that are not burned', () => {
  const { proxies, pick } = setUp([[A, B, C]], { shardProxies: true });
  const paths = Array.from({ length: 300 }, (_, i) => `data/${i}`);
  const before = new Map(paths.map((path) => [path, pick(path)!]));
  assert.equal(new Set(before.values()).size, 3);
  const [failed] = before.values();
  proxies.burn(failed!);
  for (const path of paths) {
    const now = pick(path);
    assert.notEqual(now, failed);
    if (before.get(path) !== failed) assert.equal(now, before.get(path));
  }
  assert.equal(proxies.status().filter(({ isCurrent }) => isCurrent).length, 3);
});

// ---- names ----

test('ProxyFailover makes every address of a name a member of its own', async () => {
  const { resolver } = resolverOf({ squid: ['10.0.0.1', 'fd00::1'] });
  const { proxies, pick, burn } = setUp([['http://u:p@squid:3128', B]], { resolver });
  assert.equal(pick(), undefined, 'names come first');
  assert.equal(proxies.current, 'http://squid:3128');
  await proxies.ready();
  const first = pick()!;
  assert.equal(first.name, 'http://squid:3128 (10.0.0.1)');
  assert.deepEqual(first.target, { host: '10.0.0.1', port: 3128, tls: false });
  assert.match(first.authorization!, /^Basic /);
  burn();
  assert.equal(pick()?.target?.host, 'fd00::1');
  burn();
  assert.equal(pick()?.name, B);
});

test('ProxyFailover uses as many addresses, and of the family, that it is told to', async () => {
  const table = { squid: ['10.0.0.1', 'fd00::1', '10.0.0.2', '10.0.0.3'] };
  for (const [options, hosts] of [
    [{ maxAddressesPerProxy: 2 }, ['10.0.0.2', '10.0.0.3']],
    [{ ipFamily: 'prefer-6' }, ['fd00::1']],
    [{ ipFamily: 'only-4' }, ['10.0.0.1', '10.0.0.2', '10.0.0.3']],
  ] as const) {
    const { proxies } = setUp([['http://squid:3128']], { ...resolverOf(table), ...options });
    await proxies.ready();
    assert.deepEqual(
      proxies.status().map(({ name }) => /\((.*)\)/.exec(name)?.[1]),
      hosts,
    );
  }
});

test('ProxyFailover passes over names that nobody knows', async () => {
  const { resolver } = resolverOf({ here: ['10.0.0.9'] });
  const { proxies, pick, clock } = setUp([['http://gone:1'], ['http://lost:1', 'http://here:1']], {
    resolver,
  });
  await proxies.ready();
  assert.equal(pick()?.target?.host, '10.0.0.9');
  assert.equal(proxies.trialMs, clock.monotonicMs() + 1_000, 'the first group is tried again');
});

test('ProxyFailover says NETWORK when no proxy has an address, and finds it when name servers are back', async () => {
  const table: Record<string, string[]> = {};
  const { resolver } = resolverOf(table);
  const { proxies, pick } = setUp([['http://one:1'], ['http://other:1']], { resolver });
  await assert.rejects(proxies.ready(), { code: 'NETWORK', hint: /name servers/ });
  table['one'] = ['10.0.0.1'];
  await proxies.ready();
  assert.equal(pick()?.target?.host, '10.0.0.1');
});

test('ProxyFailover looks names up again when their time is over, and nobody waits for that', async () => {
  const table: Record<string, string[]> = { squid: ['10.0.0.1'] };
  const { asked, resolver } = resolverOf(table);
  const { clock, proxies, pick } = setUp([['http://squid:1']], { resolver });
  await proxies.ready();
  const before = pick()!;
  clock.advance(59_000);
  pick();
  assert.equal(asked.length, 1);
  clock.advance(2_000);
  table['squid'] = ['10.0.0.2'];
  assert.equal(pick(), before);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(pick()?.target?.host, '10.0.0.2');
  assert.equal(asked.length, 2);
});

test('ProxyFailover keeps the addresses that it has while name servers are silent', async () => {
  const table: Record<string, string[]> = { squid: ['10.0.0.1', '10.0.0.2'] };
  const { resolver } = resolverOf(table);
  const { clock, proxies, pick, burn } = setUp([['http://squid:1']], { resolver });
  await proxies.ready();
  burn();
  delete table['squid'];
  clock.advance(61_000);
  const before = pick();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(pick(), before);
  assert.deepEqual(
    proxies.status().map(({ isBurned }) => isBurned),
    [true, false],
  );
});
