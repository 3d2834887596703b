/** The client behind real proxies: groups, failures, the way back, passwords, and tunnels to `https://` servers. */

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { HttpClient } from '../../src/client/network/http-client.ts';
import { Servers } from '../../src/client/network/servers.ts';
import type { ServersOptions } from '../../src/client/network/servers-options.ts';
import { HttpSource } from '../../src/client/network/source.ts';
import { readWhole } from '../../src/client/objects.ts';
import { nodeClock, nodeRandom } from '../../src/node/clock.ts';
import { nodeResolver } from '../../src/node/resolver.ts';
import { createSockets } from '../../src/node/sockets.ts';
import { RepositoryServer } from '../../src/server/repository-server.ts';
import { sourceFolder } from '../contract/source-contract.ts';
import { needs } from '../support/needs.ts';
import { freePort, response, startRawServer } from '../support/raw-server.ts';
import { startTlsServer } from '../support/tls-server.ts';
import { startSquid } from '../support/web-servers.ts';

const FQRN = 'source.example.org';
const LOGIN = { user: 'reader', password: 'p@ss/word' };
const OBJECT = `data/00/${'0'.repeat(38)}`;

async function startServer(t: TestContext) {
  const server = new RepositoryServer([{ fqrn: FQRN, folder: sourceFolder(t) }], {
    host: '127.0.0.1',
    port: 0,
  });
  const address = await server.listen();
  t.after(() => server.close());
  return { server, url: `${address}/cvmfs/${FQRN}` };
}

/** A squid that can be ended before its test does. */
async function startMortalSquid(t: TestContext) {
  const ends: (() => unknown)[] = [];
  const url = await startSquid({ after: (end) => void ends.push(end as () => unknown) });
  const stop = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  t.after(stop);
  return { url, stop };
}

function serversFor(
  t: TestContext,
  addresses: readonly string[],
  options: Partial<ServersOptions>,
  authorities?: readonly string[],
) {
  const sockets = createSockets({
    resolver: nodeResolver,
    ...(authorities === undefined ? {} : { authorities }),
  });
  const client = new HttpClient(sockets, nodeClock);
  t.after(() => client.close());
  const sourceOf = (address: string) =>
    new HttpSource(client, address, undefined, { proxyTimeoutMs: 10_000, directTimeoutMs: 10_000 });
  const ports = { clock: nodeClock, random: nodeRandom, resolver: nodeResolver, sourceOf };
  return new Servers(addresses.map(sourceOf), ports, { deadlineMs: 20_000, ...options });
}

const get = (servers: Servers, path = OBJECT) =>
  servers.fetch(path, async (file) => Buffer.from(await readWhole(file, 1e6)).toString());

test('many clients share the proxies of a group, and each stays with one', needs('squid'), async (t) => {
  const { server, url } = await startServer(t);
  const [one, other] = [await startSquid(t), await startSquid(t)];
  const used = new Set<string>();
  for (let i = 0; i < 40 && used.size < 2; i++) {
    const servers = serversFor(t, [url], { proxyGroups: [[one, other]] });
    assert.equal(await get(servers), 'an object');
    const { proxy } = servers.status();
    await get(servers);
    assert.equal(servers.status().proxy, proxy);
    used.add(proxy);
  }
  assert.deepEqual(used, new Set([one, other]));
  assert.equal(server.totals().requests, 2, 'each proxy has fetched the object once');
});

test('when a proxy dies, reading goes on by the other one of its group', needs('squid'), async (t) => {
  const { url } = await startServer(t);
  const [mortal, other] = [await startMortalSquid(t), await startSquid(t)];
  const servers = serversFor(t, [url], { proxyGroups: [[mortal.url], [other]] });
  assert.equal(await get(servers), 'an object');
  assert.equal(servers.status().proxy, mortal.url);
  await mortal.stop();
  assert.equal(await get(servers), 'an object');
  assert.equal(servers.status().proxy, other);
  assert.deepEqual(
    servers.status().proxies.map(({ isBurned }) => isBurned),
    [true, false],
  );
});

