/** Asks an HTTP proxy to connect on to another host (RFC 9110, 9.3.6): from then on the stream is that host's. */

import { isIPv6, type Socket } from 'node:net';
import { ThimbleError } from '../core/errors.ts';
import type { SocketTarget } from '../core/ports.ts';

const MAX_ANSWER_BYTES = 64 * 1024;

/** Throws NETWORK when the proxy refuses, and the signal's reason. On failure the socket is closed. */
export async function openTunnel(socket: Socket, target: SocketTarget, signal: AbortSignal): Promise<void> {
  const { host, port, via } = target;
  const place = `${isIPv6(host) ? `[${host}]` : host}:${port}`;
  const authorization =
    via?.authorization === undefined ? '' : `Proxy-Authorization: ${via.authorization}\r\n`;
  const proxy = `${via?.host}:${via?.port}`;
  try {
    const answer = answerOf(socket, proxy, signal);
    socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n${authorization}\r\n`);
    const [, status] = /^HTTP\/1\.[01] ([1-5][0-9][0-9])(?: |\r)/.exec(await answer) ?? [];
    if (status?.startsWith('2')) return;
    throw new ThimbleError(
      'NETWORK',
      `Cannot connect to ${place}: proxy ${proxy} answers ${status === undefined ? 'no HTTP' : `with status ${status}`}`,
      status === '407'
        ? { hint: 'name the proxy with a user name and a password: http://user:password@host:port' }
        : {},
    );
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** The header of the proxy's answer. The host behind it speaks only when it is spoken to, so there is nothing behind. */
function answerOf(socket: Socket, proxy: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const end = () => {
      socket.off('data', onData).off('error', fail).off('end', onEnd);
      signal.removeEventListener('abort', onAbort);
      socket.pause();
    };
    const fail = (error: Error) => {
      end();
      reject(error);
    };
    const onAbort = () => fail(signal.reason);
    const broken = (why: string) => new ThimbleError('NETWORK', `Cannot use proxy ${proxy}: ${why}`);
    const onEnd = () => fail(broken('it closed the connection'));
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (text.length > MAX_ANSWER_BYTES) return fail(broken('its answer does not end'));
      if (!text.includes('\r\n\r\n')) return;
      end();
      resolve(text);
    };
    socket.on('data', onData).once('error', fail).once('end', onEnd);
    signal.addEventListener('abort', onAbort);
  });
}
