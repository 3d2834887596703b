import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openOptions, sourceFolder, testSource } from '../../../test/contract/source-contract.ts';
import { type RawAnswer, response, startRawServer } from '../../../test/support/raw-server.ts';
import type { ThimbleError } from '../../core/errors.ts';
import { nodeClock } from '../../node/clock.ts';
import { nodeSockets } from '../../node/sockets.ts';
import { RepositoryServer } from '../../server/repository-server.ts';
import { readWhole } from '../objects.ts';
import { HttpClient } from './http-client.ts';
import { HttpSource } from './source.ts';

const FQRN = 'source.example.org';

function clientFor(t: TestContext): HttpClient {
  const client = new HttpClient(nodeSockets, nodeClock);
  t.after(() => client.close());
  return client;
}

testSource('HttpSource', async (t) => {
  const server = new RepositoryServer([{ fqrn: FQRN, folder: sourceFolder(t) }], {
    host: '127.0.0.1',
    port: 0,
  });
  const address = await server.listen();
  const source = new HttpSource(clientFor(t), `${address}/cvmfs/${FQRN}`);
  // Open connections would keep the server waiting.
  t.after(() => server.close());
  return source;
});

async function sourceThatGets(t: TestContext, answer: RawAnswer, proxied = false) {
  const server = await startRawServer(t, answer);
  const client = clientFor(t);
  const source = proxied
    ? new HttpSource(client, 'http://origin.invalid:8000/cvmfs/x.y/', `${server.url}/`)
    : new HttpSource(client, `${server.url}/cvmfs/x.y/`);
  return { server, source };
}

for (const status of [404, 410]) {
  test(`HttpSource takes status ${status} for NOT_FOUND`, async (t) => {
    const { source } = await sourceThatGets(
      t,
      (socket) => void socket.write(response('gone', `${status} X`)),
    );
    await assert.rejects(source.open('a', openOptions()), {
      code: 'NOT_FOUND',
      details: { status, blame: 'server' },
    });
  });
}

for (const status of [204, 206, 301, 302, 304, 307, 400, 401, 403, 407, 416, 429, 500, 502, 503, 504]) {
  test(`HttpSource takes status ${status} for NETWORK: another server, or the same one later, may do better`, async (t) => {
    const head = ['Location: /elsewhere', 'Content-Range: bytes 0-3/10', 'Retry-After: 1'];
    const { server, source } = await sourceThatGets(t, (socket) => {
      socket.write(response(status === 204 || status === 304 ? '' : 'body', `${status} X`, head));
    });
    await assert.rejects(source.open('a', openOptions()), (error: ThimbleError) => {
      assert.equal(error.code, 'NETWORK');
      assert.equal(error.details['status'], status);
      assert.equal(error.details['blame'], 'server');
      assert.equal(error.details['retryAfterSeconds'], status === 429 || status === 503 ? 1 : undefined);
      return true;
    });
    assert.equal(server.requests.length, 1);
  });
}

test('HttpSource asks for the path below the address of the repository', async (t) => {
  const { server, source } = await sourceThatGets(t, (socket) => void socket.write(response('x')));
  (await source.open('data/ab/cd', openOptions())).close();
  assert.equal(source.name, `${server.url}/cvmfs/x.y`);
  assert.match(server.requests[0]!, /^GET \/cvmfs\/x\.y\/data\/ab\/cd HTTP\/1\.1\r\n/);
  assert.match(server.requests[0]!, new RegExp(`\r\nHost: 127.0.0.1:${server.port}\r\n`));
  assert.doesNotMatch(server.requests[0]!, /Cache-Control|Pragma/i);
});

test('HttpSource tells caches on the way to ask anew when it is told to', async (t) => {
  const { server, source } = await sourceThatGets(t, (socket) => void socket.write(response('x')));
  (await source.open('a', openOptions(true))).close();
  assert.match(server.requests[0]!, /\r\nCache-Control: no-cache\r\nPragma: no-cache$/);
});

for (const status of [200, 416]) {
  test(`HttpSource takes status ${status} for NETWORK when it has asked for a range`, async (t) => {
    const { server, source } = await sourceThatGets(t, (socket) => {
      socket.write(response('body', `${status} X`));
    });
    const options = { ...openOptions(), range: { offset: 10, length: 4 } };
    await assert.rejects(source.open('a', options), {
      code: 'NETWORK',
      details: { status, blame: 'server' },
    });
    assert.match(server.requests[0]!, /\r\nRange: bytes=10-13$/);
  });
}

