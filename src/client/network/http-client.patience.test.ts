/** Who waits for whom, and for how long: speed limits, background requests, requests that nobody wants any more. */

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { type RawAnswer, response, startRawServer } from '../../../test/support/raw-server.ts';
import { Cancellation } from '../../core/cancellation.ts';
import { nodeClock } from '../../node/clock.ts';
import { nodeSockets } from '../../node/sockets.ts';
import { HttpClient, type HttpOptions, type HttpRequest } from './http-client.ts';

/** Long enough for a process that does not run for a while on a busy machine. */
const STALL_MS = 600;
/** Beyond a promised limit, for a busy machine. */
const SLACK_MS = 6_000;

function clientFor(t: TestContext, options: Partial<HttpOptions> = {}): HttpClient {
  const client = new HttpClient(nodeSockets, nodeClock, { stallTimeoutMs: STALL_MS, ...options });
  t.after(() => client.close());
  return client;
}

function requestTo(port: number, more: Partial<HttpRequest> = {}): HttpRequest {
  return {
    target: { host: '127.0.0.1', port, tls: false },
    authority: `127.0.0.1:${port}`,
    resource: '/object',
    deadlineMs: nodeClock.monotonicMs() + 20_000,
    ...more,
  };
}

async function fetchText(client: HttpClient, request: HttpRequest): Promise<string> {
  const answer = await client.send(request);
  const pieces: Uint8Array[] = [];
  for (let piece = await answer.next(); piece !== undefined; piece = await answer.next()) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

/** Sends the rest of a text piece by piece. */
const drips =
  (head: string, piece: string, count: number): RawAnswer =>
  (socket) => {
    socket.write(head);
    let left = count;
    const timer = setInterval(() => {
      if (left-- > 0) socket.write(piece);
      else clearInterval(timer);
    }, 20);
    socket.on('close', () => clearInterval(timer));
  };
const sized = (bytes: number) => `HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`;

describe('patience', { concurrency: true }, () => {
  for (const [what, head] of [
    ['header', 'HTTP/1.1 200 OK\r\nX-Endless: '],
    ['body', sized(100_000)],
  ] as const) {
    test(`send() gives up on a ${what} that comes byte by byte when the time-out is over`, async (t) => {
      const server = await startRawServer(t, drips(head, 'x', 1e6));
      const startedMs = nodeClock.monotonicMs();
      await assert.rejects(fetchText(clientFor(t), requestTo(server.port)), {
        code: 'NETWORK',
        message: `Cannot receive: less than 1024 bytes a second for ${STALL_MS} ms`,
      });
      assert.ok(nodeClock.monotonicMs() - startedMs < STALL_MS + SLACK_MS);
    });

    test(`send() ends a ${what} that comes byte by byte at the deadline`, async (t) => {
      const server = await startRawServer(t, drips(head, 'x', 1e6));
      const deadlineMs = nodeClock.monotonicMs() + STALL_MS / 2;
      const client = clientFor(t, { lowSpeedBytesPerSecond: 0, stallTimeoutMs: 60_000 });
      await assert.rejects(fetchText(client, requestTo(server.port, { deadlineMs })), {
        code: 'NETWORK',
        message: 'Cannot receive: out of time',
      });
      assert.ok(nodeClock.monotonicMs() >= deadlineMs);
      assert.ok(nodeClock.monotonicMs() - deadlineMs < SLACK_MS);
    });
  }

  test('send() is patient with a body that takes many time-outs, but comes fast enough', async (t) => {
    // One piece in each time-out would do.
    const piece = 'x'.repeat(1_000);
    const server = await startRawServer(t, drips(sized(100_000), piece, 100));
    assert.equal((await fetchText(clientFor(t), requestTo(server.port))).length, 100_000);
  });

  test('send() does not blame the server for a reader that takes its time', async (t) => {
    const server = await startRawServer(t, (socket) => {
      socket.write(`${sized(10)}hello`);
      setTimeout(() => socket.write('world'), 3 * STALL_MS);
    });
    const answer = await clientFor(t).send(requestTo(server.port));
    assert.equal(Buffer.from((await answer.next())!).toString(), 'hello');
    await new Promise((resolve) => setTimeout(resolve, 4 * STALL_MS));
    assert.equal(Buffer.from((await answer.next())!).toString(), 'world');
  });

  test('send() takes the time-out of a request in place of its own', async (t) => {
    const server = await startRawServer(t, () => {});
    const client = clientFor(t, { stallTimeoutMs: 60_000 });
    await assert.rejects(fetchText(client, requestTo(server.port, { timeoutMs: 100 })), {
      message: 'Cannot receive: nothing received for 100 ms',
    });
  });

  test('send() does not meet one dead connection after the other when a server was silent', async (t) => {
    const old = new Set<object>();
    let isDead = false;
    let unanswered = 0;
    const server = await startRawServer(t, (socket) => {
      if (!isDead) old.add(socket);
      if (isDead && old.has(socket)) unanswered++;
      else socket.write(response('hello'));
    });
    const client = clientFor(t);
    await Promise.all(Array.from({ length: 8 }, () => fetchText(client, requestTo(server.port))));
    // From now on only new connections work, as after a while behind a router that has forgotten the old ones.
    isDead = true;
    assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
    assert.equal(unanswered, 1);
  });
});

test('send() does not take what arrived after a response for the next one', async (t) => {
  const sockets: Socket[] = [];
  const server = await startRawServer(t, (socket, _, before) => {
    sockets.push(socket);
    socket.write(response(`answer ${before}`));
  });
  const client = clientFor(t);
  assert.equal(await fetchText(client, requestTo(server.port)), 'answer 0');
  await new Promise((resolve) => sockets[0]!.write(response('nobody asked'), resolve));
  // It is with the client now, which hears of it in the next turn.
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await fetchText(client, requestTo(server.port)), 'answer 1');
  assert.equal(server.connections, 2);
});

