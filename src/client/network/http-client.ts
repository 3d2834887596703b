/**
 * An HTTP/1.1 client for objects: GET over persistent connections, several in parallel to each host, a limit on every
 * wait. Written on sockets, since the small engine of the virtual machine has nothing else, and since it is the hot path
 * (docs/adr/0003-own-http-client.md). Follows RFC 9112; bodies with a length, chunked, and until the end of the
 * connection.
 */

import { type Bytes, byteStringOf, concatBytes } from '../../core/bytes/byte-string.ts';
import { encodeUtf8 } from '../../core/bytes/utf8.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { Clock, Connection, Sockets, SocketTarget } from '../../core/ports.ts';

export interface HttpOptions {
  readonly userAgent: string;
  /** Connections to one host at a time; further requests wait for one to be free. */
  readonly maxConnectionsPerHost: number;
  readonly connectTimeoutMs: number;
  /** A request that receives nothing for this long has failed. */
  readonly stallTimeoutMs: number;
  /** Idle connections are closed after this; servers do so too, and sooner or later one meets the other. */
  readonly idleTimeoutMs: number;
}

export const DEFAULT_HTTP_OPTIONS: HttpOptions = {
  userAgent: 'thimble',
  maxConnectionsPerHost: 16,
  connectTimeoutMs: 5_000,
  stallTimeoutMs: 10_000,
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
}

export interface HttpResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** Length of the body, where the server says it; also of that which a HEAD request does not get. */
  readonly sizeBytes: number | undefined;
  /** The next piece of the body, `undefined` at its end. Throws NETWORK. */
  next(): Promise<Bytes | undefined>;
  /** Gives the connection back, or closes it if the body was not read to its end. */
  close(): void;
}

const MAX_HEADER_BYTES = 64 * 1024;
const MAX_CHUNK_LINE_BYTES = 1024;

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

  /** Sends a request and answers when the header is here. Throws NETWORK. */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const host = this.#host(request.target);
    for (;;) {
      const channel = await host.acquire(request.deadlineMs);
      const reused = channel.requests > 0;
      try {
        return await channel.exchange(request, this.#options.userAgent);
      } catch (error) {
        channel.close();
        // The server may close an idle connection at the very moment it is used again: that is no failure.
        if (reused && !channel.hasAnswered && this.#clock.monotonicMs() < request.deadlineMs) continue;
        throw error;
      }
    }
  }

  /** Closes idle connections, and those in use when they are given back. */
  close(): void {
    for (const host of this.#hosts.values()) host.close();
  }

  #host(target: SocketTarget): Host {
    const key = `${target.tls ? 'https' : 'http'}://${target.host}:${target.port}`;
    let host = this.#hosts.get(key);
    if (host === undefined) {
      host = new Host(this.#sockets, this.#clock, target, this.#options);
      this.#hosts.set(key, host);
    }
    return host;
  }
}

interface Waiter {
  readonly take: (channel: Channel | undefined) => void;
}

/** The connections to one host. */
class Host {
  readonly #sockets: Sockets;
  readonly #clock: Clock;
  readonly #target: SocketTarget;
  readonly #options: HttpOptions;
  readonly #idle: { channel: Channel; sinceMs: number }[] = [];
  readonly #waiting: Waiter[] = [];
  #open = 0;
  #closed = false;

  constructor(sockets: Sockets, clock: Clock, target: SocketTarget, options: HttpOptions) {
    this.#sockets = sockets;
    this.#clock = clock;
    this.#target = target;
    this.#options = options;
  }

  async acquire(deadlineMs: number): Promise<Channel> {
    for (;;) {
      const idle = this.#takeIdle();
      if (idle !== undefined) return idle;
      if (this.#open < this.#options.maxConnectionsPerHost) return this.#connect(deadlineMs);
      const channel = await this.#wait(deadlineMs);
      if (channel !== undefined) return channel;
    }
  }

  release(channel: Channel): void {
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) waiter.take(channel);
    else if (this.#closed) channel.close();
    else this.#idle.push({ channel, sinceMs: this.#clock.monotonicMs() });
  }

  /** A connection is gone: whoever waits may open another. */
  dropped(): void {
    this.#open--;
    this.#waiting.shift()?.take(undefined);
  }

  close(): void {
    this.#closed = true;
    for (const { channel } of this.#idle.splice(0)) channel.close();
  }

  #takeIdle(): Channel | undefined {
    const now = this.#clock.monotonicMs();
    for (let entry = this.#idle.pop(); entry !== undefined; entry = this.#idle.pop()) {
      if (now - entry.sinceMs < this.#options.idleTimeoutMs) return entry.channel;
      entry.channel.close();
    }
    return undefined;
  }

  async #connect(deadlineMs: number): Promise<Channel> {
    this.#open++;
    const left = deadlineMs - this.#clock.monotonicMs();
    const timeoutMs = Math.min(this.#options.connectTimeoutMs, left);
    try {
      if (timeoutMs <= 0)
        throw new ThimbleError('NETWORK', `Cannot connect to ${this.#target.host}: out of time`);
      const connection = await this.#sockets.connect(this.#target, timeoutMs);
      return new Channel(connection, this.#clock, this, this.#options.stallTimeoutMs);
    } catch (error) {
      this.dropped();
      throw error;
    }
  }

  #wait(deadlineMs: number): Promise<Channel | undefined> {
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(deadlineMs - this.#clock.monotonicMs(), () => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
        reject(
          new ThimbleError('NETWORK', `Cannot connect to ${this.#target.host}: all connections are busy`),
        );
      });
      const waiter: Waiter = {
        take: (channel) => {
          cancel();
          resolve(channel);
        },
      };
      this.#waiting.push(waiter);
    });
  }
}

