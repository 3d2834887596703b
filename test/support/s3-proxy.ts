/** Stands between a client and an object store, and does with each request what a test says. */

import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

/**
 * `slow-down`: refused with 503, unseen by the server. `refused`: the same with 501. `reset`: the connection breaks before
 * the server sees it. `lost`: the server has done it, and the answer breaks. `torn`: half of the answer arrives. A number:
 * passed on after so many milliseconds.
 */
export type Fate = 'pass' | 'slow-down' | 'refused' | 'reset' | 'lost' | 'torn' | number;

export interface SeenRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export interface S3Proxy {
  readonly endpoint: string;
  /** In the order they came. */
  readonly requests: readonly SeenRequest[];
  /** Most requests that were under way at a time. */
  readonly mostAtOnce: number;
}

export async function startS3Proxy(
  t: Pick<TestContext, 'after'>,
  target: string,
  fate: (request: SeenRequest, before: number) => Fate = () => 'pass',
): Promise<S3Proxy> {
  const requests: SeenRequest[] = [];
  let [open, mostAtOnce] = [0, 0];
  const server = createServer((incoming, response) => {
    const seen = { method: incoming.method ?? '', url: incoming.url ?? '', headers: incoming.headers };
    const decided = fate(seen, requests.length);
    requests.push(seen);
    mostAtOnce = Math.max(mostAtOnce, ++open);
    response.once('close', () => open--);
    if (decided === 'slow-down') return refuse(incoming, response, 503, 'SlowDown');
    if (decided === 'refused') return refuse(incoming, response, 501, 'NotImplemented');
    if (decided === 'reset') return void incoming.socket.destroy();
    const delayMs = typeof decided === 'number' ? decided : 0;
    setTimeout(() => forward(target, incoming, response, decided), delayMs);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    get mostAtOnce() {
      return mostAtOnce;
    },
  };
}

/** Like the gateway under load: after the body, with a sentence for machines. */
function refuse(incoming: IncomingMessage, response: ServerResponse, status: number, code: string): void {
  incoming.resume().once('end', () => {
    response.writeHead(status, { 'Content-Type': 'application/xml' });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>injected</Message></Error>`);
  });
}

function forward(target: string, incoming: IncomingMessage, response: ServerResponse, fate: Fate): void {
  const { method, url, headers } = incoming;
  // Headers as they came: the signature covers the host that the client named.
  const outgoing = request(`${target}${url}`, { method, headers }, (answer) => {
    if (fate === 'lost') {
      answer.resume().once('end', () => incoming.socket.destroy());
      return;
    }
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    if (fate !== 'torn') return void answer.pipe(response);
    answer.once('end', () => incoming.socket.destroy());
    answer.once('data', (chunk: Buffer) => {
      response.write(chunk.subarray(0, chunk.length / 2), () => incoming.socket.destroy());
    });
  });
  outgoing.on('error', () => incoming.socket.destroy());
  incoming.pipe(outgoing);
}
