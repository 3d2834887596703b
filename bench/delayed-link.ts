/**
 * A long and thin line to a server of this machine: everything arrives half a round trip later, and no faster than the line
 * is. For kernels without `sch_netem`; it knows neither loss nor slow start. Counts round trips.
 */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface LinkOptions {
  readonly port: number;
  readonly roundTripMs: number;
  /** Towards the client, all connections together. */
  readonly bytesPerSecond: number;
}

/** From a request to the first byte of its answer, as the client sees them. */
interface RoundTrip {
  readonly startMs: number;
  readonly endMs: number;
}

/** On the way; a window of TCP has an end too. */
const MAX_UNDER_WAY_BYTES = 16 * 1024 * 1024;

export class DelayedLink {
  readonly #options: LinkOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #lineFreeMs = 0;
  #trips: RoundTrip[] = [];
  #bytes = 0;

  private constructor(options: LinkOptions) {
    this.#options = options;
    this.#server = createServer((client) => this.#relay(client));
  }

  static async open(options: LinkOptions): Promise<DelayedLink> {
    const link = new DelayedLink(options);
    link.#server.listen(0, '127.0.0.1');
    await once(link.#server, 'listening');
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Forgets what was counted so far. */
  reset(): void {
    this.#trips = [];
    this.#bytes = 0;
  }

  /** The most round trips of which each begins when the one before has ended. */
  get serialRoundTrips(): number {
    let count = 0;
    let freeMs = 0;
    for (const { startMs, endMs } of [...this.#trips].sort((a, b) => a.endMs - b.endMs)) {
      if (startMs < freeMs) continue;
      count++;
      freeMs = endMs;
    }
    return count;
  }

  get requests(): number {
    return this.#trips.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #relay(client: Socket): void {
    const { port, roundTripMs, bytesPerSecond } = this.#options;
    const server = connect(port, '127.0.0.1');
    const oneWayMs = roundTripMs / 2;
    // The client's handshake took no time here; on a real line it takes a round trip.
    const openMs = performance.now() + roundTripMs;
    let askedMs: number | undefined;
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    pump(client, server, () => {
      askedMs ??= performance.now();
      return Math.max(performance.now(), openMs) + oneWayMs;
    });
    pump(server, client, (length) => {
      const nowMs = performance.now();
      this.#lineFreeMs = Math.max(this.#lineFreeMs, nowMs) + (1000 * length) / bytesPerSecond;
      this.#bytes += length;
      const dueMs = this.#lineFreeMs + oneWayMs;
      if (askedMs !== undefined) this.#trips.push({ startMs: askedMs, endMs: dueMs });
      askedMs = undefined;
      return dueMs;
    });
  }
}

/** Passes on what arrives when it is due. */
function pump(from: Socket, to: Socket, dueOf: (length: number) => number): void {
  const queue: { readonly dueMs: number; readonly bytes: Buffer | undefined }[] = [];
  let underWayBytes = 0;
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    timer = undefined;
    const nowMs = performance.now();
    while (queue.length > 0 && queue[0]!.dueMs <= nowMs + 0.5) {
      const { bytes } = queue.shift()!;
      if (bytes === undefined) to.end();
      else to.write(bytes);
      underWayBytes -= bytes?.length ?? 0;
    }
    if (underWayBytes < MAX_UNDER_WAY_BYTES) from.resume();
    if (queue.length > 0) timer = setTimeout(flush, queue[0]!.dueMs - nowMs);
  };
  const add = (bytes: Buffer | undefined) => {
    queue.push({ dueMs: dueOf(bytes?.length ?? 0), bytes });
    underWayBytes += bytes?.length ?? 0;
    if (underWayBytes >= MAX_UNDER_WAY_BYTES) from.pause();
    if (timer === undefined) flush();
  };
  from.on('data', add);
  from.on('end', () => add(undefined));
}
