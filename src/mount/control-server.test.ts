import assert from 'node:assert/strict';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import { silentLog } from '../core/ports.ts';
import { callControl, callControlJson } from './control-client.ts';
import { type ControlRoute, countIn, stringIn, stringsIn, TextReply } from './control-route.ts';
import { ControlServer } from './control-server.ts';

const ROUTES: readonly ControlRoute[] = [
  { method: 'GET', path: '/status', handle: ({ query }) => ({ a: 1n, asked: query.get('q') }) },
  { method: 'GET', path: '/metrics', handle: () => new TextReply('text/plain', 'x 1\n') },
  { method: 'POST', path: '/pin', handle: (request) => stringsIn(request, 'paths') },
  { method: 'DELETE', path: '/pin', handle: (request) => stringIn(request, 'path') },
  { method: 'POST', path: '/count', handle: (request) => countIn(request, 'count', 1, 5) },
  { method: 'POST', path: '/nothing', handle: () => undefined },
  {
    method: 'POST',
    path: '/fail',
    handle: async () => {
      throw new ThimbleError('STORAGE', 'Cannot pin /x: the disk is full', { hint: 'make room' });
    },
  },
  { method: 'POST', path: '/break', handle: () => Promise.reject(new TypeError('oops')) },
  { method: 'GET', path: '/never', handle: () => new Promise(() => {}) },
];

async function start(t: TestContext, routes = ROUTES) {
  const socket = join(scratchFolder(t), 'control.sock');
  const server = await ControlServer.start(socket, routes, silentLog);
  t.after(() => server.close());
  const call = (method: ControlRoute['method'], path: string, body?: Record<string, unknown>) =>
    callControl(socket, { method, path, timeoutMs: 5000, ...(body === undefined ? {} : { body }) });
  return { socket, server, call };
}

test('a route answers with JSON, 64-bit numbers as text', async (t) => {
  const { socket } = await start(t);
  const answer = await callControlJson(socket, { method: 'GET', path: '/status?q=x', timeoutMs: 5000 });
  assert.deepEqual(answer, { a: '1', asked: 'x' });
});

test('a route may answer with text, or with nothing', async (t) => {
  const { call } = await start(t);
  assert.equal(await call('GET', '/metrics'), 'x 1\n');
  assert.equal(await call('POST', '/nothing'), '{}\n');
});

test('only its owner may open the socket', async (t) => {
  const { socket } = await start(t);
  assert.equal(statSync(socket).mode & 0o777, 0o600);
});

for (const [what, method, path, body, expected] of [
  [
    'an unknown path',
    'GET',
    '/nope',
    undefined,
    { code: 'NOT_FOUND', message: /does not know it/, hint: /\/status/ },
  ],
  ['another method', 'DELETE', '/status', undefined, { code: 'USAGE', message: /it takes GET$/ }],
  [
    'what a route throws',
    'POST',
    '/fail',
    {},
    { code: 'STORAGE', message: /the disk is full$/, hint: /make room/ },
  ],
  ['a defect', 'POST', '/break', {}, { code: 'INTERNAL', message: /oops/ }],
  ['no list', 'POST', '/pin', { paths: 'x' }, { code: 'USAGE', message: /"paths" has to be a list/ }],
  ['an empty list', 'POST', '/pin', { paths: [] }, { code: 'USAGE', message: /"paths"/ }],
  ['no string', 'DELETE', '/pin', { path: 3 }, { code: 'USAGE', message: /"path" has to be a string/ }],
  ['a number out of range', 'POST', '/count', { count: 6 }, { code: 'USAGE', message: /from 1 to 5/ }],
  [
    'a body too long',
    'POST',
    '/pin',
    { paths: ['x'.repeat(1024 * 1024)] },
    { code: 'LIMIT', message: /longer than/ },
  ],
] as const) {
  test(`${what} is told as an error with code, message and hint`, async (t) => {
    const { call } = await start(t);
    await assert.rejects(call(method, path, body), { name: 'ThimbleError', ...expected });
  });
}

test('a body that is no JSON object is refused', async (t) => {
  const { socket } = await start(t);
  const { request } = await import('node:http');
  const status = await new Promise((resolve) => {
    request({ socketPath: socket, method: 'POST', path: '/pin' }, (response) =>
      resolve(response.statusCode),
    ).end('[1');
  });
  assert.equal(status, 400);
});

test('a server that starts later takes over, and the end of the first does not disturb it', async (t) => {
  const { socket, server, call } = await start(t);
  const second = await ControlServer.start(
    socket,
    [{ method: 'GET', path: '/who', handle: () => 2 }],
    silentLog,
  );
  t.after(() => second.close());
  server.close();
  assert.equal(await call('GET', '/who'), '2\n');
  second.close();
  assert.equal(existsSync(socket), false);
});

test('what a dead process left behind is in nobody’s way', async (t) => {
  const socket = join(scratchFolder(t), 'control.sock');
  writeFileSync(socket, '');
  writeFileSync(`${socket}.new`, '');
  const server = await ControlServer.start(socket, ROUTES, silentLog);
  t.after(() => server.close());
  assert.match(await callControl(socket, { method: 'GET', path: '/metrics', timeoutMs: 5000 }), /^x/);
});

test('two routes of the same name are a mistake', async (t) => {
  const route: ControlRoute = { method: 'GET', path: '/x', handle: () => 1 };
  await assert.rejects(start(t, [route, route]), { code: 'USAGE', message: 'Cannot serve GET /x twice' });
});

test('a path too long for a socket is refused with a hint', async (t) => {
  const folder = join(scratchFolder(t), 'x'.repeat(100));
  await assert.rejects(ControlServer.start(join(folder, 'control.sock'), [], silentLog), {
    code: 'STORAGE',
    hint: /THIMBLE_STATE/,
  });
});

test('a folder that is not there is STORAGE', async (t) => {
  const path = join(scratchFolder(t), 'none', 'control.sock');
  await assert.rejects(ControlServer.start(path, [], silentLog), {
    code: 'STORAGE',
    message: /Cannot listen on/,
  });
});

test('closing ends requests that are under way', async (t) => {
  const { server, call } = await start(t);
  const waiting = call('GET', '/never');
  await call('GET', '/metrics');
  server.close();
  await assert.rejects(waiting, { code: 'STORAGE', message: /broke off/ });
});

test('callControl() gives up in time when nobody answers', async (t) => {
  const { socket } = await start(t);
  await assert.rejects(callControl(socket, { method: 'GET', path: '/never', timeoutMs: 50 }), {
    code: 'CANCELLED',
    message: 'The mount does not answer within 0.05 s',
  });
});

test('callControl() says where nobody listens', async (t) => {
  const path = join(scratchFolder(t), 'control.sock');
  await assert.rejects(callControl(path, { method: 'GET', path: '/', timeoutMs: 50 }), { code: 'NOT_FOUND' });
});

test('callControl() does not believe what is no answer of a mount', async (t) => {
  const socket = join(scratchFolder(t), 'control.sock');
  const text = 'HTTP/1.1 500 No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwhat?';
  const server = createServer((connection) => void connection.on('error', () => {}).end(text)).listen(socket);
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  await assert.rejects(callControl(socket, { method: 'GET', path: '/', timeoutMs: 5000 }), {
    code: 'INTERNAL',
    message: 'The mount answered with status 500: what?',
  });
});
