/** What goes wrong before a server can say anything: names, addresses, certificates, proxies. */

import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import { messageOf } from '../../../src/core/errors.ts';
import type { Sockets } from '../../../src/core/ports.ts';
import { createResolver } from '../../../src/node/resolver.ts';
import { createSockets } from '../../../src/node/sockets.ts';
import { trustedCertificate } from '../../support/certificates.ts';
import { type PublishedRepository, publishRepository } from '../../support/client-repository.ts';
import { startDeadListener } from '../../support/dead-listener.ts';
import { ended, FaultClient, type FaultClientOptions, LIMITS, SLACK_MS } from '../../support/fault-client.ts';
import { FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { troubleOf } from '../../support/http-faults.ts';
import { type NameTable, startNameServer } from '../../support/name-server.ts';
import { memoryScratch } from '../../support/scratch.ts';
import { dir, file } from '../../support/trees.ts';

const NAME = 'server.test';
const scope = fileScope();
let scratch: string;
let published: PublishedRepository;

before(async () => {
  scratch = memoryScratch(scope);
  published = await publishRepository(scope);
  await published.publish(dir({ a: file('content') }));
});

function clientOf(t: TestContext, urls: readonly string[], options: FaultClientOptions = {}): FaultClient {
  return new FaultClient(t, scratch, published, urls, options);
}

const text = async (client: FaultClient) => (await client.read('a')).toString();

async function socketsWith(t: TestContext, names: NameTable): Promise<Sockets> {
  const { address } = await startNameServer(t, names);
  // As much shorter than usual as the other limits of these tests are.
  const resolver = createResolver({ nameServers: [address], hostsFile: '/dev/null', timeoutMs: 300 });
  return createSockets({ resolver });
}

const named = (server: FaultServer) => server.url.replace(/\/\/[^/]*/, `//${NAME}:${server.port}`);

/** NETWORK in time, and well again when it is mended. */
async function assertPasses(client: FaultClient, says: RegExp, mend: () => unknown): Promise<void> {
  const failed = await ended(() => text(client));
  assert.equal(failed.code, 'NETWORK', messageOf(failed.error));
  assert.match(messageOf(failed.error), says);
  assert.ok(failed.ms < LIMITS.deadlineMs + SLACK_MS, `it failed after ${failed.ms} ms`);
  await mend();
  const again = await ended(() => text(client));
  assert.equal(again.value, 'content', messageOf(again.error));
  assert.ok(again.ms < LIMITS.backoffMaxMs + SLACK_MS, `it was well again after ${again.ms} ms`);
  client.assertCacheIsSound();
}

describe('fault', () => {
  for (const [how, names] of [
    ['the name is unknown', {}],
    ['name servers are silent', { [NAME]: { v4: 'silent', v6: 'silent' } }],
    ['the name has no address', { [NAME]: {} }],
  ] as [string, NameTable][]) {
    test(`DNS gone: ${how}`, async (t) => {
      const server = await FaultServer.start(t, published);
      const client = clientOf(t, [named(server)], { sockets: await socketsWith(t, names) });
      await assertPasses(client, /server\.test/, () => {
        names[NAME] = { v4: ['127.0.0.1'], v6: [] };
      });
    });
  }

  test('DNS gone: another server is enough', async (t) => {
    const server = await FaultServer.start(t, published);
    const sockets = await socketsWith(t, { [NAME]: { v4: 'silent', v6: 'silent' } });
    assert.equal(await text(clientOf(t, [named(server), server.url], { sockets })), 'content');
  });

  test('dual stack with dead IPv6', async (t) => {
    const server = await FaultServer.start(t, published);
    await startDeadListener(t, server.port, '::1');
    const sockets = await socketsWith(t, { [NAME]: { v4: ['127.0.0.1'], v6: ['::1'] } });
    const client = clientOf(t, [named(server)], { sockets, limits: { timeoutMs: 900 } });
    const { value, error, ms } = await ended(() => text(client));
    assert.equal(value, 'content', messageOf(error));
    assert.ok(ms < LIMITS.deadlineMs + SLACK_MS);
  });

  test('dual stack with dead IPv4', async (t) => {
    const server = await FaultServer.start(t, published, { host: '::1' });
    await startDeadListener(t, server.port, '127.0.0.1');
    const sockets = await socketsWith(t, { [NAME]: { v4: ['127.0.0.1'], v6: ['::1'] } });
    const client = clientOf(t, [named(server)], { sockets, limits: { timeoutMs: 900 } });
    assert.equal(await text(client), 'content');
  });

  test('IPv6 only', async (t) => {
    const server = await FaultServer.start(t, published, { host: '::1' });
    const sockets = await socketsWith(t, { [NAME]: { v4: [], v6: ['::1'] } });
    assert.equal(await text(clientOf(t, [named(server)], { sockets })), 'content');
    assert.equal(await text(clientOf(t, [server.url])), 'content');
  });

  for (const [how, name, days, says] of [
    ['expired', 'localhost', -1, /EXPIRED/],
    ['for the wrong name', 'elsewhere.test', 1, /ALTNAME/],
  ] as const) {
    test(`TLS certificate ${how}`, async (t) => {
      const bad = await FaultServer.start(t, published, { tls: await trustedCertificate(name, days) });
      const good = await FaultServer.start(t, published, { tls: await trustedCertificate('localhost') });
      const url = (server: FaultServer) => server.url.replace('127.0.0.1', 'localhost');
      assert.equal(await text(clientOf(t, [url(bad), url(good)])), 'content');
      const { code, error, ms } = await ended(() => text(clientOf(t, [url(bad)])));
      assert.equal(code, 'NETWORK');
      assert.match(messageOf(error), says);
      assert.ok(ms < LIMITS.deadlineMs + SLACK_MS);
    });
  }

  test('plain HTTP where TLS is expected', async (t) => {
    const server = await FaultServer.start(t, published);
    const { code, ms } = await ended(() => text(clientOf(t, [server.url.replace('http', 'https')])));
    assert.equal(code, 'NETWORK');
    assert.ok(ms < LIMITS.deadlineMs + SLACK_MS);
  });

  for (const name of [
    '407 Proxy Authentication Required',
    '403 Forbidden',
    'connection refused',
    'SYN black hole',
    'accepted and never answered',
    'captive portal with 200',
    'wrong bytes',
  ]) {
    test(`a proxy: ${name}`, async (t) => {
      const { begin, outcome } = troubleOf(name);
      const [server, bad, good] = [
        await FaultServer.start(t, published),
        await FaultServer.start(t, published),
        await FaultServer.start(t, published),
      ];
      await begin(bad, /(?:)/);
      const both = clientOf(t, [server.url], { network: { proxyGroups: [[bad.origin], [good.origin]] } });
      const alone = clientOf(t, [server.url], { network: { proxyGroups: [[bad.origin]] } });
      if (outcome === 'NETWORK') {
        assert.equal(await text(both), 'content');
        await assertPasses(alone, /./, () => bad.heal());
      } else {
        // Bad data is the same by every proxy, as far as anybody knows: it is asked for past caches.
        await assert.rejects(text(alone), ({ code }: { code: string }) => /INTEGRITY|FORMAT/.test(code));
        await bad.heal();
        assert.equal(await text(alone), 'content');
      }
      assert.deepEqual(server.paths, [], 'nobody goes past the proxies');
    });
  }
});
