import assert from 'node:assert/strict';
import {
  type AddressInfo,
  connect as connectTcp,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { freePort } from '../../test/support/raw-server.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { startSilentServer } from '../../test/support/silent-server.ts';
import { startTlsServer } from '../../test/support/tls-server.ts';
import { parseFqrn } from '../core/fqrn.ts';
import type { Connection, Resolver } from '../core/ports.ts';
import { createKeys } from '../publish/keys.ts';
import { nodeResolver } from './resolver.ts';
import { createSockets, nodeSockets } from './sockets.ts';

const TIMEOUT_MS = 5_000;

async function listen(t: TestContext, server: Server, onConnection?: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket.on('error', () => {}));
    onConnection?.(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port, tls: false };
}

async function connect(t: TestContext, onConnection: (socket: Socket) => void): Promise<Connection> {
  const target = await listen(t, createTcpServer(), onConnection);
  const connection = await nodeSockets.connect(target, TIMEOUT_MS);
  t.after(() => connection.close());
  return connection;
}

async function readToEnd(connection: Connection): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (let chunk = await connection.read(); chunk !== undefined; chunk = await connection.read())
    chunks.push(chunk);
  return Buffer.concat(chunks);
}

test('a connection carries bytes both ways, up to the end', async (t) => {
  const connection = await connect(t, (socket) => {
    socket.once('data', (chunk) => socket.end(`you said ${chunk}`));
  });
  connection.write(Buffer.from('hello'));
  assert.equal((await readToEnd(connection)).toString(), 'you said hello');
  assert.equal(await connection.read(), undefined);
});

