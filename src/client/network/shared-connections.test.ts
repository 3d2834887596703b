/** Short requests ahead of need, sent one behind the other on a connection. */

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type RawAnswer, response, startRawServer } from '../../../test/support/raw-server.ts';
import { ThimbleError } from '../../core/errors.ts';
import { nodeClock } from '../../node/clock.ts';
import { nodeSockets } from '../../node/sockets.ts';
import { HttpClient } from './http-client.ts';
import { Urgency } from './urgency.ts';

const COUNT = 8;
const SHORT = new Urgency(true);

/** One connection for what is ahead of need, and three for the others. */
async function setUp(t: TestContext, answer: RawAnswer) {
  const server = await startRawServer(t, answer);
  const client = new HttpClient(nodeSockets, nodeClock, { maxConnectionsPerHost: 4, stallTimeoutMs: 1_000 });
  t.after(() => client.close());
  const fetchText = async (resource: string, wanted: Urgency | 'by somebody who waits' = SHORT) => {
    const urgency = wanted instanceof Urgency ? wanted : undefined;
    const answered = await client.send({
      target: { host: '127.0.0.1', port: server.port, tls: false },
      authority: `127.0.0.1:${server.port}`,
      resource,
      deadlineMs: nodeClock.monotonicMs() + 10_000,
      background: urgency !== undefined,
      urgency,
    });
    let text = '';
    for (let piece = await answered.next(); piece !== undefined; piece = await answered.next()) {
      text += Buffer.from(piece).toString('latin1');
    }
    return text;
  };
  // A connection is shared when it has gone on behind a response.
  assert.equal(await fetchText('/first'), 'this is /first');
  const fetchAll = () => Promise.all(Array.from({ length: COUNT }, (_, index) => fetchText(`/${index}`)));
  const expected = Array.from({ length: COUNT }, (_, index) => `this is /${index}`);
  return { server, client, fetchText, fetchAll, expected };
}

/** True for requests on the first connection. */
function onFirst(): (socket: Socket) => boolean {
  let first: Socket | undefined;
  return (socket) => socket === (first ??= socket);
}

const resourceOf = (request: string) => request.split(' ')[1]!;
const answerTo = (request: string) => response(`this is ${resourceOf(request)}`);
const isNumbered = (request: string) => /^GET \/\d/.test(request);

/** Says nothing before so many requests are here; then answers all of them, in pieces of this size. */
function afterAll(count: number, pieceBytes = Number.POSITIVE_INFINITY): RawAnswer {
  const waiting: string[] = [];
  return (socket, request) => {
    if (!isNumbered(request)) return void socket.write(answerTo(request));
    waiting.push(request);
    if (waiting.length < count) return;
    const all = Buffer.concat(waiting.splice(0).map((one) => Buffer.from(answerTo(one))));
    for (let at = 0; at < all.length; at += pieceBytes) socket.write(all.subarray(at, at + pieceBytes));
  };
}

for (const [how, pieceBytes] of [
  ['at once', Number.POSITIVE_INFINITY],
  ['a few bytes at a time', 7],
] as const) {
  test(`several requests are sent before the first is answered, and each gets its own response: ${how}`, async (t) => {
    const { server, fetchAll, expected } = await setUp(t, afterAll(COUNT, pieceBytes));
    assert.deepEqual(await fetchAll(), expected);
    assert.deepEqual(await fetchAll(), expected);
    assert.equal(server.connections, 1);
  });
}

test('requests whose answers are long, or that somebody waits for, are not sent behind others', async (t) => {
  let underWay = 0;
  let most = 0;
  const { server, fetchText } = await setUp(t, (socket, request) => {
    most = Math.max(most, ++underWay);
    setTimeout(() => {
      underWay--;
      socket.write(answerTo(request));
    }, 5);
  });
  const long = new Urgency(false);
  await Promise.all(Array.from({ length: COUNT }, (_, index) => fetchText(`/${index}`, long)));
  assert.equal(most, 1);
  assert.equal(server.connections, 1);
  await Promise.all(
    Array.from({ length: COUNT }, (_, index) => fetchText(`/${index}`, 'by somebody who waits')),
  );
  assert.ok(most <= 4, `${most} at a time, on four connections`);
});

