/** Faults that take more than one answer: at each byte, between requests, in ranges, on one connection after another. */

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { cacheIdOf, MemoryCache } from '../../../src/client/cache.ts';
import { HttpClient } from '../../../src/client/network/http-client.ts';
import { Servers } from '../../../src/client/network/servers.ts';
import { HttpSource } from '../../../src/client/network/source.ts';
import { Objects, readWhole } from '../../../src/client/objects.ts';
import { hashBytes, objectPath } from '../../../src/core/content-hash.ts';
import { messageOf } from '../../../src/core/errors.ts';
import type { ObjectNeed } from '../../../src/core/vfs.ts';
import { nodeClock, nodeRandom } from '../../../src/node/clock.ts';
import { nodeHashing } from '../../../src/node/hashing.ts';
import { nodeInflating } from '../../../src/node/inflating.ts';
import { nodeSockets } from '../../../src/node/sockets.ts';
import { ended, LIMITS, SLACK_MS } from '../../support/fault-client.ts';
import { bytesOfAnswer, type Fault, FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { troubleOf } from '../../support/http-faults.ts';
import { response } from '../../support/raw-server.ts';
import { memoryScratch } from '../../support/scratch.ts';

const FQRN = 'sequence.example.org';
const scope = fileScope();
let storage: string;
const contents = Array.from({ length: 60 }, (_, i) => `content ${i}`);
const needs: ObjectNeed[] = [];

before(() => {
  storage = memoryScratch(scope);
  for (const content of contents) {
    const stored = deflateSync(content);
    const hash = hashBytes(nodeHashing, 'shake128', stored);
    const path = join(storage, objectPath(hash, ''));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, stored);
    needs.push({
      kind: 'object',
      hash,
      type: '',
      compression: 'zlib',
      sizeBytes: content.length,
      label: content,
    });
  }
});

function objectsFrom(t: TestContext, servers: readonly FaultServer[], deadlineMs = LIMITS.deadlineMs) {
  const client = new HttpClient(nodeSockets, nodeClock, {
    stallTimeoutMs: LIMITS.timeoutMs,
    connectTimeoutMs: LIMITS.timeoutMs,
  });
  t.after(() => client.close());
  const sources = servers.map(({ url }) => new HttpSource(client, url));
  const all = new Servers(
    sources,
    { clock: nodeClock, random: nodeRandom },
    {
      deadlineMs,
      backoffInitMs: 5,
      backoffMaxMs: LIMITS.backoffMaxMs,
      rounds: 1_000,
      firstContactRounds: 1_000,
    },
  );
  const ports = { hashing: nodeHashing, inflating: nodeInflating };
  return { servers: all, objects: new Objects(all, new MemoryCache(1e6), ports) };
}

function contentOf(objects: Objects, { hash, sizeBytes }: ObjectNeed): string | undefined {
  const into = Buffer.alloc(sizeBytes);
  const count = objects.read(cacheIdOf(hash, 'zlib'), 0, sizeBytes, into, 0);
  return count === undefined ? undefined : into.toString('latin1', 0, count);
}

const start = (t: TestContext) => FaultServer.start(t, { fqrn: FQRN, storage });

