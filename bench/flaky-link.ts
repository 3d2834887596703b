/** A line to a server of this machine that can be cut, and can stall: what is asked for then is refused, or not answered. */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export type LinkState = 'good' | 'cut' | 'stalled';

export class FlakyLink {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #state: LinkState = 'good';

  private constructor(port: number) {
    this.#server = createServer((client) => {
      if (this.#state === 'cut') client.resetAndDestroy();
      else this.#relay(client, connect(port, '127.0.0.1'));
    });
  }

  static async open(port: number): Promise<FlakyLink> {
    const link = new FlakyLink(port);
    link.#server.listen(0, '127.0.0.1');
    await once(link.#server, 'listening');
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  set state(state: LinkState) {
    this.#state = state;
    for (const socket of this.#sockets) {
      if (state === 'cut') socket.resetAndDestroy();
      else if (state === 'stalled') socket.pause();
      else socket.resume();
    }
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #relay(client: Socket, server: Socket): void {
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.setNoDelay(true);
      from.on('data', (chunk: Buffer) => {
        if (!to.write(chunk)) from.pause();
      });
      from.on('drain', () => {
        if (this.#state !== 'stalled') to.resume();
      });
      from.on('end', () => to.end());
      from.on('error', () => {});
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      if (this.#state === 'stalled') from.pause();
    }
  }
}
