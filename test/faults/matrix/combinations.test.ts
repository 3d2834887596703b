/** Two things wrong at a time, and the oddities of boxes on the way: what each part does well has to hold of the whole. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { before, describe, type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { messageOf } from '../../../src/core/errors.ts';
import type { Resolver } from '../../../src/core/ports.ts';
import { createSockets } from '../../../src/node/sockets.ts';
import { type PublishedRepository, publishRepository } from '../../support/client-repository.ts';
import { startDeadListener } from '../../support/dead-listener.ts';
import { ended, FaultClient, type FaultClientOptions, LIMITS, SLACK_MS } from '../../support/fault-client.ts';
import { bytesOfAnswer, type Fault, FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { troubleOf } from '../../support/http-faults.ts';
import { noise } from '../../support/memory-tree.ts';
import { response } from '../../support/raw-server.ts';
import { memoryScratch } from '../../support/scratch.ts';
import { dir, file } from '../../support/trees.ts';

/** Long enough for a busy machine; a try that hangs is given up much earlier. */
const PATIENT_MS = 15_000;
const LARGE = Buffer.from(noise(1_200_000));
const scope = fileScope();
let scratch: string;
let published: PublishedRepository;

before(async () => {
  scratch = memoryScratch(scope);
  published = await publishRepository(scope);
  await published.publish(dir({ a: file('content'), b: file('more'), large: file(LARGE) }));
});

const start = (t: TestContext) => FaultServer.start(t, published);

function clientOf(t: TestContext, urls: readonly string[], options: FaultClientOptions = {}): FaultClient {
  const limits = { deadlineMs: PATIENT_MS, ...options.limits };
  return new FaultClient(t, scratch, published, urls, { ...options, limits });
}

const text = async (client: FaultClient, path = 'a') => (await client.read(path)).toString();

/** An error of the network in time. */
async function assertFails(client: FaultClient, says = /./): Promise<void> {
  const { code, error, ms } = await ended(() => text(client));
  assert.equal(code, 'NETWORK', messageOf(error));
  assert.match(messageOf(error), says);
  assert.ok(ms < LIMITS.deadlineMs + SLACK_MS, `it failed after ${ms} ms`);
}

