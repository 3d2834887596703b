import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ManualClock } from '../../test/support/fake-clock.ts';
import { type NameTable, startNameServer } from '../../test/support/name-server.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { createResolver } from './resolver.ts';

/** Beyond a promised limit, for a busy machine. */
const SLACK_MS = 6_000;

async function resolverFor(t: TestContext, table: NameTable, hosts = '') {
  const server = await startNameServer(t, table);
  const hostsFile = join(scratchFolder(t), 'hosts');
  writeFileSync(hostsFile, hosts);
  const clock = new ManualClock();
  return { server, clock, resolver: createResolver({ clock, nameServers: [server.address], hostsFile }) };
}

test('resolve() finds every address of a name, those of IPv4 first', async (t) => {
  const { resolver } = await resolverFor(t, {
    'squid.example.org': { v4: ['10.0.0.1', '10.0.0.2'], v6: ['fd00::1'], ttl: 120 },
  });
  assert.deepEqual(await resolver.resolve('squid.example.org'), {
    addresses: ['10.0.0.1', '10.0.0.2', 'fd00::1'],
    ttlSeconds: 120,
  });
});

test('resolve() gives addresses back as they are', async (t) => {
  const { resolver, server } = await resolverFor(t, {});
  for (const address of ['10.1.2.3', 'fd00::1'])
    assert.deepEqual((await resolver.resolve(address)).addresses, [address]);
  assert.equal(server.asked.length, 0);
});

for (const [ttl, ttlSeconds] of [
  [0, 60],
  [59, 60],
  [3_600, 3_600],
  [1_000_000, 86_400],
] as const) {
  test(`resolve() believes an answer that says ${ttl} s for ${ttlSeconds} s`, async (t) => {
    const { resolver, server, clock } = await resolverFor(t, { a: { v4: ['10.0.0.1'], ttl } });
    assert.equal((await resolver.resolve('a')).ttlSeconds, ttlSeconds);
    clock.advance(ttlSeconds * 1000 - 1);
    await resolver.resolve('a');
    assert.equal(server.asked.length, 2, 'once for each family');
    clock.advance(2);
    await resolver.resolve('a');
    assert.equal(server.asked.length, 4);
  });
}

test('resolve() asks once for several that want the same name', async (t) => {
  const { resolver, server } = await resolverFor(t, { a: { v4: ['10.0.0.1'] } });
  await Promise.all([resolver.resolve('a'), resolver.resolve('a'), resolver.resolve('a')]);
  assert.equal(server.asked.length, 2);
});

test('resolve() does not wait for a family that a name server is silent about', async (t) => {
  const { resolver } = await resolverFor(t, {
    four: { v4: ['10.0.0.1'], v6: 'silent' },
    six: { v4: 'silent', v6: ['fd00::1'] },
  });
  const startedMs = performance.now();
  assert.deepEqual((await resolver.resolve('four')).addresses, ['10.0.0.1']);
  assert.deepEqual((await resolver.resolve('six')).addresses, ['fd00::1']);
  assert.ok(performance.now() - startedMs < 2_500);
});

test('resolve() throws NETWORK for a name that does not exist', async (t) => {
  const { resolver } = await resolverFor(t, {});
  await assert.rejects(resolver.resolve('gone'), { code: 'NETWORK', message: /gone: ENOTFOUND/ });
});

test('resolve() gives up on silent name servers after three seconds', async (t) => {
  const { resolver } = await resolverFor(t, { a: { v4: 'silent', v6: 'silent' } });
  const startedMs = performance.now();
  await assert.rejects(resolver.resolve('a'), { code: 'NETWORK', message: /ETIMEOUT/ });
  assert.ok(performance.now() - startedMs < 3_000 + SLACK_MS);
});

test('resolve() goes on with old addresses when name servers fail', async (t) => {
  const table: NameTable = { a: { v4: ['10.0.0.1'], ttl: 60 } };
  const { resolver, clock } = await resolverFor(t, table);
  await resolver.resolve('a');
  delete table['a'];
  clock.advance(61_000);
  assert.deepEqual(await resolver.resolve('a'), { addresses: ['10.0.0.1'], ttlSeconds: 60 });
});

test('resolve() believes the hosts file first', async (t) => {
  const hosts = '# 10.0.0.9 a\n10.0.0.5 Other A # the machine in the corner\nfd00::5 a\nnonsense a\n';
  const { resolver, server } = await resolverFor(t, { a: { v4: ['10.0.0.1'] } }, hosts);
  assert.deepEqual((await resolver.resolve('a')).addresses, ['10.0.0.5', 'fd00::5']);
  assert.equal(server.asked.length, 0);
});
