/** The client against the servers and proxies that people run: nginx and squid. */

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { cacheIdOf, MemoryCache } from '../../src/client/cache.ts';
import { HttpClient } from '../../src/client/network/http-client.ts';
import { Servers } from '../../src/client/network/servers.ts';
import { HttpSource, type Source } from '../../src/client/network/source.ts';
import { Objects, readWhole } from '../../src/client/objects.ts';
import { hashBytes, objectPath } from '../../src/core/content-hash.ts';
import { nodeClock, nodeRandom } from '../../src/node/clock.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { nodeSockets } from '../../src/node/sockets.ts';
import { RepositoryServer } from '../../src/server/repository-server.ts';
import { openOptions, sourceFolder, testSource } from '../contract/source-contract.ts';
import { fileScope } from '../support/file-scope.ts';
import { needs } from '../support/needs.ts';
import { freePort } from '../support/raw-server.ts';
import { startNginx, startSquid } from '../support/web-servers.ts';

const FQRN = 'source.example.org';
const scope = fileScope();
/** One for all tests: it takes its time to start. */
let proxy: string;

before(async () => {
  if (!needs('squid').skip) proxy = await startSquid(scope);
});

function clientFor(t: TestContext): HttpClient {
  const client = new HttpClient(nodeSockets, nodeClock);
  t.after(() => client.close());
  return client;
}

async function startOwn(t: TestContext, folder: string) {
  const server = new RepositoryServer([{ fqrn: FQRN, folder }], { host: '127.0.0.1', port: 0 });
  const address = await server.listen();
  t.after(() => server.close());
  return { server, url: `${address}/cvmfs/${FQRN}` };
}

testSource(
  'HttpSource with nginx',
  async (t) => new HttpSource(clientFor(t), await startNginx(t, FQRN, sourceFolder(t))),
  needs('nginx'),
);

testSource(
  'HttpSource with nginx that ends connections after two requests',
  async (t) =>
    new HttpSource(clientFor(t), await startNginx(t, FQRN, sourceFolder(t), 'keepalive_requests 2;')),
  needs('nginx'),
);

testSource(
  'HttpSource with nginx that keeps no connection',
  async (t) =>
    new HttpSource(clientFor(t), await startNginx(t, FQRN, sourceFolder(t), 'keepalive_timeout 0;')),
  needs('nginx'),
);

testSource(
  'HttpSource with nginx that would like to compress',
  async (t) => {
    const options = 'gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;';
    return new HttpSource(clientFor(t), await startNginx(t, FQRN, sourceFolder(t), options));
  },
  needs('nginx'),
);

async function throughSquid(t: TestContext): Promise<Source & { readonly server: RepositoryServer }> {
  const { server, url } = await startOwn(t, sourceFolder(t));
  const source = new HttpSource(clientFor(t), url, proxy);
  return { name: source.name, open: (path, options) => source.open(path, options), server };
}

testSource('HttpSource through squid', throughSquid, needs('squid'));

const contentOf = async (source: Source, path: string, noCache = false) =>
  Buffer.from(await readWhole(await source.open(path, openOptions(noCache)), 1e7));

test('a proxy keeps objects, and passes over its copy when it is told to', needs('squid'), async (t) => {
  const source = await throughSquid(t);
  const path = `data/00/${'0'.repeat(38)}`;
  for (let i = 0; i < 3; i++) assert.equal((await contentOf(source, path)).toString(), 'an object');
  assert.equal(source.server.totals().requests, 1);
  assert.equal((await contentOf(source, path, true)).toString(), 'an object');
  assert.equal(source.server.totals().requests, 2);
});

test('a proxy does not keep that an object is missing', needs('squid'), async (t) => {
  const folder = sourceFolder(t);
  const { url } = await startOwn(t, folder);
  const source = new HttpSource(clientFor(t), url, proxy);
  const path = `data/33/${'3'.repeat(38)}`;
  await assert.rejects(source.open(path, openOptions()), { code: 'NOT_FOUND' });
  mkdirSync(join(folder, 'data/33'));
  writeFileSync(join(folder, path), 'here now');
  assert.equal((await contentOf(source, path)).toString(), 'here now');
});

test('a damaged copy in a proxy does not keep an object from being fetched', needs('squid'), async (t) => {
  const folder = sourceFolder(t);
  const stored = deflateSync('content that matters');
  const hash = hashBytes(nodeHashing, 'shake128', stored);
  const path = objectPath(hash, '');
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), Buffer.alloc(stored.length, 'x'));
  const { url } = await startOwn(t, folder);
  const source = new HttpSource(clientFor(t), url, proxy);
  const servers = new Servers([source], { clock: nodeClock, random: nodeRandom });
  const objects = new Objects(servers, new MemoryCache(1e6), {
    hashing: nodeHashing,
    inflating: nodeInflating,
  });
  const need = {
    kind: 'object',
    hash,
    type: '',
    compression: 'zlib',
    sizeBytes: 20,
    label: '/file',
  } as const;
  await assert.rejects(objects.fetch(need), { code: 'INTEGRITY' });
  writeFileSync(join(folder, path), stored);
  await objects.fetch(need);
  const into = Buffer.alloc(20);
  assert.equal(objects.read(cacheIdOf(hash, 'zlib'), 0, 20, into, 0), 20);
  assert.equal(into.toString(), 'content that matters');
});

test('a proxy that cannot reach the server is no reason to say NOT_FOUND', needs('squid'), async (t) => {
  const url = `http://127.0.0.1:${await freePort()}/cvmfs/${FQRN}`;
  const source = new HttpSource(clientFor(t), url, proxy);
  await assert.rejects(source.open('.cvmfspublished', openOptions()), {
    code: 'NETWORK',
    details: { status: 503, blame: 'proxy' },
  });
});
