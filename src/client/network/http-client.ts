/**
 * An HTTP/1.1 client for objects: GET over persistent connections, several in parallel to each host, a limit on every
 * wait. Written on sockets, since the small engine of the virtual machine has nothing else, and since it is the hot path
 * (docs/adr/0003-own-http-client.md). Follows RFC 9112; bodies with a length, chunked, and until the end of the
 * connection.
 */

import type { Bytes } from '../../core/bytes/byte-string.ts';
import type { CancelSignal } from '../../core/cancellation.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { Clock, Sockets, SocketTarget } from '../../core/ports.ts';
import type { HeaderFields } from './http-head.ts';
import { Host } from './http-host.ts';
import type { Urgency } from './urgency.ts';

export interface HttpOptions {
  readonly userAgent: string;
  /** Connections to one host at a time; further requests wait for one to be free. */
  readonly maxConnectionsPerHost: number;
  readonly connectTimeoutMs: number;
  /** A request that receives nothing for this long has failed. */
  readonly stallTimeoutMs: number;
  /** And so has one that receives less than this on the average of `stallTimeoutMs`. */
  readonly lowSpeedBytesPerSecond: number;
  /** Idle connections are closed after this; servers do so too, and sooner or later one meets the other. */
  readonly idleTimeoutMs: number;
}

export const DEFAULT_HTTP_OPTIONS: HttpOptions = {
  userAgent: 'thimble',
  maxConnectionsPerHost: 16,
  connectTimeoutMs: 5_000,
  stallTimeoutMs: 10_000,
  lowSpeedBytesPerSecond: 1024,
  idleTimeoutMs: 30_000,
};

export interface HttpRequest {
  /** GET where nothing else is said. */
  readonly method?: 'GET' | 'HEAD';
  readonly target: SocketTarget;
  /** `Host` header. */
  readonly authority: string;
  /** What stands in the request line: a path, or a whole URL when the target is a proxy. */
  readonly resource: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds on the clock's `monotonicMs` after which the request has failed, body included. */
  readonly deadlineMs: number;
  /** In place of both time-outs of the client. */
  readonly timeoutMs?: number | undefined;
  /** Nobody waits for it, until `urgency` is raised: it uses a few connections of its own. */
  readonly background?: boolean | undefined;
  readonly urgency?: Urgency | undefined;
  readonly signal?: CancelSignal | undefined;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: HeaderFields;
  /** Length of the body, where the server says it; also of that which a HEAD request does not get. */
  readonly sizeBytes: number | undefined;
  /** The next piece of the body, `undefined` at its end. Throws NETWORK. */
  next(): Promise<Bytes | undefined>;
  /** Gives the connection back, or closes it if the body was not read to its end. */
  close(): void;
}

/** Who says nothing about it may be sent anything compressed, which some proxies do. */
const AS_IT_IS = 'Accept-Encoding: identity\r\n';

export class HttpClient {
  readonly #sockets: Sockets;
  readonly #clock: Clock;
  readonly #options: HttpOptions;
  readonly #hosts = new Map<string, Host>();

  constructor(sockets: Sockets, clock: Clock, options: Partial<HttpOptions> = {}) {
    this.#sockets = sockets;
    this.#clock = clock;
    this.#options = { ...DEFAULT_HTTP_OPTIONS, ...options };
  }

  /** Sends a request and answers when the header is here. Throws NETWORK, CANCELLED. */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const { deadlineMs, timeoutMs, background = false, urgency, signal, method = 'GET' } = request;
    const { connectTimeoutMs, stallTimeoutMs, lowSpeedBytesPerSecond } = this.#options;
    const host = this.#host(request.target);
    const text = this.#headerOf(method, request);
    const wanted = {
      deadlineMs,
      connectTimeoutMs: timeoutMs ?? connectTimeoutMs,
      background,
      urgency,
      signal,
    };
    const patience = { deadlineMs, stallMs: timeoutMs ?? stallTimeoutMs, lowSpeedBytesPerSecond, signal };
    for (;;) {
      if (signal?.isCancelled) throw new ThimbleError('CANCELLED', 'Cannot send: the request was cancelled');
      const channel = await host.acquire(wanted);
      const reused = channel.requests > 0;
      try {
        return await channel.exchange(text, method === 'HEAD', patience, urgency);
      } catch (error) {
        const begun = error instanceof ThimbleError ? error.details['begun'] : undefined;
        if (begun === 'lifted') continue;
        channel.close();
        if (channel.hasStalled) host.dropIdle();
        // Its turn has not come: it is sent again, and nothing behind it.
        if (begun === 'no') host.doNotShare();
        if (begun === 'no' && this.#clock.monotonicMs() < deadlineMs) continue;
        // The server may close an idle connection at the very moment it is used again: that is no failure.
        if (reused && !channel.hasAnswered && this.#clock.monotonicMs() < deadlineMs) continue;
        throw error;
      }
    }
  }

  /** The time of this machine, in seconds since 1970. */
  unixSeconds(): number {
    return this.#clock.unixSeconds();
  }

  /** Closes the idle connections to a server. */
  dropIdle(target: SocketTarget): void {
    const host = this.#host(target);
    host.dropIdle();
    host.doNotShare();
  }

  /** Closes idle connections, and those in use when they are given back. */
  close(): void {
    for (const host of this.#hosts.values()) host.close();
  }

  #headerOf(method: string, { resource, authority, headers }: HttpRequest): string {
    const { userAgent } = this.#options;
    let text = `${method} ${resource} HTTP/1.1\r\nHost: ${authority}\r\nUser-Agent: ${userAgent}\r\n${AS_IT_IS}`;
    for (const name in headers) text += `${name}: ${headers[name]}\r\n`;
    return `${text}\r\n`;
  }

  #host(target: SocketTarget): Host {
    const { via } = target;
    let key = `${target.tls ? 'https' : 'http'}://${target.host}:${target.port}`;
    if (via !== undefined) key += ` through ${via.host}:${via.port}`;
    let host = this.#hosts.get(key);
    if (host === undefined) {
      host = new Host(this.#sockets, this.#clock, target, this.#options);
      this.#hosts.set(key, host);
    }
    return host;
  }
}
