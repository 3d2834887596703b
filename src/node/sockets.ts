import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Connection, Sockets } from '../core/ports.ts';

/** More than this waiting unread makes the sender wait. */
const HIGH_WATER_BYTES = 1024 * 1024;

export const nodeSockets: Sockets = {
  connect({ host, port, tls }, timeoutMs) {
    return new Promise((resolve, reject) => {
      // RFC 6066 knows names only: an address is not announced.
      const servername = isIP(host) === 0 ? { servername: host } : {};
      const socket = tls ? connectTls({ host, port, ...servername }) : connectTcp({ host, port });
      const fail = (why: string, cause?: Error) => {
        clearTimeout(timer);
        socket.destroy();
        reject(new ThimbleError('NETWORK', `Cannot connect to ${host}:${port}: ${why}`, { cause }));
      };
      const timer = setTimeout(() => fail(`no answer within ${Math.round(timeoutMs)} ms`), timeoutMs);
      const onError = (error: NodeJS.ErrnoException) => fail(error.code ?? error.message);
      socket.once('error', onError);
      socket.once(tls ? 'secureConnect' : 'connect', () => {
        clearTimeout(timer);
        socket.off('error', onError);
        socket.setNoDelay(true);
        resolve(new NodeConnection(socket));
      });
    });
  },
};

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

  write(bytes: Bytes): void {
    this.#socket.write(bytes);
  }

  async read(): Promise<Bytes | undefined> {
    while (this.#chunks.length === 0) {
      if (this.#failure !== undefined) {
        const { code, message } = this.#failure as NodeJS.ErrnoException;
        throw new ThimbleError('NETWORK', `Cannot receive: ${code ?? message}`, { cause: this.#failure });
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
