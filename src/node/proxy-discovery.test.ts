import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { response, startRawServer } from '../../test/support/raw-server.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { HttpClient } from '../client/network/http-client.ts';
import { nodeClock } from './clock.ts';
import { type DiscoveryOptions, evaluatePac, proxyDiscovery } from './proxy-discovery.ts';
import { nodeSockets } from './sockets.ts';

const SERVERS = ['http://one.example.org/cvmfs/x.y', 'http://two.example.net/cvmfs/x.y'];
const pac = (body: string) => `function FindProxyForURL(url, host) { ${body} }`;

for (const [what, body, groups] of [
  ['one proxy', 'return "PROXY a:3128"', 'http://a:3128'],
  ['alternatives', 'return "PROXY a:3128; HTTPS b:3129; DIRECT"', 'http://a:3128;https://b:3129;DIRECT'],
  ['kinds that it does not know', 'return "SOCKS s:1080; PROXY a:3128"', 'http://a:3128'],
  ['the host', 'return "PROXY " + host + ":1"', 'http://one.example.org:1'],
  ['functions for names', 'return dnsDomainIs(host, ".net") ? "PROXY a:1" : ""', 'http://a:1'],
  ['its own address', 'return myIpAddress() === "" ? "" : "DIRECT"', 'DIRECT'],
] as const) {
  test(`evaluatePac() understands a script that names ${what}`, async () => {
    assert.equal(await evaluatePac(pac(body), SERVERS), groups);
  });
}

for (const [what, script] of [
  ['does not end', pac('for (;;);')],
  ['takes all memory', pac('var all = []; for (;;) all.push(new Array(1000).join("x") + all.length);')],
  ['wants to leave its engine', pac('return process.exit(1)')],
  ['is a web page', '<html>Sign in</html>'],
  ['has no function', 'var x = 1;'],
  ['names nothing', pac('return "SOCKS s:1080"')],
] as const) {
  test(`evaluatePac() refuses a script that ${what}`, async () => {
    await assert.rejects(evaluatePac(script, SERVERS), { code: 'FORMAT', message: /PAC file/ });
  });
}

function discovery(t: TestContext, options: Partial<DiscoveryOptions>) {
  const http = new HttpClient(nodeSockets, nodeClock, { connectTimeoutMs: 500 });
  t.after(() => http.close());
  return proxyDiscovery({ pacUrls: [], environment: {}, http, ...options });
}

test('proxyDiscovery() takes the environment first', async (t) => {
  const find = discovery(t, { environment: { http_proxy: 'http://e:1' }, pacUrls: ['http://127.0.0.1:1/x'] });
  assert.deepEqual(await find(SERVERS), [['http://e:1']]);
});

test('proxyDiscovery() takes the first PAC file that can be used, and remembers what it says', async (t) => {
  const file = join(scratchFolder(t), 'proxies');
  const server = await startRawServer(t, (socket, request) => {
    socket.write(
      request.includes('/good.pac')
        ? response(pac('return "PROXY a:3128; DIRECT"'))
        : response('<html>', '404 Not Found'),
    );
  });
  const pacUrls = [`${server.url}/gone.pac`, `${server.url}/good.pac`];
  assert.deepEqual(await discovery(t, { pacUrls, file })(SERVERS), [['http://a:3128'], ['DIRECT']]);
  assert.equal(readFileSync(file, 'utf8'), 'http://a:3128;DIRECT');
  await server.stop();
  assert.deepEqual(await discovery(t, { pacUrls, file })(SERVERS), [['http://a:3128'], ['DIRECT']]);
});

test('proxyDiscovery() reads PAC files of this machine, and does not fail when it cannot remember', async (t) => {
  const path = join(scratchFolder(t), 'proxy.pac');
  writeFileSync(path, pac('return "DIRECT"'));
  const file = join(path, 'not-a-folder');
  assert.deepEqual(await discovery(t, { pacUrls: [`file://${path}`], file })(SERVERS), [['DIRECT']]);
});

test('proxyDiscovery() throws NETWORK when there is nothing at all', async (t) => {
  const file = join(scratchFolder(t), 'proxies');
  for (const pacUrls of [['file:///nowhere/proxy.pac'], ['http://no-such-host.invalid/wpad.dat']]) {
    await assert.rejects(discovery(t, { pacUrls, file })(SERVERS), { code: 'NETWORK', hint: /http_proxy/ });
  }
});
