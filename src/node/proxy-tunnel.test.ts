import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type RawAnswer, startRawServer } from '../../test/support/raw-server.ts';
import { openTunnel } from './proxy-tunnel.ts';

const AUTHORIZATION = 'Basic cmVhZGVyOnNlY3JldA==';

interface Asked {
  readonly host?: string;
  readonly authorization?: string | undefined;
  readonly timeoutMs?: number;
}

async function tunnel(
  t: TestContext,
  answer: RawAnswer,
  { host = 'a.example', authorization, timeoutMs = 60_000 }: Asked = {},
) {
  const proxy = await startRawServer(t, answer);
  const socket = connect(proxy.port, '127.0.0.1');
  t.after(() => socket.destroy());
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(new Error('too late')), timeoutMs);
  t.after(() => clearTimeout(timer));
  const via = { host: '127.0.0.1', port: proxy.port, tls: false, authorization };
  const done = openTunnel(socket, { host, port: 443, tls: true, via }, giveUp.signal);
  return { proxy, socket, done };
}

test('openTunnel() asks for the host, with the login where there is one', async (t) => {
  const says: RawAnswer = (socket) => void socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
  for (const [host, place, login] of [
    ['a.example', 'a.example:443', undefined],
    ['fd00::1', '[fd00::1]:443', AUTHORIZATION],
  ] as const) {
    const { proxy, socket, done } = await tunnel(t, says, { host, authorization: login });
    await done;
    assert.equal(
      proxy.requests[0],
      `CONNECT ${place} HTTP/1.1\r\nHost: ${place}${login === undefined ? '' : `\r\nProxy-Authorization: ${login}`}`,
    );
    assert.equal(socket.destroyed, false);
  }
});

const FAILURES = [
  ['refuses', (socket) => void socket.write('HTTP/1.1 403 Forbidden\r\n\r\n'), /status 403/],
  ['wants a password', (socket) => void socket.write('HTTP/1.1 407 Who\r\n\r\n'), /status 407/],
  ['speaks another language', (socket) => void socket.write('220 mail\r\n\r\n'), /no HTTP/],
  ['closes', (socket) => void socket.end(), /closed the connection/],
  ['does not stop', (socket) => void socket.write('x'.repeat(100_000)), /does not end/],
  ['resets', (socket) => void socket.resetAndDestroy(), /ECONNRESET/],
  ['says nothing', () => {}, /too late/],
] as const satisfies readonly (readonly [string, RawAnswer, RegExp])[];

for (const [what, answer, message] of FAILURES) {
  test(`openTunnel() gives up on a proxy that ${what}, and closes the connection`, async (t) => {
    const timeoutMs = what === 'says nothing' ? 300 : 60_000;
    const { socket, done } = await tunnel(t, answer, { timeoutMs });
    await assert.rejects(done, { message });
    assert.equal(socket.destroyed, true);
  });
}
