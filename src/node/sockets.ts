/**
 * Connections of this machine: names looked up, the first address that answers, TLS, and proxies that connect on. Every wait
 * is part of the one time-out of `connect`.
 */

import { isIP, type Socket } from 'node:net';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Connection, Resolver, SocketProxy, Sockets, SocketTarget } from '../core/ports.ts';
import { connectFirst } from './happy-eyeballs.ts';
import { openTunnel } from './proxy-tunnel.ts';
import { nodeResolver } from './resolver.ts';

/** More than this waiting unread makes the sender wait. */
const HIGH_WATER_BYTES = 1024 * 1024;

export interface SocketOptions {
  readonly resolver: Resolver;
  /** Which of the addresses of a name are used, and in which order. */
  readonly order?: (addresses: readonly string[]) => readonly string[];
  /** Certificates in PEM of those who vouch for `https://` servers, in place of those that this machine trusts. */
  readonly authorities?: readonly string[];
}

export function createSockets({ resolver, order = (all) => all, authorities }: SocketOptions): Sockets {
  /** Addresses that answered last: they are tried first. */
  const answered = new Map<string, string>();

  const connectTo = async ({ host, port }: SocketTarget | SocketProxy, signal: AbortSignal) => {
    if (isIP(host) !== 0) return (await connectFirst({ addresses: [host], port }, signal)).socket;
    const found = order((await orAborted(resolver.resolve(host), signal)).addresses);
    if (found.length === 0) throw new Error('it has no address that may be used');
    const last = answered.get(host);
    const addresses =
      last === undefined || !found.includes(last) ? found : [last, ...found.filter((one) => one !== last)];
    const { socket, address } = await connectFirst({ addresses, port }, signal);
    answered.set(host, address);
    return socket;
  };

  const open = async (target: SocketTarget, signal: AbortSignal): Promise<Socket> => {
    const { via } = target;
    // Loading TLS takes as long as all else that a plain connection needs.
    const secure = target.tls || via?.tls ? (await import('node:tls')).connect : undefined;
    const trust = { secure, authorities };
    if (via === undefined) return secured(await connectTo(target, signal), target, trust, signal);
    const proxy = await secured(await connectTo(via, signal), via, trust, signal);
    await openTunnel(proxy, target, signal);
    return secured(proxy, target, trust, signal);
  };

  return {
    async connect(target, timeoutMs) {
      const giveUp = new AbortController();
      const late = new Error(`no answer within ${Math.round(timeoutMs)} ms`);
      const timer = setTimeout(() => giveUp.abort(late), timeoutMs);
      try {
        const socket = await open(target, giveUp.signal);
        socket.setNoDelay(true);
        return new NodeConnection(socket);
      } catch (error) {
        throw cannotConnect(target, error as NodeJS.ErrnoException);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

export const nodeSockets: Sockets = createSockets({ resolver: nodeResolver });

interface Trust {
  readonly authorities: readonly string[] | undefined;
  /** TLS, where it is asked for. */
  readonly secure: typeof import('node:tls').connect | undefined;
}

/** The same stream with TLS, where that is asked for. */
function secured(
  socket: Socket,
  { host, tls }: Pick<SocketTarget, 'host' | 'tls'>,
  { secure, authorities }: Trust,
  signal: AbortSignal,
): Promise<Socket> {
  if (!tls) return Promise.resolve(socket);
  // RFC 6066 knows names only: an address is not announced.
  const servername = isIP(host) === 0 ? { servername: host } : {};
  return new Promise((resolve, reject) => {
    const secured = secure!({ socket, host, ...servername, ...(authorities && { ca: [...authorities] }) });
    const onAbort = () => fail(signal.reason);
    const fail = (error: Error) => {
      signal.removeEventListener('abort', onAbort);
      secured.destroy();
      socket.destroy();
      reject(error);
    };
    signal.addEventListener('abort', onAbort);
    secured.once('error', fail);
    secured.once('secureConnect', () => {
      signal.removeEventListener('abort', onAbort);
      secured.off('error', fail);
      resolve(secured);
    });
  });
}

function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function cannotConnect({ host, port, via }: SocketTarget, error: NodeJS.ErrnoException): ThimbleError {
  if (error instanceof ThimbleError) return error;
  const way = via === undefined ? '' : ` through ${via.host}:${via.port}`;
  return new ThimbleError(
    'NETWORK',
    `Cannot connect to ${host}:${port}${way}: ${error.code ?? error.message}`,
    {
      details: { phase: 'connect' },
      cause: error,
    },
  );
}

class NodeConnection implements Connection {
  readonly #socket: Socket;
  readonly #chunks: Bytes[] = [];
  #waitingBytes = 0;
  #ended = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#waitingBytes += chunk.length;
      if (this.#waitingBytes > HIGH_WATER_BYTES) socket.pause();
      this.#wake?.();
    });
    socket.on('error', (error) => {
      this.#failure = error;
    });
    socket.on('end', () => this.#end());
    socket.on('close', () => this.#end());
  }

  /** What is written in one go, as requests for several objects are, is one packet. */
  write(bytes: Bytes): void {
    if (this.#socket.writableCorked === 0) {
      this.#socket.cork();
      process.nextTick(() => this.#socket.uncork());
    }
    this.#socket.write(bytes);
  }

  async read(): Promise<Bytes | undefined> {
    while (this.#chunks.length === 0) {
      if (this.#failure !== undefined) {
        const { code, message } = this.#failure as NodeJS.ErrnoException;
        throw new ThimbleError('NETWORK', `Cannot receive: ${code ?? message}`, {
          details: { phase: 'transfer' },
          cause: this.#failure,
        });
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const chunk = this.#chunks.shift()!;
    this.#waitingBytes -= chunk.length;
    if (this.#socket.isPaused()) this.#socket.resume();
    return chunk;
  }

  isQuiet(): boolean {
    return this.#chunks.length === 0 && !this.#ended && this.#failure === undefined;
  }

  close(): void {
    // Whoever still reads must not take this for the end of the stream.
    this.#failure ??= new Error('the connection was closed on this side');
    this.#socket.destroy();
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }
}
