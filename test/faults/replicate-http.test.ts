/** Replication over HTTP: from our own server, from nginx, and from servers that stall, break off and are busy. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { HttpClient, type HttpOptions } from '../../src/client/network/http-client.ts';
import { HttpSource } from '../../src/client/network/source.ts';
import { nodeClock } from '../../src/node/clock.ts';
import { nodeSockets } from '../../src/node/sockets.ts';
import { RepositoryServer } from '../../src/server/repository-server.ts';
import { needs } from '../support/needs.ts';
import { FQRN } from '../support/publisher-repository.ts';
import { response, startRawServer } from '../support/raw-server.ts';
import {
  faultsOf,
  nestedTree,
  objectsIn,
  readManifestOf,
  replicableRepository,
  replicate,
} from '../support/replica.ts';
import { startNginx } from '../support/web-servers.ts';

function httpSource(t: TestContext, url: string, options: Partial<HttpOptions> = {}): HttpSource {
  const client = new HttpClient(nodeSockets, nodeClock, options);
  t.after(() => client.close());
  return new HttpSource(client, url);
}

async function setUp(t: TestContext) {
  const original = await replicableRepository(t);
  return { original, folder: `${original.storage}.replica` };
}

async function serve(t: TestContext, folder: string): Promise<string> {
  const server = new RepositoryServer([{ fqrn: FQRN, folder }], { host: '127.0.0.1', port: 0 });
  const address = await server.listen();
  t.after(() => server.close());
  return `${address}/cvmfs/${FQRN}`;
}

async function assertFollows(t: TestContext, urlOf: (folder: string) => Promise<string>): Promise<void> {
  const { original, folder } = await setUp(t);
  const sources = [httpSource(t, await urlOf(original.storage))];
  await replicate(original, folder, { sources, withTags: true });
  await original.publish(nestedTree('two'), { tag: { name: 'v2', description: '' } });
  const report = await replicate(original, folder, { sources, withTags: true });
  assert.deepEqual([report.formerRevision, report.revision], [1, 2]);
  assert.deepEqual(faultsOf(folder), []);
  for (const path of objectsIn(folder))
    assert.deepEqual(readFileSync(join(folder, path)), readFileSync(join(original.storage, path)));
}

test('a repository is replicated from our own server', async (t) => {
  await assertFollows(t, (folder) => serve(t, folder));
});

test('a repository is replicated from nginx', needs('nginx'), async (t) => {
  await assertFollows(t, (folder) => startNginx(t, FQRN, folder));
});

test('a repository is replicated from nginx that keeps no connection', needs('nginx'), async (t) => {
  await assertFollows(t, (folder) => startNginx(t, FQRN, folder, 'keepalive_timeout 0;'));
});

test('a replica is replicated from our own server', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  const second = `${folder}.second`;
  await replicate(original, second, { sources: [httpSource(t, await serve(t, folder))] });
  assert.deepEqual(objectsIn(second), objectsIn(folder));
});

type Trouble = (socket: Socket, bytes: Uint8Array) => void;

/** Serves a folder; the first `times` requests for each object of the tree get into trouble. */
async function startTroubled(t: TestContext, folder: string, trouble: Trouble, times: number) {
  const seen = new Map<string, number>();
  return startRawServer(t, (socket, request) => {
    const [method = '', path = ''] = request.split(' ');
    const file = join(folder, path);
    const count = seen.get(path) ?? 0;
    seen.set(path, count + 1);
    if (!existsSync(file)) socket.write(response('', '404 Not Found'));
    else if (method === 'HEAD') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    else if (path.startsWith('/data/') && count < times) trouble(socket, readFileSync(file));
    else socket.write(response(readFileSync(file)));
  });
}

const TROUBLES: Readonly<Record<string, Trouble>> = {
  'is busy': (socket) => socket.write(response('busy', '503 Service Unavailable')),
  'wants fewer requests': (socket) => socket.write(response('', '429 Too Many Requests', ['Retry-After: 0'])),
  'fails inside': (socket) => socket.write(response('<html>', '500 Internal Server Error')),
  'breaks off in the middle': (socket, bytes) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
    socket.end(bytes.subarray(0, bytes.length / 2));
  },
  'resets connections': (socket) => socket.resetAndDestroy(),
  'never answers': () => {},
  'stalls in the middle': (socket, bytes) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
    socket.write(bytes.subarray(0, 1));
  },
  'says too short a length': (socket, bytes) => socket.write(response(bytes.subarray(0, bytes.length - 1))),
  'sends the body of something else': (socket) => socket.write(response('something else')),
};

for (const [what, trouble] of Object.entries(TROUBLES)) {
  test(`a source that ${what} for a moment is replicated`, async (t) => {
    const { original, folder } = await setUp(t);
    const server = await startTroubled(t, original.storage, trouble, 1);
    const source = httpSource(t, server.url, { stallTimeoutMs: 200 });
    await replicate(original, folder, { sources: [source] });
    assert.deepEqual(faultsOf(folder), []);
  });

  test(`a source that ${what} for ever is given up, and the replica stays what it was`, async (t) => {
    const { original, folder } = await setUp(t);
    await replicate(original, folder);
    await original.publish(nestedTree('two'));
    const server = await startTroubled(t, original.storage, trouble, Number.POSITIVE_INFINITY);
    const source = httpSource(t, server.url, { stallTimeoutMs: 100 });
    const isData = /says too short|something else/.test(what);
    const code = isData ? 'INTEGRITY' : 'NETWORK';
    await assert.rejects(replicate(original, folder, { sources: [source], withTags: true }), { code });
    assert.equal(readManifestOf(folder).revision, 1);
    assert.deepEqual(faultsOf(folder), []);
  });
}
