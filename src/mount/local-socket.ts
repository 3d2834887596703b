/** A UNIX socket that a mount listens on. It keeps no process alive. */

import { chmodSync, lstatSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { ThimbleError } from '../core/errors.ts';

const MAX_CONNECTIONS = 64;
/** `sun_path` of unix(7) has 108 bytes, the last of them 0. */
const MAX_PATH_BYTES = 107;

export class LocalSocket {
  readonly #server: Server;
  readonly #sockets: ReadonlySet<Socket>;
  readonly #path: string;
  readonly #inode: number;

  private constructor(server: Server, sockets: ReadonlySet<Socket>, path: string) {
    this.#server = server;
    this.#sockets = sockets;
    this.#path = path;
    this.#inode = lstatSync(path).ino;
  }

  /**
   * Listens on `path`, with these rights, in the place of one who listened there before; `accept` gets each connection. Throws STORAGE
   * where no socket can be made.
   */
  static async listen(path: string, mode: number, accept: (socket: Socket) => void): Promise<LocalSocket> {
    if (Buffer.byteLength(`${path}.new`) > MAX_PATH_BYTES) {
      throw new ThimbleError('STORAGE', `Cannot listen on ${path}: the path of a socket may have 107 bytes`, {
        hint: 'name a folder with a shorter path in THIMBLE_STATE',
      });
    }
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      // Whoever asked has gone: nobody is left to tell.
      socket.on('error', () => socket.destroy());
      socket.unref();
      accept(socket);
    });
    server.maxConnections = MAX_CONNECTIONS;
    // Under another name first: whoever finds the socket can connect to it.
    await listen(server, `${path}.new`);
    chmodSync(`${path}.new`, mode);
    renameSync(`${path}.new`, path);
    // A mount ends when it is unmounted, whoever still watches it.
    server.unref();
    return new LocalSocket(server, sockets, path);
  }

  /** Closes at once, also what is being answered; harmless when called again. */
  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    // Another process may have taken over.
    if (lstatSync(this.#path, { throwIfNoEntry: false })?.ino === this.#inode)
      rmSync(this.#path, { force: true });
  }
}

async function listen(server: Server, path: string): Promise<void> {
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new ThimbleError('STORAGE', `Cannot listen on ${path}`, { cause: error })),
    );
    server.listen(path, resolve);
  });
}