describe('fault', { concurrency: 3 }, () => {
  for (const name of [
    'accepted and never answered',
    'truncated body',
    'body that stalls',
    'slow loris, body at 1 byte/s',
    'another protocol',
  ]) {
    test(`every proxy: ${name}; servers are good, and the next group asks them directly`, async (t) => {
      const [server, one, two] = [await start(t), await start(t), await start(t)];
      for (const proxy of [one, two]) await troubleOf(name).begin(proxy, /(?:)/);
      const proxyGroups = [[one.origin, two.origin], ['DIRECT']];
      const client = clientOf(t, [server.url], { network: { proxyGroups } });
      assert.equal(await text(client), 'content');
      assert.ok((await client.read('large')).equals(LARGE));
      client.assertCacheIsSound();
    });

    test(`the only proxy: ${name}; it fails in time, and is well when the proxy is`, async (t) => {
      const [server, proxy] = [await start(t), await start(t)];
      await troubleOf(name).begin(proxy, /(?:)/);
      const client = clientOf(t, [server.url], {
        network: { proxyGroups: [[proxy.origin]] },
        limits: { deadlineMs: LIMITS.deadlineMs },
      });
      await assertFails(client);
      await proxy.heal();
      assert.equal(await text(client), 'content');
      assert.deepEqual(server.paths, [], 'nobody goes past the proxy');
    });
  }

  test('a proxy that stalls and a server that truncates, beside a good server', async (t) => {
    const [bad, good, slow, quick] = [await start(t), await start(t), await start(t), await start(t)];
    await troubleOf('body that stalls').begin(slow, /^data/);
    // What proxies say to the address of the bad server is what it says.
    quick.misbehave((exchange) => {
      const isOfBad = exchange.request.includes(bad.origin);
      const answer = bytesOfAnswer(exchange.good);
      if (isOfBad) exchange.socket.end(answer.subarray(0, answer.length - 1));
      else exchange.socket.write(answer);
    });
    const proxyGroups = [[slow.origin], [quick.origin]];
    const client = clientOf(t, [bad.url, good.url], { network: { proxyGroups } });
    assert.equal(await text(client), 'content');
    assert.ok((await client.read('large')).equals(LARGE));
    client.assertCacheIsSound();
  });

  test('half-open connections: the server sleeps, and its connections are gone when it wakes up', async (t) => {
    const server = await start(t);
    const client = clientOf(t, [server.url]);
    await client.open();
    // Idle connections that nobody answers on any more, though nothing has said that they are closed.
    let isAsleep = true;
    const slept = new Set<unknown>();
    server.misbehave(({ socket, good }) => {
      if (isAsleep) slept.add(socket);
      if (!slept.has(socket)) socket.write(bytesOfAnswer(good));
    });
    const reading = ended(() => Promise.all(['a', 'b'].map((path) => text(client, path))));
    await new Promise((resolve) => setTimeout(resolve, 2 * LIMITS.timeoutMs));
    isAsleep = false;
    const { value, error } = await reading;
    assert.deepEqual(value, ['content', 'more'], messageOf(error));
  });

  test('SIGSTOP of the server: requests end in time, and all is well after SIGCONT', async (t) => {
    const server = await stoppableServer(t, published);
    const limits = { deadlineMs: LIMITS.deadlineMs };
    const client = clientOf(t, [server.url], { limits });
    await client.open();
    server.child.kill('SIGSTOP');
    await assertFails(client);
    server.child.kill('SIGCONT');
    let again = await ended(() => text(client));
    const untilMs = performance.now() + LIMITS.backoffMaxMs + SLACK_MS;
    while (again.code === 'NETWORK' && performance.now() < untilMs) again = await ended(() => text(client));
    assert.equal(again.value, 'content', messageOf(again.error));
    client.assertCacheIsSound();
  });

  test('name servers that answer after the deadline: an error in time; the answer serves who asks then', async (t) => {
    const server = await start(t);
    let answer: (addresses: string[]) => void = () => {};
    const late = new Promise<string[]>((resolve) => {
      answer = resolve;
    });
    const resolver: Resolver = { resolve: async () => ({ addresses: await late, ttlSeconds: 60 }) };
    const url = server.url.replace('127.0.0.1', 'late.test');
    const limits = { deadlineMs: LIMITS.deadlineMs };
    const client = clientOf(t, [url], { sockets: createSockets({ resolver }), limits });
    await assertFails(client, /late\.test/);
    answer(['127.0.0.1']);
    assert.equal(await text(client), 'content');
  });

  test('an IPv6 black hole on the way to the proxy, and a server that fails', async (t) => {
    const [bad, good, proxy] = [await start(t), await start(t), await start(t)];
    await startDeadListener(t, proxy.port, '::1');
    proxy.misbehave(({ socket, request, good: answer }) => {
      const isOfBad = request.includes(bad.origin);
      socket.write(isOfBad ? response('', '502 Bad Gateway') : bytesOfAnswer(answer));
    });
    // As the addresses of one name are: each is a member of the group.
    const proxyGroups = [[`http://[::1]:${proxy.port}`, proxy.origin]];
    const client = clientOf(t, [bad.url, good.url], { network: { proxyGroups } });
    assert.equal(await text(client), 'content');
  });

  for (const [how, fault] of [
    [
      'chunks with extensions and trailers',
      ({ socket, good }) => {
        const { body } = good;
        const half = body.length >> 1;
        const chunk = (part: Buffer) =>
          Buffer.concat([Buffer.from(`${part.length.toString(16)};x="y"\r\n`), part, Buffer.from('\r\n')]);
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n');
        socket.write(chunk(body.subarray(0, half)));
        socket.write(chunk(body.subarray(half)));
        socket.write('0\r\nDigest: sha-256=of something\r\nX-More: HTTP/1.1 404 Not Found\r\n\r\n');
      },
    ],
    [
      '100 Continue and 103 Early Hints before the answer',
      ({ socket, good }) => {
        socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        socket.write('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n');
        socket.write(bytesOfAnswer(good));
      },
    ],
    [
      'HTTP/1.0 without a length, until the end of the connection',
      ({ socket, good }) => void socket.end(bytesOfAnswer({ ...good, status: '200', headers: [] })),
    ],
    [
      'one byte at a time',
      ({ socket, good }) => {
        const bytes = bytesOfAnswer(good);
        socket.setNoDelay(true);
        const head = bytes.length - good.body.length;
        for (let at = 0; at < head; at++) socket.write(bytes.subarray(at, at + 1));
        socket.write(bytes.subarray(head));
      },
    ],
  ] as [string, Fault][]) {
    test(`odd, but right: ${how}`, async (t) => {
      const server = await start(t);
      server.misbehave(fault);
      const client = clientOf(t, [server.url]);
      assert.equal(await text(client), 'content');
      assert.equal(await text(client, 'b'), 'more');
      assert.ok((await client.read('large')).equals(LARGE));
      client.assertCacheIsSound();
    });
  }

  test('a proxy that compresses what it passes on, unless it is told not to', async (t) => {
    const [server, proxy] = [await start(t), await start(t)];
    proxy.misbehave(({ socket, request, good }) => {
      if (/^accept-encoding: identity$/im.test(request)) socket.write(bytesOfAnswer(good));
      else socket.write(response(gzipSync(good.body), good.status, ['Content-Encoding: gzip']));
    });
    const proxyGroups = [[proxy.origin]];
    assert.equal(await text(clientOf(t, [server.url], { network: { proxyGroups } })), 'content');
  });

  test('redirects in a loop over two servers end, and a third server is asked', async (t) => {
    const [one, two, good] = [await start(t), await start(t), await start(t)];
    const sendTo =
      (other: FaultServer): Fault =>
      ({ socket, request }) =>
        void socket.write(response('', '302 Found', [`Location: ${other.origin}${request.split(' ')[1]}`]));
    one.misbehave(sendTo(two));
    two.misbehave(sendTo(one));
    const client = clientOf(t, [one.url, good.url], { network: { followRedirects: true } });
    assert.equal(await text(client), 'content');
  });
});

/** A good server in a process of its own, which can be put to sleep. */
async function stoppableServer(
  t: TestContext,
  { storage, fqrn }: PublishedRepository,
): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const program = `
    const { readFile } = require('node:fs');
    const server = require('node:http').createServer((request, response) =>
      readFile(process.argv[1] + request.url.replace('/cvmfs/' + process.argv[2], ''), (error, content) =>
        response.writeHead(error ? 404 : 200).end(content)));
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));
  `;
  const child = spawn(process.execPath, ['-e', program, storage, fqrn], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  return { url: `http://127.0.0.1:${line.toString().trim()}/cvmfs/${fqrn}`, child };
}
