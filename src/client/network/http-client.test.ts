import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../../test/support/fake-clock.ts';
import { freePort, type RawAnswer, response, startRawServer } from '../../../test/support/raw-server.ts';
import { scriptedSockets } from '../../../test/support/scripted-sockets.ts';
import { ThimbleError } from '../../core/errors.ts';
import { nodeClock } from '../../node/clock.ts';
import { nodeSockets } from '../../node/sockets.ts';
import { HttpClient, type HttpOptions, type HttpRequest, type HttpResponse } from './http-client.ts';

const STALL_MS = 150;
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
    deadlineMs: nodeClock.monotonicMs() + 5_000,
    ...more,
  };
}

async function bodyOf(answer: HttpResponse): Promise<string> {
  const pieces: Uint8Array[] = [];
  for (let piece = await answer.next(); piece !== undefined; piece = await answer.next()) pieces.push(piece);
  return Buffer.concat(pieces).toString('latin1');
}

async function fetchText(client: HttpClient, request: HttpRequest): Promise<string> {
  return bodyOf(await client.send(request));
}

const sends =
  (text: string | Buffer, end = false): RawAnswer =>
  (socket) =>
    void (end ? socket.end(text, 'latin1') : socket.write(text, 'latin1'));

// ---- responses that are right ----

const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
const GOOD = [
  ['a body with a length', response('hello'), 'hello'],
  ['an empty body', response(''), ''],
  ['a header without a reason', 'HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello', 'hello'],
  ['header names in any case', 'HTTP/1.1 200 OK\r\nCONTENT-LENGTH:5\r\n\r\nhello', 'hello'],
  ['chunks', `${CHUNKED}3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n`, 'hello'],
  ['chunk sizes in hex with zeros ahead', `${CHUNKED}000A\r\n0123456789\r\n0\r\n\r\n`, '0123456789'],
  ['chunk extensions', `${CHUNKED}5;name="value"\r\nhello\r\n0;last\r\n\r\n`, 'hello'],
  ['trailers behind the chunks', `${CHUNKED}5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n`, 'hello'],
  [
    'chunks although there is a length, which then means nothing',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'hello',
  ],
  ['an interim response ahead', `HTTP/1.1 100 Continue\r\n\r\n${response('hello').toString()}`, 'hello'],
] as const;

for (const [what, sent, expected] of GOOD) {
  test(`send() reads ${what}, and keeps the connection`, async (t) => {
    const server = await startRawServer(t, sends(Buffer.from(sent)));
    const client = clientFor(t);
    assert.equal(await fetchText(client, requestTo(server.port)), expected);
    assert.equal(await fetchText(client, requestTo(server.port)), expected);
    assert.equal(server.connections, 1);
  });
}