test('the first group is used again some time after its proxy has come back', needs('squid'), async (t) => {
  const { url } = await startServer(t);
  const port = await freePort();
  const other = await startSquid(t);
  const first = `http://127.0.0.1:${port}`;
  const servers = serversFor(t, [url], { proxyGroups: [[first], [other]], proxyResetAfterMs: 100 });
  await get(servers);
  assert.equal(servers.status().proxy, other);
  await startSquid(t, undefined, port);
  for (let i = 0; i < 100 && servers.status().proxy === other; i++) {
    assert.equal(await get(servers), 'an object');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(servers.status().proxy, first);
});

test('a proxy that is dead does not keep anybody from going directly', needs('squid'), async (t) => {
  const { url } = await startServer(t);
  const servers = serversFor(t, [url], {
    proxyGroups: [[`http://127.0.0.1:${await freePort()}`], ['DIRECT']],
  });
  assert.equal(await get(servers), 'an object');
  assert.equal(servers.status().proxy, 'DIRECT');
});

test('a server that is dead behind a proxy is passed over', needs('squid'), async (t) => {
  const { url } = await startServer(t);
  const dead = `http://127.0.0.1:${await freePort()}/cvmfs/${FQRN}`;
  const servers = serversFor(t, [dead, url], { proxyGroups: [[await startSquid(t)]] });
  assert.equal(await get(servers), 'an object');
  assert.equal(servers.current, url);
});

test('a proxy that wants a password gets it, and no one else sees it', needs('squid'), async (t) => {
  const { url } = await startServer(t);
  const proxy = await startSquid(t, LOGIN);
  const withLogin = proxy.replace('//', `//${LOGIN.user}:${encodeURIComponent(LOGIN.password)}@`);
  const servers = serversFor(t, [url], { proxyGroups: [[withLogin]] });
  assert.equal(await get(servers), 'an object');
  assert.ok(!JSON.stringify(servers.status()).includes('p@ss'));
  const without = serversFor(t, [url], { proxyGroups: [[proxy]], rounds: 1 });
  await assert.rejects(get(without), { code: 'NETWORK' });
  assert.match(without.status().lastError!.message, /407/);
  const beside = serversFor(t, [url], { proxyGroups: [[proxy], [withLogin]] });
  assert.equal(await get(beside), 'an object');
});

test('an https server is reached through a proxy, by a tunnel', needs('squid'), async (t) => {
  const tls = await startTlsServer(t, 'secret object');
  const address = `https://localhost:${tls.port}/cvmfs/${FQRN}`;
  const proxy = await startSquid(t, LOGIN);
  const withLogin = proxy.replace('//', `//${LOGIN.user}:${encodeURIComponent(LOGIN.password)}@`);
  const servers = serversFor(t, [address], { proxyGroups: [[withLogin]] }, [tls.certificate]);
  for (let i = 0; i < 3; i++) assert.equal(await get(servers), 'secret object');
  assert.equal(tls.paths[0], `/cvmfs/${FQRN}/${OBJECT}`);
  const untrusting = serversFor(t, [address], { proxyGroups: [[withLogin]], rounds: 1 });
  await assert.rejects(get(untrusting), { code: 'NETWORK' });
  assert.match(untrusting.status().lastError!.message, /SELF_SIGNED/);
  const refused = serversFor(t, [address], { proxyGroups: [[proxy]], rounds: 1 }, [tls.certificate]);
  await assert.rejects(get(refused), { code: 'NETWORK' });
  assert.match(refused.status().lastError!.message, /status 407/);
});

test('objects are shared out among the proxies of a group where that is asked for', async (t) => {
  const start = () => startRawServer(t, (socket) => void socket.write(response('an object')));
  const proxies = [await start(), await start()];
  const proxyGroups = [proxies.map(({ url }) => url)];
  const client = () => serversFor(t, ['http://origin.invalid/x'], { proxyGroups, shardProxies: true });
  for (let i = 0; i < 5; i++) await get(client());
  const counts = proxies.map(({ requests }) => requests.length).sort();
  assert.deepEqual(counts, [0, 5], 'all clients ask the same proxy for the same object');
  const servers = client();
  for (let i = 0; i < 50; i++) await get(servers, `data/${i}`);
  assert.ok(proxies.every(({ requests }) => requests.length > 5));
});
