/** A TCP server that answers as a test says, byte by byte: what no real web server would send. */

import { createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';

/** Called for each request, with its header as text and the number of requests before it. */
export type RawAnswer = (socket: Socket, request: string, before: number) => void;

export interface RawServer {
  readonly url: string;
  readonly port: number;
  /** Headers of the requests so far, in the order they came. */
  readonly requests: readonly string[];
  /** Connections accepted so far. */
  readonly connections: number;
  /** Connections that are open now. */
  readonly open: number;
  /** Ends it ahead of the end of the test: connections are reset, new ones refused. */
  stop(): Promise<void>;
}

export interface RawServerOptions {
  readonly host?: string;
  /** Key and certificate of a server that speaks TLS. */
  readonly tls?: TlsOptions | undefined;
}

const HOST = '127.0.0.1';
/**
 * Tests stop servers and start them again where they were, and count on dead ports. So these are below those that the kernel gives
 * to whoever asks for any, in a range for each process, and none comes again soon.
 */
const FIRST_PORT = 10_000;
const PORT_RANGES = 50;
const PORTS_IN_RANGE = 400;
let portsGiven = 0;

export async function startRawServer(
  t: Pick<TestContext, 'after'>,
  answer: RawAnswer,
  port = 0,
  { host = HOST, tls }: RawServerOptions = {},
): Promise<RawServer> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const accept = (socket: Socket) => {
    connections++;
    sockets.add(socket);
    let pending = '';
    socket.on('close', () => sockets.delete(socket));
    // Clients that give up reset their connection; that is what the tests are about.
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      pending += chunk.toString('latin1');
      for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
        const request = pending.slice(0, end);
        pending = pending.slice(end + 4);
        requests.push(request);
        answer(socket, request, requests.length - 1);
      }
    });
  };
  const server = tls === undefined ? createServer(accept) : createTlsServer(tls, accept);
  await (port === 0 ? listenAnywhere(server, host) : listen(server, port, host));
  const stop = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  t.after(stop);
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    port: address.port,
    requests,
    get connections() {
      return connections;
    },
    get open() {
      return sockets.size;
    },
    stop,
  };
}

async function listenAnywhere(server: Server, host: string): Promise<void> {
  for (;;) {
    const port = FIRST_PORT + (process.pid % PORT_RANGES) * PORTS_IN_RANGE + (portsGiven++ % PORTS_IN_RANGE);
    try {
      return await listen(server, port, host);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    }
  }
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
}

/** A port that nothing listens on: it was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await listenAnywhere(server, HOST);
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new Error('The server has no port');
  return address.port;
}

/** A whole response with a length. */
export function response(
  body: string | Uint8Array,
  status = '200 OK',
  headers: readonly string[] = [],
): Buffer {
  const bytes = Buffer.from(body);
  const lines = [`HTTP/1.1 ${status}`, `Content-Length: ${bytes.length}`, ...headers];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), bytes]);
}