for (const [what, head] of [
  ['HTTP/1.0 without a length', 'HTTP/1.0 200 OK\r\nServer: old\r\n\r\n'],
  ['HTTP/1.1 without a length', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'],
] as const) {
  test(`send() reads the body of ${what} to the end of the connection`, async (t) => {
    const server = await startRawServer(t, sends(`${head}hello`, true));
    const client = clientFor(t);
    const answer = await client.send(requestTo(server.port));
    assert.equal(answer.sizeBytes, undefined);
    assert.equal(await bodyOf(answer), 'hello');
    assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
    assert.equal(server.connections, 2);
  });
}

for (const [status, sent] of [
  [204, 'HTTP/1.1 204 No Content\r\n\r\n'],
  [304, 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n'],
] as const) {
  test(`send() expects no body behind status ${status}`, async (t) => {
    const server = await startRawServer(t, sends(sent));
    const client = clientFor(t);
    for (let i = 0; i < 2; i++) {
      const answer = await client.send(requestTo(server.port));
      assert.equal(answer.status, status);
      assert.equal(await bodyOf(answer), '');
    }
    assert.equal(server.connections, 1);
  });
}

test('send() answers with status and headers, whatever the status', async (t) => {
  const server = await startRawServer(
    t,
    sends(response('moved', '302 Found', ['Location: http://elsewhere/', 'X-Spaces:   a b  '])),
  );
  const answer = await clientFor(t).send(requestTo(server.port));
  assert.equal(answer.status, 302);
  assert.equal(answer.headers.get('location'), 'http://elsewhere/');
  assert.equal(answer.headers.get('x-spaces'), 'a b');
  assert.equal(answer.sizeBytes, 5);
  assert.equal(await bodyOf(answer), 'moved');
  assert.equal(server.requests.length, 1, 'a redirect is not followed');
});

test('send() sends request line, host, user agent and headers', async (t) => {
  const server = await startRawServer(t, sends(response('')));
  const client = clientFor(t, { userAgent: 'tester/1' });
  const headers = { 'Cache-Control': 'no-cache' };
  await client.send(requestTo(server.port, { authority: 'a.example', headers }));
  assert.deepEqual(server.requests, [
    'GET /object HTTP/1.1\r\nHost: a.example\r\nUser-Agent: tester/1\r\nAccept-Encoding: identity\r\nCache-Control: no-cache',
  ]);
});

test('send() reads the same, however the response is cut into pieces', async () => {
  const whole = Buffer.concat([
    Buffer.from('HTTP/1.1 100 Continue\r\n\r\n'),
    Buffer.from(`${CHUNKED}3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n`),
  ]);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: whole.length - 1 })), async (cuts) => {
      const marks = [0, ...[...new Set(cuts)].sort((a, b) => a - b), whole.length];
      const pieces = marks.slice(1).map((end, i) => whole.subarray(marks[i], end));
      const client = new HttpClient(scriptedSockets(pieces), new ManualClock());
      assert.equal(await fetchText(client, requestTo(1, { deadlineMs: 1e9 })), 'hello');
    }),
  );
});

test('send() answers any bytes with a response or with NETWORK', async () => {
  const line = fc.constantFrom(
    'HTTP/1.1 200 OK\r\n',
    'HTTP/1.0 404\r\n',
    'Content-Length: 3\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Connection: close\r\n',
    '\r\n',
    '3\r\nabc\r\n',
    '0\r\n\r\n',
  );
  const any = fc.array(
    fc.oneof(
      line.map((text) => Buffer.from(text)),
      fc.uint8Array({ maxLength: 20 }),
    ),
    {
      minLength: 1,
    },
  );
  await fc.assert(
    fc.asyncProperty(any, async (parts) => {
      const sockets = scriptedSockets(parts.filter((part) => part.length > 0));
      const client = new HttpClient(sockets, new ManualClock());
      try {
        await fetchText(client, requestTo(1, { deadlineMs: 1e9 }));
      } catch (error) {
        assert.ok(error instanceof ThimbleError, String(error));
        assert.equal(error.code, 'NETWORK');
        assert.equal(sockets.closed, 1, 'a connection of which nobody knows where it stands is closed');
      }
    }),
    { numRuns: 300 },
  );
});

// ---- responses that are wrong ----