/** One connection: a request and its response at a time. */
class Channel {
  requests = 0;
  /** True once the first byte of the current response is here. */
  hasAnswered = false;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #host: Host;
  readonly #stallMs: number;
  #buffer: Bytes = new Uint8Array(0);
  #at = 0;
  #closed = false;
  #why: string | undefined;
  #deadlineMs = 0;
  #progressMs = 0;
  #cancelTimer: (() => void) | undefined;

  constructor(connection: Connection, clock: Clock, host: Host, stallMs: number) {
    this.#connection = connection;
    this.#clock = clock;
    this.#host = host;
    this.#stallMs = stallMs;
  }

  async exchange(request: HttpRequest, userAgent: string): Promise<HttpResponse> {
    this.requests++;
    this.hasAnswered = false;
    this.#deadlineMs = request.deadlineMs;
    this.#progressMs = this.#clock.monotonicMs();
    this.#watch();
    const { method = 'GET', resource } = request;
    let text = `${method} ${resource} HTTP/1.1\r\nHost: ${request.authority}\r\nUser-Agent: ${userAgent}\r\n`;
    for (const [name, value] of Object.entries(request.headers ?? {})) text += `${name}: ${value}\r\n`;
    this.#connection.write(encodeUtf8(`${text}\r\n`));
    let head = await this.#readHead();
    // 1xx responses are interim; the real one follows.
    while (head.status < 200) head = await this.#readHead();
    return this.#response(head, method === 'HEAD');
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTimer?.();
    this.#connection.close();
    this.#host.dropped();
  }

  // ---- waiting ----

  /** One timer watches both limits; it is set anew only when it fires, not on every byte. */
  #watch(): void {
    this.#cancelTimer?.();
    const now = this.#clock.monotonicMs();
    const next = Math.min(this.#deadlineMs, this.#progressMs + this.#stallMs);
    if (next > now) {
      this.#cancelTimer = this.#clock.after(next - now, () => this.#watch());
      return;
    }
    this.#why = this.#deadlineMs <= now ? 'out of time' : `nothing received for ${this.#stallMs} ms`;
    this.#connection.close();
  }

