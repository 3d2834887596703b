/** One bad server beside a good one, and bad servers alone: right bytes or an error, in time. */

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { cacheIdOf, MemoryCache } from '../../src/client/cache.ts';
import { HttpClient } from '../../src/client/network/http-client.ts';
import { Servers } from '../../src/client/network/servers.ts';
import type { ServersOptions } from '../../src/client/network/servers-options.ts';
import { HttpSource } from '../../src/client/network/source.ts';
import { Objects } from '../../src/client/objects.ts';
import { hashBytes, objectPath } from '../../src/core/content-hash.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import type { ObjectNeed } from '../../src/core/vfs.ts';
import { nodeClock, nodeRandom } from '../../src/node/clock.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { nodeSockets } from '../../src/node/sockets.ts';
import { freePort, type RawAnswer, response, startRawServer } from '../support/raw-server.ts';

const CONTENT = Buffer.from('what a program wants to read');
const STORED = deflateSync(CONTENT);
const HASH = hashBytes(nodeHashing, 'shake128', STORED);
const NEED: ObjectNeed = {
  kind: 'object',
  hash: HASH,
  type: '',
  compression: 'zlib',
  sizeBytes: CONTENT.length,
  label: '/file',
};
const GOOD = response(STORED);
const STALL_MS = 100;
const DEADLINE_MS = 1_500;
/** Beyond the deadline for timers and a busy machine. */
const GRACE_MS = 1_000;

function objectsFrom(t: TestContext, urls: readonly string[], options: Partial<ServersOptions> = {}) {
  const client = new HttpClient(nodeSockets, nodeClock, {
    stallTimeoutMs: STALL_MS,
    connectTimeoutMs: STALL_MS,
  });
  t.after(() => client.close());
  const sources = urls.map((url) => new HttpSource(client, url));
  const servers = new Servers(
    sources,
    { clock: nodeClock, random: nodeRandom },
    { deadlineMs: DEADLINE_MS, rounds: 2, backoffInitMs: 20, ...options },
  );
  const ports = { hashing: nodeHashing, inflating: nodeInflating };
  return { servers, objects: new Objects(servers, new MemoryCache(1e6), ports) };
}

function contentOf(objects: Objects): string | undefined {
  const into = Buffer.alloc(100);
  const count = objects.read(cacheIdOf(HASH, 'zlib'), 0, 100, into, 0);
  return count === undefined ? undefined : into.toString('latin1', 0, count);
}

const says =
  (bytes: Buffer | string): RawAnswer =>
  (socket) =>
    void socket.write(bytes);
const saysAndEnds =
  (bytes: Buffer | string): RawAnswer =>
  (socket) =>
    void socket.end(bytes);

const OTHER = deflateSync('the content of quite another object');
const flipped = Buffer.from(STORED);
flipped[10]! ^= 1;