const BAD = [
  [
    'a body that ends early',
    sends('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello', true),
    /closed before/,
  ],
  ['a header that ends early', sends('HTTP/1.1 200 OK\r\nContent-Le', true), /closed before/],
  ['no answer at all', (socket: Socket) => void socket.end(), /closed before/],
  ['something else than HTTP', sends('SSH-2.0-OpenSSH_9.2p1\r\n\r\n'), /not HTTP/],
  ['another version of HTTP', sends('HTTP/2 200 OK\r\n\r\n'), /not HTTP/],
  ['a status of four digits', sends('HTTP/1.1 2000 OK\r\n\r\n'), /not HTTP/],
  ['binary garbage', sends(Buffer.alloc(100_000, 0x8b)), /longer than/],
  [
    'a header without end',
    sends(`HTTP/1.1 200 OK\r\n${'X-Filler: 0123456789\r\n'.repeat(4000)}`),
    /longer than/,
  ],
  ['a negative length', sends('HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'), /Content-Length/],
  ['a length that is no number', sends('HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n'), /Content-Length/],
  ['an empty length', sends('HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello'), /Content-Length/],
  ['a length in hex', sends('HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello'), /Content-Length/],
  [
    'two lengths',
    sends('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello'),
    /Content-Length/,
  ],
  [
    'an endless length',
    sends(`HTTP/1.1 200 OK\r\nContent-Length: ${'9'.repeat(30)}\r\n\r\n`),
    /Content-Length/,
  ],
  ['chunks that end early', sends(`${CHUNKED}5\r\nhel`, true), /closed before/],
  ['chunks without the last one', sends(`${CHUNKED}5\r\nhello\r\n`, true), /closed before/],
  ['a chunk without a size', sends(`${CHUNKED}\r\nhello\r\n0\r\n\r\n`), /chunk/],
  ['a chunk size that is no number', sends(`${CHUNKED}five\r\nhello\r\n0\r\n\r\n`), /chunk/],
  ['a negative chunk size', sends(`${CHUNKED}-5\r\nhello\r\n0\r\n\r\n`), /chunk/],
  ['a chunk size with a tail', sends(`${CHUNKED}5hello\r\nhello\r\n0\r\n\r\n`), /chunk/],
  ['a chunk size beyond all measure', sends(`${CHUNKED}fffffffffffffff\r\nhello\r\n0\r\n\r\n`), /chunk/],
  ['a chunk that is longer than its size', sends(`${CHUNKED}2\r\nhello\r\n0\r\n\r\n`), /chunk/],
  ['an endless chunk header', sends(CHUNKED + 'a'.repeat(3000)), /chunk header is too long/],
] as const satisfies readonly (readonly [string, RawAnswer, RegExp])[];

for (const [what, answer, message] of BAD) {
  test(`send() refuses ${what}, and does not use the connection again`, async (t) => {
    const server = await startRawServer(t, answer);
    const client = clientFor(t);
    for (let i = 1; i <= 2; i++) {
      await assert.rejects(fetchText(client, requestTo(server.port)), { code: 'NETWORK', message });
      assert.equal(server.connections, i);
    }
  });
}

test('send() fails when the connection is reset within the body', async (t) => {
  const server = await startRawServer(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello');
  });
  const answer = await clientFor(t).send(requestTo(server.port));
  assert.equal(Buffer.from((await answer.next())!).toString(), 'hello');
  await server.stop();
  await assert.rejects(answer.next(), { code: 'NETWORK' });
  assert.equal(await answer.next(), undefined);
});

test('send() fails when the connection is reset ahead of the header', async (t) => {
  const server = await startRawServer(t, (socket) => void socket.resetAndDestroy());
  await assert.rejects(fetchText(clientFor(t), requestTo(server.port)), {
    code: 'NETWORK',
    message: /ECONNRESET/,
  });
});

test('send() fails when nothing listens, and when the name does not exist', async (t) => {
  const client = clientFor(t);
  const refused = { code: 'NETWORK', message: /ECONNREFUSED/ };
  await assert.rejects(client.send(requestTo(await freePort())), refused);
  const target = { host: 'no-such-host.invalid', port: 80, tls: false };
  await assert.rejects(client.send(requestTo(80, { target })), { code: 'NETWORK' });
});

// ---- limits on waiting ----

const SLOW = [
  ['a server that says nothing', () => {}],
  ['a header that stops', sends('HTTP/1.1 200 OK\r\nContent-')],
  ['a body that stops', sends('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello')],
  ['a body without length that stops', sends('HTTP/1.0 200 OK\r\n\r\nhello')],
  ['chunks that stop', sends(`${CHUNKED}5\r\nhel`)],
] as const satisfies readonly (readonly [string, RawAnswer])[];