test('a connection that ends behind a response: what was sent behind it is sent again, on others, one by one', async (t) => {
  const closing = Buffer.from('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nthis is /0');
  let perSocket = new Map<Socket, number>();
  let most = 0;
  const isFirst = onFirst();
  const { fetchAll, expected } = await setUp(t, (socket, request) => {
    if (isFirst(socket) && isNumbered(request)) {
      if (resourceOf(request) === '/0') socket.end(closing);
      return;
    }
    perSocket.set(socket, (perSocket.get(socket) ?? 0) + 1);
    most = Math.max(most, perSocket.get(socket)!);
    setTimeout(() => {
      perSocket.set(socket, perSocket.get(socket)! - 1);
      socket.write(answerTo(request));
    }, 5);
  });
  perSocket = new Map();
  most = 0;
  assert.deepEqual(await fetchAll(), expected);
  assert.equal(most, 1, 'no request is sent behind another for a while');
});

test('a response that is cut off fails alone; those behind it are sent again', async (t) => {
  const isFirst = onFirst();
  const { fetchText, expected } = await setUp(t, (socket, request) => {
    if (isFirst(socket) && isNumbered(request)) {
      if (resourceOf(request) === '/0') socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nthis');
      return;
    }
    socket.write(answerTo(request));
  });
  const all = await Promise.allSettled(Array.from({ length: COUNT }, (_, index) => fetchText(`/${index}`)));
  const [first, ...others] = all;
  assert.equal(first?.status, 'rejected');
  assert.ok(first.reason instanceof ThimbleError && first.reason.code === 'NETWORK');
  assert.deepEqual(
    others.map((one) => one.status === 'fulfilled' && one.value),
    expected.slice(1),
  );
});

test('a connection on which nothing comes behind the first response: the others are sent again on another', async (t) => {
  const isFirst = onFirst();
  const { fetchAll, expected } = await setUp(t, (socket, request) => {
    if (isFirst(socket) && isNumbered(request) && resourceOf(request) !== '/0') return;
    socket.write(answerTo(request));
  });
  assert.deepEqual(await fetchAll(), expected);
});

test('whoever comes to wait for a request behind others gets its answer on another connection', async (t) => {
  const isFirst = onFirst();
  let first: Socket | undefined;
  const { server, fetchText } = await setUp(t, (socket, request) => {
    if (isFirst(socket) && isNumbered(request)) first = socket;
    else socket.write(answerTo(request));
  });
  const awaited = new Urgency(true);
  const ahead = [fetchText('/0'), fetchText('/1', awaited), fetchText('/2')];
  while (server.requests.length < 4) await new Promise((resolve) => setTimeout(resolve, 1));
  awaited.raise();
  assert.equal(await ahead[1], 'this is /1');
  assert.equal(server.connections, 2);
  // The answer that nobody waits for any more is passed over.
  for (const resource of ['/0', '/1', '/2']) first!.write(response(`this is ${resource}`));
  assert.deepEqual(await Promise.all(ahead), ['this is /0', 'this is /1', 'this is /2']);
});

test('a request behind others fails at its own deadline, at the latest', async (t) => {
  const isFirst = onFirst();
  const { client, server, fetchText } = await setUp(t, (socket, request) => {
    if (!isFirst(socket) || !isNumbered(request)) return void socket.write(answerTo(request));
    // Never so long that it would be given up for that.
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
    const timer = setInterval(() => socket.write('.'.repeat(20)), 20);
    socket.once('close', () => clearInterval(timer));
  });
  const slow = fetchText('/0').catch((error: unknown) => error);
  const deadlineMs = nodeClock.monotonicMs() + 200;
  const behind = client.send({
    target: { host: '127.0.0.1', port: server.port, tls: false },
    authority: `127.0.0.1:${server.port}`,
    resource: '/1',
    deadlineMs,
    background: true,
    urgency: SHORT,
  });
  await assert.rejects(behind, { code: 'NETWORK' });
  assert.ok(nodeClock.monotonicMs() >= deadlineMs);
  await slow;
});