  /** Reads more bytes behind those not yet used; false at the end of the stream. */
  async #fill(): Promise<boolean> {
    const chunk = await this.#receive();
    if (chunk === undefined) return false;
    this.#buffer =
      this.#at === this.#buffer.length ? chunk : concatBytes([this.#buffer.subarray(this.#at), chunk]);
    this.#at = 0;
    return true;
  }

  async #receive(): Promise<Bytes | undefined> {
    try {
      const chunk = await this.#connection.read();
      if (chunk !== undefined) {
        this.#progressMs = this.#clock.monotonicMs();
        this.hasAnswered = true;
      } else if (this.#why !== undefined) {
        throw new ThimbleError('NETWORK', `Cannot receive: ${this.#why}`);
      }
      return chunk;
    } catch (error) {
      if (this.#why === undefined) throw error;
      throw new ThimbleError('NETWORK', `Cannot receive: ${this.#why}`);
    }
  }

  // ---- parsing ----

  async #readHead(): Promise<Head> {
    let scanned = 0;
    for (;;) {
      const end = indexOfBlankLine(this.#buffer, Math.max(this.#at, this.#at + scanned - 3));
      if (end >= 0) {
        const head = parseHead(byteStringOf(this.#buffer, this.#at, end));
        this.#at = end + 4;
        return head;
      }
      scanned = this.#buffer.length - this.#at;
      if (scanned > MAX_HEADER_BYTES) {
        throw new ThimbleError(
          'NETWORK',
          `Cannot receive: the header is longer than ${MAX_HEADER_BYTES} bytes`,
        );
      }
      if (!(await this.#fill()))
        throw new ThimbleError('NETWORK', 'Cannot receive: connection closed before the response');
    }
  }

  async #readLine(): Promise<string> {
    for (;;) {
      const end = this.#buffer.indexOf(0x0a, this.#at);
      if (end >= 0) {
        const line = byteStringOf(this.#buffer, this.#at, end);
        this.#at = end + 1;
        return line.trimEnd();
      }
      if (this.#buffer.length - this.#at > MAX_CHUNK_LINE_BYTES) {
        throw new ThimbleError('NETWORK', 'Cannot receive: a chunk header is too long');
      }
      if (!(await this.#fill())) throw truncated();
    }
  }

  /** At most `limit` bytes: those at hand, else what arrives next. */
  async #take(limit: number): Promise<Bytes | undefined> {
    if (this.#at === this.#buffer.length) {
      const chunk = await this.#receive();
      if (chunk === undefined) return undefined;
      this.#buffer = chunk;
      this.#at = 0;
    }
    const start = this.#at;
    this.#at = Math.min(this.#buffer.length, start + limit);
    return this.#buffer.subarray(start, this.#at);
  }

  #response({ status, headers, persistent }: Head, isHead: boolean): HttpResponse {
    const chunked = /(^|,)\s*chunked\s*$/i.test(headers.get('transfer-encoding') ?? '');
    const lengthText = headers.get('content-length');
    const hasNoBody = isHead || status === 204 || status === 304;
    const declaredBytes = chunked || lengthText === undefined ? undefined : parseLength(lengthText);
    const sizeBytes = hasNoBody ? 0 : declaredBytes;
    const keepAlive = persistent && (chunked || sizeBytes !== undefined);
    const next =
      chunked && !hasNoBody
        ? this.#chunkedBody()
        : sizeBytes !== undefined
          ? this.#sizedBody(sizeBytes)
          : this.#openBody();
    let ended = false;
    const finish = () => {
      if (ended) return;
      ended = true;
      this.#cancelTimer?.();
      // Bytes behind the response would be taken for the next one.
      if (keepAlive && this.#at === this.#buffer.length) this.#host.release(this);
      else this.close();
    };
    if (sizeBytes === 0) finish();
    return {
      status,
      headers,
      sizeBytes: isHead ? declaredBytes : sizeBytes,
      next: async () => {
        if (ended) return undefined;
        try {
          const piece = await next();
          if (piece === undefined) finish();
          return piece;
        } catch (error) {
          ended = true;
          this.close();
          throw error;
        }
      },
      close: () => {
        if (ended) return;
        ended = true;
        this.close();
      },
    };
  }

  #sizedBody(sizeBytes: number): () => Promise<Bytes | undefined> {
    let left = sizeBytes;
    return async () => {
      if (left === 0) return undefined;
      const piece = await this.#take(left);
      if (piece === undefined) throw truncated();
      left -= piece.length;
      return piece;
    };
  }

  #openBody(): () => Promise<Bytes | undefined> {
    return () => this.#take(Number.POSITIVE_INFINITY);
  }

  #chunkedBody(): () => Promise<Bytes | undefined> {
    let left = 0;
    let first = true;
    return async () => {
      if (left === 0) {
        if (!first && (await this.#readLine()) !== '')
          throw new ThimbleError('NETWORK', 'Cannot receive: a chunk is longer than it says');
        first = false;
        const size = /^([0-9a-f]{1,12})[ \t]*(?:;|$)/i.exec(await this.#readLine())?.[1];
        if (size === undefined) throw new ThimbleError('NETWORK', 'Cannot receive: a chunk has no size');
        left = Number.parseInt(size, 16);
        if (left === 0) {
          while ((await this.#readLine()) !== '');
          return undefined;
        }
      }
      const piece = await this.#take(left);
      if (piece === undefined) throw truncated();
      left -= piece.length;
      return piece;
    };
  }
}

/** Several lengths, joined by commas, are none either. */
function parseLength(text: string): number {
  const length = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(length)) return length;
  throw new ThimbleError('NETWORK', `Cannot receive: Content-Length is ${JSON.stringify(text)}`);
}

function truncated(): ThimbleError {
  return new ThimbleError('NETWORK', 'Cannot receive: connection closed before the end of the response');
}

function indexOfBlankLine(bytes: Bytes, from: number): number {
  for (
    let at = bytes.indexOf(0x0d, from);
    at >= 0 && at + 3 < bytes.length;
    at = bytes.indexOf(0x0d, at + 1)
  ) {
    if (bytes[at + 1] === 0x0a && bytes[at + 2] === 0x0d && bytes[at + 3] === 0x0a) return at;
  }
  return -1;
}

interface Head {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** The server is willing to take another request on this connection. */
  readonly persistent: boolean;
}

function parseHead(text: string): Head {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const parts = /^HTTP\/1\.([01]) ([1-5][0-9][0-9])(?: |$)/.exec(statusLine);
  if (parts === null) {
    throw new ThimbleError(
      'NETWORK',
      `Cannot receive: ${JSON.stringify(statusLine.slice(0, 80))} is not HTTP/1.1`,
    );
  }
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  const connection = headers.get('connection')?.toLowerCase() ?? '';
  const persistent = parts[1] === '1' ? !connection.includes('close') : connection.includes('keep-alive');
  return { status: Number(parts[2]), headers, persistent };
}