for (const [what, answer] of SLOW) {
  test(`send() gives up on ${what} after the stall limit`, async (t) => {
    const server = await startRawServer(t, answer);
    const startedMs = performance.now();
    await assert.rejects(fetchText(clientFor(t), requestTo(server.port)), {
      code: 'NETWORK',
      message: `Cannot receive: nothing received for ${STALL_MS} ms`,
    });
    assert.ok(performance.now() - startedMs >= STALL_MS - 5, 'no sooner');
    assert.ok(performance.now() - startedMs < STALL_MS + SLACK_MS, 'no later');
  });

  test(`send() gives up on ${what} at the deadline`, async (t) => {
    const server = await startRawServer(t, answer);
    const deadlineMs = nodeClock.monotonicMs() + STALL_MS;
    await assert.rejects(
      fetchText(clientFor(t, { stallTimeoutMs: 60_000 }), requestTo(server.port, { deadlineMs })),
      { code: 'NETWORK', message: 'Cannot receive: out of time' },
    );
    assert.ok(nodeClock.monotonicMs() - deadlineMs < SLACK_MS);
  });
}

test('send() does not even connect when the deadline has passed', async (t) => {
  const server = await startRawServer(t, sends(response('hello')));
  const deadlineMs = nodeClock.monotonicMs();
  await assert.rejects(clientFor(t).send(requestTo(server.port, { deadlineMs })), {
    code: 'NETWORK',
    message: /out of time/,
  });
  assert.equal(server.connections, 0);
});

// ---- connections ----

test('send() uses a connection again only when the body was read to its end', async (t) => {
  const server = await startRawServer(t, sends(response('hello')));
  const client = clientFor(t);
  const abandoned = await client.send(requestTo(server.port));
  abandoned.close();
  abandoned.close();
  assert.equal(await abandoned.next(), undefined);
  assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
  assert.equal(server.connections, 2);
});

test('send() opens another connection after "Connection: close"', async (t) => {
  const server = await startRawServer(t, sends(response('hello', '200 OK', ['Connection: Close'])));
  const client = clientFor(t);
  for (let i = 1; i <= 2; i++) {
    assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
    assert.equal(server.connections, i);
  }
});

test('send() keeps an HTTP/1.0 connection only where the server agrees', async (t) => {
  const agree = 'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello';
  const silent = 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello';
  const server = await startRawServer(
    t,
    (socket, _, before) => void socket.write(before === 0 ? agree : silent),
  );
  const client = clientFor(t);
  for (const connections of [1, 1, 2, 3]) {
    assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
    assert.equal(server.connections, connections);
  }
});

test('send() does not take bytes behind a response for the next one', async (t) => {
  const smuggled = `${response('hello').toString()}${response('wrong').toString()}`;
  const server = await startRawServer(t, (socket, _, before) => {
    socket.write(before === 0 ? smuggled : response('right'));
  });
  const client = clientFor(t);
  assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
  assert.equal(await fetchText(client, requestTo(server.port)), 'right');
  assert.equal(server.connections, 2);
});

for (const [what, drop] of [
  ['closed', (socket: Socket) => socket.end()],
  ['reset', (socket: Socket) => socket.resetAndDestroy()],
] as const) {
  test(`send() asks again on a new connection when the server has ${what} the idle one`, async (t) => {
    // Each connection serves one request; at the second it is gone.
    const used = new WeakSet<Socket>();
    const server = await startRawServer(t, (socket) => {
      if (used.has(socket)) drop(socket);
      else socket.write(response('hello'));
      used.add(socket);
    });
    const client = clientFor(t);
    for (let i = 1; i <= 3; i++) {
      assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
      assert.equal(server.connections, i);
    }
  });
}

test('send() does not ask again when a kept connection fails within the answer', async (t) => {
  const server = await startRawServer(t, (socket, _, before) => {
    if (before === 0) socket.write(response('hello'));
    else socket.end('HTTP/1.1 200 OK\r\nContent-Le');
  });
  const client = clientFor(t);
  assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
  await assert.rejects(fetchText(client, requestTo(server.port)), { code: 'NETWORK' });
  assert.equal(server.requests.length, 2);
});