test('HttpSource sends a proxy the whole address and the name of the server', async (t) => {
  const { server, source } = await sourceThatGets(
    t,
    (socket) => void socket.write(response('proxied')),
    true,
  );
  const file = await source.open('a', openOptions());
  assert.equal(Buffer.from(await readWhole(file, 10)).toString(), 'proxied');
  assert.match(server.requests[0]!, /^GET http:\/\/origin\.invalid:8000\/cvmfs\/x\.y\/a HTTP\/1\.1\r\n/);
  assert.match(server.requests[0]!, /\r\nHost: origin\.invalid:8000\r\n/);
  assert.equal(source.name, `http://origin.invalid:8000/cvmfs/x.y through ${server.url}`);
});

test('HttpSource refuses addresses that are none', () => {
  const client = new HttpClient(nodeSockets, nodeClock);
  assert.throws(() => new HttpSource(client, 'nowhere'), { code: 'USAGE' });
  assert.throws(() => new HttpSource(client, 'http://a/x', 'ftp://proxy:3128'), { code: 'USAGE' });
});

for (const [what, head, sizeBytes] of [
  ['a length', 'Content-Length: 1000', 1000],
  ['chunks', 'Transfer-Encoding: chunked', undefined],
] as const) {
  test(`HttpSource asks with HEAD for the size alone: an answer with ${what} has no body`, async (t) => {
    const { server, source } = await sourceThatGets(
      t,
      (socket) => void socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n`),
    );
    for (let i = 0; i < 2; i++) {
      const file = await source.open('a', { ...openOptions(), headOnly: true });
      assert.equal(file.sizeBytes, sizeBytes);
      assert.equal(await file.next(), undefined);
      file.close();
    }
    assert.match(server.requests[1]!, /^HEAD \/cvmfs\/x\.y\/a HTTP\/1\.1\r\n/);
    assert.equal(server.connections, 1);
  });
}

/** Answers HEAD with a status, GET with what a server makes of the range. */
async function sourceWithoutHead(t: Parameters<typeof sourceThatGets>[0], status: number, onGet: string) {
  return sourceThatGets(t, (socket, request) => {
    const isHead = request.startsWith('HEAD');
    socket.write(isHead ? `HTTP/1.1 ${status} no\r\nContent-Length: 9\r\n\r\n` : onGet);
  });
}

for (const [what, onGet, sizeBytes] of [
  ['a part', 'HTTP/1.1 206 part\r\nContent-Length: 1\r\nContent-Range: bytes 0-0/1000\r\n\r\nx', 1000],
  ['a part of who knows what', 'HTTP/1.1 206 part\r\nContent-Length: 1\r\n\r\nx', undefined],
  ['all of it', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole', 5],
  ['an empty file', 'HTTP/1.1 416 no\r\nContent-Length: 0\r\nContent-Range: bytes */0\r\n\r\n', 0],
] as const) {
  for (const status of [405, 501]) {
    test(`HttpSource asks a server that refuses HEAD with ${status} for the first byte, and gets ${what}`, async (t) => {
      const { server, source } = await sourceWithoutHead(t, status, onGet);
      for (let i = 0; i < 2; i++) {
        const file = await source.open('a', { ...openOptions(), headOnly: true });
        assert.equal(file.sizeBytes, sizeBytes);
        assert.equal(await file.next(), undefined);
        file.close();
      }
      const lines = server.requests.map((request) => request.split(' ')[0]);
      assert.deepEqual(lines, ['HEAD', 'GET', 'GET'], 'HEAD is tried once');
      assert.match(server.requests[1]!, /\r\nRange: bytes=0-0(\r\n|$)/);
    });
  }
}

test('HttpSource says NOT_FOUND for what a server without HEAD does not have, and NETWORK for other failures', async (t) => {
  const missing = await sourceWithoutHead(t, 405, 'HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n');
  await assert.rejects(missing.source.open('a', { ...openOptions(), headOnly: true }), { code: 'NOT_FOUND' });
  const failing = await sourceWithoutHead(t, 403, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  await assert.rejects(failing.source.open('a', { ...openOptions(), headOnly: true }), { code: 'NETWORK' });
});