test('a connection loses nothing when the reader is slower than the sender', async (t) => {
  const content = Buffer.alloc(20_000_000, 'more than anybody keeps waiting ');
  let sender: Socket | undefined;
  const connection = await connect(t, (socket) => {
    sender = socket;
    socket.end(content);
  });
  const first = await connection.read();
  // Many times what it would take to receive everything.
  for (let turn = 0; turn < 3_000; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(sender!.writableLength > 0, 'the sender has to wait');
  const rest = await readToEnd(connection);
  assert.ok(Buffer.concat([first!, rest]).equals(content));
});

test('a connection gives what came before it was reset, then throws NETWORK', async (t) => {
  let sender: Socket | undefined;
  const connection = await connect(t, (socket) => {
    sender = socket;
    socket.write('hello');
  });
  assert.equal(Buffer.from((await connection.read())!).toString(), 'hello');
  const pending = connection.read();
  sender!.resetAndDestroy();
  await assert.rejects(pending, { code: 'NETWORK', message: /ECONNRESET/ });
  await assert.rejects(connection.read(), { code: 'NETWORK' });
});

test('close() ends a pending read with NETWORK', async (t) => {
  const connection = await connect(t, () => {});
  const pending = connection.read();
  connection.close();
  await assert.rejects(pending, { code: 'NETWORK' });
  connection.close();
});

test('writing to a connection that the other end has closed does no harm', async (t) => {
  const connection = await connect(t, (socket) => void socket.end());
  assert.equal(await connection.read(), undefined);
  connection.write(Buffer.from('anybody there?'));
  connection.close();
  connection.write(Buffer.from('and now?'));
});

test('connect() throws NETWORK where nothing listens and for names that do not exist', async () => {
  const refused = { host: '127.0.0.1', port: await freePort(), tls: false };
  await assert.rejects(nodeSockets.connect(refused, TIMEOUT_MS), {
    code: 'NETWORK',
    message: /ECONNREFUSED/,
  });
  const unknown = { host: 'no-such-host.invalid', port: 80, tls: false };
  await assert.rejects(nodeSockets.connect(unknown, TIMEOUT_MS), {
    code: 'NETWORK',
    message: /no-such-host/,
  });
});

test('connect() gives up on a server that does not finish the handshake', async (t) => {
  const target = { ...(await listen(t, createTcpServer())), tls: true };
  const startedMs = performance.now();
  await assert.rejects(nodeSockets.connect(target, 100), { code: 'NETWORK', message: /within 100 ms/ });
  assert.ok(performance.now() - startedMs < TIMEOUT_MS);
});

test('connect() refuses a certificate that nobody vouches for', async (t) => {
  const keys = await createKeys(scratchFolder(t), parseFqrn('tls.example.org'), 1_700_000_000);
  const pem = keys.repositoryKey.export({ type: 'pkcs8', format: 'pem' });
  const server = createTlsServer({ key: pem, cert: Buffer.from(keys.certificate) });
  const target = { ...(await listen(t, server)), host: 'localhost', tls: true };
  await assert.rejects(nodeSockets.connect(target, TIMEOUT_MS), { code: 'NETWORK', message: /SELF_SIGNED/ });
});

test('connect() makes no noise about TLS servers that are named by their address', async (t) => {
  const target = {
    ...(await listen(t, createTcpServer(), (socket) => void socket.end('no TLS'))),
    tls: true,
  };
  const warnings: Error[] = [];
  const listener = (warning: Error) => void warnings.push(warning);
  process.on('warning', listener);
  t.after(() => process.off('warning', listener));
  await assert.rejects(nodeSockets.connect(target, TIMEOUT_MS), { code: 'NETWORK' });
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});

// ---- addresses and proxies ----

const namesOf = (table: Record<string, readonly string[]>): Resolver => ({
  resolve: async (host) => ({ addresses: table[host] ?? [], ttlSeconds: 60 }),
});

test('connect() is kept waiting by a dead address once, not each time', async (t) => {
  const target = await listen(t, createTcpServer());
  await startSilentServer(t, '127.0.0.2', target.port);
  const sockets = createSockets({ resolver: namesOf({ both: ['127.0.0.2', '127.0.0.1'] }) });
  const durations: number[] = [];
  for (let i = 0; i < 6; i++) {
    const startedMs = performance.now();
    (await sockets.connect({ ...target, host: 'both' }, TIMEOUT_MS)).close();
    durations.push(performance.now() - startedMs);
  }
  const [first, ...later] = durations;
  assert.ok(first! >= 200, 'the other address is not tried at once');
  // Each of them would take that long; a busy machine does not keep all of them waiting.
  assert.ok(Math.min(...later) < 200, durations.join());
});

test('connect() throws NETWORK for a name without addresses, and when name servers take too long', async () => {
  const sockets = createSockets({
    resolver: { resolve: (host) => (host === 'slow' ? new Promise(() => {}) : namesOf({}).resolve(host)) },
  });
  const target = { port: 80, tls: false };
  await assert.rejects(sockets.connect({ ...target, host: 'none' }, TIMEOUT_MS), {
    code: 'NETWORK',
    message: /no address/,
  });
  await assert.rejects(sockets.connect({ ...target, host: 'slow' }, 50), {
    code: 'NETWORK',
    message: /within 50 ms/,
  });
});

test('connect() goes through a proxy to a server with TLS, and trusts whom it is told to', async (t) => {
  const server = await startTlsServer(t, 'hello');
  const proxy = await listen(t, createTcpServer(), (client) => {
    client.once('data', () => {
      const upstream = connectTcp(server.port, '127.0.0.1', () => {
        client.write('HTTP/1.1 200 OK\r\n\r\n');
        client.pipe(upstream).pipe(client);
      });
      client.on('close', () => upstream.destroy());
      upstream.on('error', () => client.destroy());
    });
  });
  const sockets = createSockets({ resolver: nodeResolver, authorities: [server.certificate] });
  const via = { ...proxy, authorization: undefined };
  const connection = await sockets.connect(
    { host: 'localhost', port: server.port, tls: true, via },
    TIMEOUT_MS,
  );
  connection.write(Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'));
  assert.match((await readToEnd(connection)).toString(), /\r\n\r\n.*hello/s);
  const silent = { ...(await listen(t, createTcpServer())), authorization: undefined };
  await assert.rejects(sockets.connect({ host: 'a.invalid', port: 443, tls: true, via: silent }, 100), {
    code: 'NETWORK',
    message: /a\.invalid:443 through .*within 100 ms/,
  });
});