test('send() opens no more connections to a host than allowed, and serves all who wait', async (t) => {
  const waiting: Socket[] = [];
  const server = await startRawServer(t, (socket) => {
    waiting.push(socket);
    // Answers only when both connections have a request, so that both have to be in use.
    if (waiting.length === 2) for (const one of waiting.splice(0)) one.write(response('hello'));
  });
  const client = clientFor(t, { maxConnectionsPerHost: 2 });
  const texts = await Promise.all(Array.from({ length: 8 }, () => fetchText(client, requestTo(server.port))));
  assert.deepEqual(texts, Array(8).fill('hello'));
  assert.equal(server.connections, 2);
});

test('send() fails at the deadline when all connections stay busy, and leaves the queue', async (t) => {
  let release = () => {};
  const server = await startRawServer(t, (socket, _, before) => {
    if (before > 0) socket.write(response('hello'));
    else release = () => void socket.write(response('first'));
  });
  const client = clientFor(t, { maxConnectionsPerHost: 1, stallTimeoutMs: 10_000 });
  const first = fetchText(client, requestTo(server.port));
  const deadlineMs = nodeClock.monotonicMs() + 50;
  await assert.rejects(client.send(requestTo(server.port, { deadlineMs })), {
    code: 'NETWORK',
    message: /all connections are busy/,
  });
  const third = fetchText(client, requestTo(server.port));
  release();
  assert.equal(await first, 'first');
  assert.equal(await third, 'hello');
  assert.equal(server.connections, 1);
});

test('send() lets the next one connect when a connection cannot be had', async () => {
  let attempts = 0;
  const sockets = {
    connect: async () => {
      attempts++;
      await Promise.resolve();
      throw new ThimbleError('NETWORK', 'Cannot connect');
    },
  };
  const client = new HttpClient(sockets, new ManualClock(), { maxConnectionsPerHost: 1 });
  const request = requestTo(1, { deadlineMs: 1e9 });
  const outcomes = await Promise.allSettled([1, 2, 3].map(() => client.send(request)));
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    Array(3).fill('rejected'),
  );
  assert.equal(attempts, 3);
});

test('send() does not use a connection that has been idle for too long', async () => {
  const clock = new ManualClock();
  const two = [response('a'), response('b')];
  const sockets = scriptedSockets(two, two);
  const client = new HttpClient(sockets, clock, { idleTimeoutMs: 1_000 });
  const request = requestTo(1, { deadlineMs: 1e9 });
  assert.equal(await fetchText(client, request), 'a');
  clock.advance(999);
  assert.equal(await fetchText(client, request), 'b');
  clock.advance(1_000);
  assert.equal(await fetchText(client, request), 'a');
  assert.equal(sockets.opened, 2);
  assert.equal(sockets.closed, 1);
});

test('send() leaves no timer behind', async () => {
  const clock = new ManualClock();
  const sockets = scriptedSockets([response('hello')], [Buffer.from('garbage\r\n\r\n')], [response('hello')]);
  const client = new HttpClient(sockets, clock);
  const request = requestTo(1, { deadlineMs: 1e9 });
  await fetchText(client, request);
  client.close();
  await assert.rejects(client.send(request), { code: 'NETWORK' });
  (await client.send(request)).close();
  assert.equal(clock.timers, 0);
});

test('close() closes idle connections at once and used ones when they are given back', async (t) => {
  const server = await startRawServer(t, sends(response('hello')));
  const client = clientFor(t);
  const busy = await client.send(requestTo(server.port));
  assert.equal(await fetchText(client, requestTo(server.port)), 'hello');
  client.close();
  assert.equal(await bodyOf(busy), 'hello');
  assert.equal(server.connections, 2);
  await fetchText(client, requestTo(server.port));
  assert.equal(server.connections, 3);
});
