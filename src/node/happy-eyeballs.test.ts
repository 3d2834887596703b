import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../test/support/raw-server.ts';
import { startSilentServer } from '../../test/support/silent-server.ts';
import { connectFirst } from './happy-eyeballs.ts';

const SILENT = '127.0.0.2';

async function listen(t: TestContext, host = '127.0.0.1'): Promise<number> {
  const server = createServer((socket) => void socket.on('error', () => {}).unref());
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function connect(t: TestContext, addresses: readonly string[], port: number, ms = 5_000) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(new Error('too late')), ms);
  t.after(() => clearTimeout(timer));
  const { socket, address } = await connectFirst({ addresses, port }, giveUp.signal);
  socket.destroy();
  return address;
}

test('connectFirst() takes the first address that answers', async (t) => {
  const port = await listen(t);
  assert.equal(await connect(t, ['127.0.0.1', SILENT], port), '127.0.0.1');
});

test('connectFirst() does not wait long for an address that is dead, and takes the next', async (t) => {
  const port = await listen(t);
  await startSilentServer(t, SILENT, port);
  await assert.rejects(connect(t, [SILENT], port, 500), /too late/, 'it is dead');
  const startedMs = performance.now();
  assert.equal(await connect(t, [SILENT, '127.0.0.1'], port), '127.0.0.1');
  assert.ok(performance.now() - startedMs < 4_000);
});

test('connectFirst() takes the next address at once when one refuses', async (t) => {
  const port = await listen(t, '127.0.0.3');
  assert.equal(await connect(t, ['127.0.0.1', '127.0.0.3'], port), '127.0.0.3');
});

test('connectFirst() throws what the last address said when all fail', async (t) => {
  const port = await freePort();
  await assert.rejects(connect(t, ['127.0.0.1', '127.0.0.2'], port), { code: 'ECONNREFUSED' });
});