const FAULTS: readonly (readonly [string, ErrorCode, RawAnswer])[] = [
  ['resets connections', 'NETWORK', (socket: Socket) => void socket.resetAndDestroy()],
  ['closes connections', 'NETWORK', (socket) => void socket.end()],
  ['says nothing', 'NETWORK', () => {}],
  ['stops within the header', 'NETWORK', says('HTTP/1.1 200 OK\r\nContent-')],
  ['stops within the body', 'NETWORK', says(GOOD.subarray(0, -5))],
  ['ends within the body', 'NETWORK', saysAndEnds(GOOD.subarray(0, -5))],
  ['speaks another language', 'NETWORK', says('220 mail.example.org ESMTP\r\n\r\n')],
  ['says 200 to nothing', 'INTEGRITY', says(response(''))],
  ['has a bit flipped', 'INTEGRITY', says(response(flipped))],
  ['gives another object', 'INTEGRITY', says(response(OTHER.subarray(0, STORED.length)))],
  ['gives a longer object', 'LIMIT', says(response(Buffer.alloc(10_000, 'x')))],
  ['gives a shorter length', 'INTEGRITY', says(response(STORED.subarray(0, -3)))],
  ['is a network that wants to be signed in to', 'INTEGRITY', says(response('<html>Sign in</html>'))],
  [
    'ends an HTTP/1.0 answer early',
    'INTEGRITY',
    saysAndEnds(Buffer.concat([Buffer.from('HTTP/1.0 200 OK\r\n\r\n'), STORED.subarray(0, -3)])),
  ],
  ['does not stop', 'LIMIT', says(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(100_000)}`)],
  ['redirects', 'NETWORK', says(response('', '302 Found', ['Location: http://127.0.0.1:1/']))],
  [
    'answers with a part',
    'NETWORK',
    says(response(STORED, '206 Partial Content', ['Content-Range: bytes 0-9/99'])),
  ],
  ['says that nothing has changed', 'NETWORK', says('HTTP/1.1 304 Not Modified\r\n\r\n')],
  ['is too busy', 'NETWORK', says(response('', '429 Too Many Requests', ['Retry-After: 1']))],
  ['is broken', 'NETWORK', says(response('oops', '500 Internal Server Error'))],
  ['is down for a while', 'NETWORK', says(response('', '503 Service Unavailable'))],
  ['wants a password', 'NETWORK', says(response('', '401 Unauthorized'))],
  ['does not have it', 'NOT_FOUND', says(response('', '404 Not Found'))],
];

for (const [what, code, fault] of FAULTS) {
  test(`a server that ${what} is passed over`, async (t) => {
    const bad = await startRawServer(t, fault);
    const good = await startRawServer(t, says(GOOD));
    const { objects, servers } = objectsFrom(t, [bad.url, good.url]);
    await objects.fetch(NEED);
    assert.equal(contentOf(objects), CONTENT.toString());
    assert.equal(servers.current, good.url);
    assert.equal(good.requests.length, 1);
    assert.ok(bad.requests.length >= 1);
  });

  test(`a server that ${what} alone leads to ${code}, in time`, async (t) => {
    const bad = await startRawServer(t, fault);
    const { objects } = objectsFrom(t, [bad.url]);
    const startedMs = performance.now();
    await assert.rejects(objects.fetch(NEED), { code });
    assert.ok(performance.now() - startedMs < DEADLINE_MS + GRACE_MS);
    assert.equal(contentOf(objects), undefined);
  });
}

test('a connection that is cut after any number of bytes never leads to a wrong one', async (t) => {
  let length = 0;
  const bad = await startRawServer(t, (socket) => void socket.end(GOOD.subarray(0, length)));
  const good = await startRawServer(t, says(GOOD));
  for (length = 0; length < GOOD.length; length++) {
    const { objects, servers } = objectsFrom(t, [bad.url, good.url]);
    await objects.fetch(NEED);
    assert.equal(contentOf(objects), CONTENT.toString(), `cut after ${length} bytes`);
    assert.equal(servers.current, good.url);
  }
});

test('data that is damaged on all servers is INTEGRITY', async (t) => {
  const bad = await Promise.all([1, 2, 3].map(() => startRawServer(t, says(response(flipped)))));
  const { objects } = objectsFrom(
    t,
    bad.map(({ url }) => url),
  );
  await assert.rejects(objects.fetch(NEED), { code: 'INTEGRITY' });
  for (const { requests } of bad) {
    assert.equal(requests.length, 2);
    assert.match(requests[0]!, new RegExp(objectPath(HASH, '')));
    assert.doesNotMatch(requests[0]!, /no-cache/);
    assert.match(requests[1]!, /no-cache/);
  }
});

test('an object that no server has is NOT_FOUND, at once', async (t) => {
  const urls = [];
  for (let i = 0; i < 3; i++) urls.push((await startRawServer(t, says(response('', '404 Not Found')))).url);
  const { objects, servers } = objectsFrom(t, urls, { backoffInitMs: 60_000, deadlineMs: 600_000 });
  await assert.rejects(objects.fetch(NEED), { code: 'NOT_FOUND' });
  assert.equal(servers.counters.requests, 3);
});

test('servers that are dead lead to NETWORK within the deadline, however many rounds there are', async (t) => {
  const silent = await startRawServer(t, () => {});
  const refused = `http://127.0.0.1:${await freePort()}`;
  const { objects } = objectsFrom(t, [silent.url, refused, silent.url], { rounds: 1_000, deadlineMs: 600 });
  const startedMs = performance.now();
  await assert.rejects(objects.fetch(NEED), { code: 'NETWORK', hint: /server/ });
  assert.ok(performance.now() - startedMs < 600 + GRACE_MS);
  assert.ok(silent.requests.length >= 2, 'they were asked again');
});

test('a server that comes back is used again', async (t) => {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const { objects, servers } = objectsFrom(t, [url], { rounds: 1 });
  await assert.rejects(objects.fetch(NEED), { code: 'NETWORK' });
  const first = await startRawServer(t, says(response(deflateSync('x'))), port);
  await assert.rejects(objects.fetch(NEED), { code: 'INTEGRITY' });
  await first.stop();
  await assert.rejects(objects.fetch(NEED), { code: 'NETWORK' });
  await startRawServer(t, says(GOOD), port);
  await objects.fetch(NEED);
  assert.equal(contentOf(objects), CONTENT.toString());
  assert.equal(servers.current, url);
});

test('a server that comes back between two rounds is found in time', async (t) => {
  const flaky = await startRawServer(t, (socket, _, before) => {
    if (before < 2) socket.resetAndDestroy();
    else socket.write(GOOD);
  });
  const { objects } = objectsFrom(t, [flaky.url], { rounds: 5 });
  await objects.fetch(NEED);
  assert.equal(flaky.requests.length, 3);
});

test('many objects over a server that drops every third connection all arrive', async (t) => {
  const bodies = Array.from({ length: 60 }, (_, i) => deflateSync(`content ${i}`));
  const byPath = new Map(bodies.map((body) => [objectPath(hashBytes(nodeHashing, 'sha1', body), ''), body]));
  const server = await startRawServer(t, (socket, request, before) => {
    const path = /^GET \/(\S+)/.exec(request)![1]!;
    if (before % 3 === 2) socket.resetAndDestroy();
    else socket.write(response(byPath.get(path)!));
  });
  const { objects } = objectsFrom(t, [server.url], { rounds: 30, deadlineMs: 20_000, backoffInitMs: 1 });
  await Promise.all(
    bodies.map(async (body, i) => {
      const hash = hashBytes(nodeHashing, 'sha1', body);
      const sizeBytes = `content ${i}`.length;
      await objects.fetch({ ...NEED, hash, sizeBytes });
      const into = Buffer.alloc(sizeBytes);
      assert.equal(objects.read(cacheIdOf(hash, 'zlib'), 0, sizeBytes, into, 0), sizeBytes);
      assert.equal(into.toString(), `content ${i}`);
    }),
  );
});
