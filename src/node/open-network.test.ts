import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { sourceFolder } from '../../test/contract/source-contract.ts';
import { response, startRawServer } from '../../test/support/raw-server.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { DEFAULT_NETWORK_SETTINGS, type NetworkSettings } from '../client/network/network-settings.ts';
import { readWhole } from '../client/objects.ts';
import { silentLog } from '../core/ports.ts';
import { openNetwork } from './open-network.ts';

function open(t: TestContext, settings: Partial<NetworkSettings>) {
  const network = openNetwork(
    { ...DEFAULT_NETWORK_SETTINGS, deadlineMs: 10_000, ...settings },
    { log: silentLog },
  );
  t.after(() => network.close());
  const get = (path = 'x') =>
    network.servers.fetch(path, async (file) => Buffer.from(await readWhole(file, 1_000)).toString());
  return { ...network, get };
}

test('openNetwork() reads folders beside web servers', async (t) => {
  const folder = sourceFolder(t);
  const server = await startRawServer(t, (socket) => void socket.write(response('', '500 Oops')));
  const { servers, get } = open(t, { servers: [server.url, `file://${folder}`] });
  assert.equal(await get('.cvmfspublished'), 'a manifest');
  assert.equal(servers.current, folder);
});

test('openNetwork() refuses to be without servers', (t) => {
  assert.throws(() => open(t, { servers: [] }), { code: 'USAGE' });
});

test('openNetwork() asks external servers without the proxies of the others', async (t) => {
  const server = await startRawServer(t, (socket) => void socket.write(response('external')));
  const { external } = open(t, {
    servers: ['http://a.invalid/x'],
    proxyGroups: [['http://b.invalid:1']],
    externalServers: [server.url],
  });
  assert.equal(external!.status().proxy, 'DIRECT');
  await external!.fetch('x', async (file) => void (await readWhole(file, 100)));
  assert.equal(open(t, { servers: [server.url] }).external, undefined);
});

test('openNetwork() finds proxies with a PAC file where a group is "auto"', async (t) => {
  const proxy = await startRawServer(t, (socket) => void socket.write(response('by way of the proxy')));
  const pac = join(scratchFolder(t), 'proxy.pac');
  writeFileSync(pac, `function FindProxyForURL() { return "PROXY 127.0.0.1:${proxy.port}"; }`);
  const { get } = open(t, {
    servers: ['http://origin.invalid/x'],
    proxyGroups: [['auto']],
    pacUrls: [`file://${pac}`],
  });
  assert.equal(await get(), 'by way of the proxy');
});

for (const [follows, statuses] of [
  [true, [301, 302, 303, 307, 308]],
  [false, [302]],
] as const) {
  for (const status of statuses) {
    test(`openNetwork() ${follows ? 'follows' : 'does not follow'} status ${status} when told so`, async (t) => {
      const target = await startRawServer(t, (socket) => void socket.write(response('there')));
      const server = await startRawServer(
        t,
        (socket) => void socket.write(response('', `${status} Moved`, [`Location: ${target.url}/z?q=1`])),
      );
      const { get } = open(t, { servers: [server.url], followRedirects: follows, deadlineMs: 200 });
      if (follows) assert.equal(await get(), 'there');
      else await assert.rejects(get(), { code: 'NETWORK' });
      assert.equal(target.requests.length, follows ? 1 : 0);
    });
  }
}

test('openNetwork() follows four redirects, and no circle', async (t) => {
  let hops = 4;
  const server = await startRawServer(t, (socket, _, before) => {
    const isLast = before % 100 >= hops;
    socket.write(isLast ? response('there') : response('', '302 Found', [`Location: /${before}`]));
  });
  const { get } = open(t, { servers: [server.url], followRedirects: true, deadlineMs: 200 });
  assert.equal(await get(), 'there');
  assert.equal(server.requests.length, 5);
  hops = Number.POSITIVE_INFINITY;
  await assert.rejects(get(), { code: 'NETWORK' });
});