// ---- background ----

test('background requests use a quarter of the connections, and never keep others waiting', async (t) => {
  const held: (() => void)[] = [];
  const server = await startRawServer(t, (socket, request) => {
    if (request.includes('/slow')) held.push(() => void socket.write(response('slow')));
    else socket.write(response('fast'));
  });
  const client = clientFor(t, { maxConnectionsPerHost: 8, stallTimeoutMs: 20_000 });
  const slow = (background: boolean) =>
    fetchText(client, requestTo(server.port, { resource: '/slow', background }));
  const background = Array.from({ length: 10 }, () => slow(true));
  const foreground = Array.from({ length: 7 }, () => slow(false));
  while (held.length < 9) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(server.connections, 9, 'two in the background, seven others');
  assert.equal(await fetchText(client, requestTo(server.port, { resource: '/fast' })), 'fast');
  let done = false;
  const all = Promise.all([...background, ...foreground]).finally(() => {
    done = true;
  });
  while (!done) {
    held.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await all).length, 17);
  assert.ok(server.connections <= 10);
});

// ---- requests that nobody wants any more ----

test('send() ends with CANCELLED while it waits for an answer, for its rest, and for a connection', async (t) => {
  const server = await startRawServer(t, (socket, request) => {
    if (request.includes('/half')) socket.write(`${sized(10)}half`);
  });
  const client = clientFor(t, { maxConnectionsPerHost: 1, stallTimeoutMs: 20_000 });
  for (const resource of ['/nothing', '/half']) {
    const signal = new Cancellation();
    const pending = fetchText(client, requestTo(server.port, { resource, signal }));
    while (server.requests.at(-1)?.includes(resource) !== true) await new Promise((r) => setTimeout(r, 5));
    const second = new Cancellation();
    const waiting = fetchText(client, requestTo(server.port, { signal: second }));
    second.cancel();
    await assert.rejects(waiting, { code: 'CANCELLED' });
    signal.cancel();
    await assert.rejects(pending, { code: 'CANCELLED' });
  }
  const signal = new Cancellation();
  signal.cancel();
  await assert.rejects(client.send(requestTo(server.port, { signal })), { code: 'CANCELLED' });
  assert.equal(server.requests.length, 2);
});

test('send() does no harm to a request that comes after one that was cancelled too late', async (t) => {
  const server = await startRawServer(t, (socket) => void socket.write(response('hello')));
  const client = clientFor(t);
  const signal = new Cancellation();
  assert.equal(await fetchText(client, requestTo(server.port, { signal })), 'hello');
  const pending = fetchText(client, requestTo(server.port));
  signal.cancel();
  assert.equal(await pending, 'hello');
  assert.equal(server.connections, 1);
});