describe('fault', { concurrency: 4 }, () => {
  for (const [how, cut] of [
    ['reset', (socket, bytes) => void socket.write(bytes, () => socket.resetAndDestroy())],
    ['closed', (socket, bytes) => void socket.end(bytes)],
  ] as [string, (socket: Parameters<Fault>[0]['socket'], bytes: Buffer) => void][]) {
    test(`connection ${how} at byte n, for all n`, async (t) => {
      const bad = await start(t);
      const good = await start(t);
      const need = needs[0]!;
      const whole = bytesOfAnswer(bad.goodAnswer(objectPath(need.hash, '')));
      for (let length = 0; length < whole.length; length++) {
        await bad.heal();
        bad.misbehave(({ socket, good }) => cut(socket, bytesOfAnswer(good).subarray(0, length)));
        const { objects, servers } = objectsFrom(t, [bad, good]);
        await objects.fetch(need);
        assert.equal(contentOf(objects, need), contents[0], `cut at ${length}`);
        assert.equal(servers.current, good.url);
      }
    });
  }

  for (const [how, behind] of [
    ['duplicate response', (answer: Buffer) => answer],
    ['late response to another request', () => response('not what anybody asked for')],
    ['junk behind a response', () => Buffer.from('\0'.repeat(100))],
  ] as [string, (answer: Buffer) => Buffer][]) {
    test(`${how}: it is never taken for the answer to the next request`, async (t) => {
      const server = await start(t);
      server.misbehave(({ socket, good }) => {
        const answer = bytesOfAnswer(good);
        socket.write(answer);
        // At once, or when the connection is waiting for its next request.
        if (server.paths.length % 2 === 0) socket.write(behind(answer));
        else setTimeout(() => socket.write(behind(answer)), 5);
      });
      const { objects } = objectsFrom(t, [server]);
      for (const [i, need] of needs.slice(0, 20).entries()) {
        await objects.fetch(need);
        assert.equal(contentOf(objects, need), contents[i]);
        await new Promise((resolve) => setTimeout(resolve, i % 3 === 0 ? 10 : 0));
      }
    });
  }

  test('every third connection reset: all of many objects arrive', async (t) => {
    const server = await start(t);
    let count = 0;
    server.misbehave(({ socket, good }) => {
      if (++count % 3 === 0) socket.resetAndDestroy();
      else socket.write(bytesOfAnswer(good));
    });
    const { objects } = objectsFrom(t, [server], 20_000);
    await Promise.all(needs.map((need) => objects.fetch(need)));
    for (const [i, need] of needs.entries()) assert.equal(contentOf(objects, need), contents[i]);
  });

  test('damaged copy in a cache on the way: asked for once more past caches', async (t) => {
    const server = await start(t);
    const need = needs[0]!;
    const asked: string[] = [];
    server.misbehave(({ socket, request, good }) => {
      asked.push(request);
      const isFresh = /^cache-control: no-cache/im.test(request);
      socket.write(isFresh ? bytesOfAnswer(good) : response(Buffer.alloc(good.body.length, 'x')));
    });
    const { objects } = objectsFrom(t, [server]);
    await objects.fetch(need);
    assert.equal(contentOf(objects, need), contents[0]);
    assert.equal(asked.length, 2);
    assert.doesNotMatch(asked[0]!, /no-cache/);
  });

  test('connection that gives its first answer to every request: the next ones are asked for on another', async (t) => {
    const server = await start(t);
    const answers = new WeakMap<Socket, Buffer>();
    server.misbehave(({ socket, good }) => {
      const first = answers.get(socket) ?? bytesOfAnswer(good);
      answers.set(socket, first);
      socket.write(first);
    });
    const { objects } = objectsFrom(t, [server]);
    for (const [i, need] of needs.slice(0, 5).entries()) {
      await objects.fetch(need);
      assert.equal(contentOf(objects, need), contents[i]);
    }
  });

  test('damaged on all servers: INTEGRITY after two requests to each', async (t) => {
    const servers = await Promise.all([start(t), start(t), start(t)]);
    for (const server of servers) await troubleOf('zeros').begin(server, /(?:)/);
    const { objects } = objectsFrom(t, servers);
    await assert.rejects(objects.fetch(needs[0]!), { code: 'INTEGRITY' });
    for (const { paths } of servers) assert.equal(paths.length, 2);
  });

  test('absent on all servers: NOT_FOUND at once, after one request to each', async (t) => {
    const servers = await Promise.all([start(t), start(t), start(t)]);
    for (const server of servers) await troubleOf('404 Not Found').begin(server, /(?:)/);
    const { objects } = objectsFrom(t, servers, 600_000);
    await assert.rejects(objects.fetch(needs[0]!), { code: 'NOT_FOUND' });
    for (const { paths } of servers) assert.equal(paths.length, 1);
  });

  test('absent on one server and a time-out of another is not "absent"', async (t) => {
    const [absent, silent] = [await start(t), await start(t)];
    await troubleOf('404 Not Found').begin(absent, /(?:)/);
    await troubleOf('accepted and never answered').begin(silent, /(?:)/);
    const { objects } = objectsFrom(t, [absent, silent]);
    await assert.rejects(objects.fetch(needs[0]!), { code: 'NETWORK' });
  });

  test('dead servers, hundreds of readers: all of them end at the deadline, and no connection stays', async (t) => {
    const server = await start(t);
    await troubleOf('accepted and never answered').begin(server, /(?:)/);
    const { objects } = objectsFrom(t, [server]);
    const reads = await Promise.all(needs.map((need) => ended(() => objects.fetch(need))));
    for (const { code, ms, error } of reads) {
      assert.equal(code, 'NETWORK', messageOf(error));
      assert.ok(ms < LIMITS.deadlineMs + SLACK_MS, `ended after ${ms} ms`);
    }
    await server.heal();
    await Promise.all(needs.map((need) => objects.fetch(need)));
    for (const [i, need] of needs.entries()) assert.equal(contentOf(objects, need), contents[i]);
  });

  for (const [how, fault] of [
    ['range ignored', ({ socket }) => void socket.write(response('all of it, and more'))],
    ['range of another place', part('bytes 7-9/60', 'xyz')],
    ['range that is shorter', part('bytes 3-4/60', 'xy')],
    ['range that is longer', part('bytes 3-9/60', 'xyzxyzx')],
    ['part without a range', ({ socket }) => void socket.write(response('xyz', '206 Partial Content'))],
    ['range of another unit', part('lines 3-5/60', 'xyz')],
    [
      'several ranges',
      ({ socket }) =>
        void socket.write(response('--x\r\n', '206 Partial Content', ['Content-Type: multipart/byteranges'])),
    ],
    [
      '416 Range Not Satisfiable',
      ({ socket }) => void socket.write(response('', '416 Range Not Satisfiable')),
    ],
  ] as [string, Fault][]) {
    test(`${how}: not taken for the part that was asked for`, async (t) => {
      const bad = await start(t);
      bad.misbehave(fault);
      writeFileSync(join(storage, 'external'), '0123456789');
      const good = await start(t);
      const read = (servers: readonly FaultServer[]) =>
        objectsFrom(t, servers).servers.fetch('external', (file) => readWhole(file, 100), {
          offset: 3,
          length: 3,
        });
      const { code, value, ms } = await ended(() => read([bad]));
      assert.ok(code === 'NETWORK' || code === 'INTEGRITY' || code === 'FORMAT', `${code} ${value}`);
      assert.ok(ms < LIMITS.deadlineMs + SLACK_MS);
      assert.equal(Buffer.from(await read([bad, good])).toString(), '345');
    });
  }

  test('redirects followed: at most four, never in a circle for ever', async (t) => {
    const server = await start(t);
    const client = new HttpClient(nodeSockets, nodeClock);
    t.after(() => client.close());
    let left = 0;
    server.misbehave(({ socket, request, good }) => {
      const again = response('', '302 Found', [`Location: ${server.origin}${request.split(' ')[1]}`]);
      socket.write(left-- > 0 ? again : bytesOfAnswer(good));
    });
    const { hash } = needs[0]!;
    const source = new HttpSource(client, server.url, undefined, { followRedirects: true });
    const options = () => ({ deadlineMs: nodeClock.monotonicMs() + LIMITS.deadlineMs, noCache: false });
    left = 4;
    await readWhole(await source.open(objectPath(hash, ''), options()), 100);
    left = Number.POSITIVE_INFINITY;
    const { code, ms } = await ended(() => source.open(objectPath(hash, ''), options()));
    assert.equal(code, 'NETWORK');
    assert.ok(ms < LIMITS.deadlineMs + SLACK_MS);
  });
});

function part(range: string, body: string): Fault {
  return ({ socket }) =>
    void socket.write(response(body, '206 Partial Content', [`Content-Range: ${range}`]));
}
