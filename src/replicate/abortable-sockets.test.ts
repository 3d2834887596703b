import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRawServer } from '../../test/support/raw-server.ts';
import { nodeSockets } from '../node/sockets.ts';
import { abortableSockets } from './abortable-sockets.ts';

test('a signal ends what waits for a server, and everything after it', async (t) => {
  const server = await startRawServer(t, () => {});
  const stop = new AbortController();
  const sockets = abortableSockets(nodeSockets, stop.signal);
  const target = { host: '127.0.0.1', port: server.port, tls: false };
  const [first, second] = [await sockets.connect(target, 5000), await sockets.connect(target, 5000)];
  first.close();
  const reading = second.read();
  stop.abort();
  await assert.rejects(reading, { code: 'NETWORK' });
  await assert.rejects(sockets.connect(target, 5000), { code: 'CANCELLED' });
});

test('a signal that comes while a connection is made ends it', async (t) => {
  const server = await startRawServer(t, () => {});
  const stop = new AbortController();
  const sockets = abortableSockets(nodeSockets, stop.signal);
  const connecting = sockets.connect({ host: '127.0.0.1', port: server.port, tls: false }, 5000);
  stop.abort();
  await assert.rejects(connecting, { code: 'CANCELLED' });
});

test('without the signal, bytes go both ways', async (t) => {
  const server = await startRawServer(t, (socket, request) => socket.end(request));
  const sockets = abortableSockets(nodeSockets, new AbortController().signal);
  const connection = await sockets.connect({ host: '127.0.0.1', port: server.port, tls: false }, 5000);
  connection.write(Buffer.from('hello\r\n\r\n'));
  assert.equal(Buffer.from((await connection.read())!).toString(), 'hello');
  assert.equal(await connection.read(), undefined);
  connection.close();
});
