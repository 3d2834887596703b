/** Where the files of a repository come from: a web server, perhaps through a proxy, or a folder. */

import type { Bytes } from '../../core/bytes/byte-string.ts';
import type { CancelSignal } from '../../core/cancellation.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { SocketTarget } from '../../core/ports.ts';
import type { ByteRange } from '../../core/vfs.ts';
import type { HttpClient, HttpResponse } from './http-client.ts';
import { type ProxyMember, proxyMember } from './proxy-member.ts';
import { MAX_REDIRECTS, REDIRECT_STATUSES, type Resource, resolveRedirect } from './redirect.ts';
import { retryAfterSeconds } from './retry-after.ts';
import type { Urgency } from './urgency.ts';
import { type HttpUrl, parseHttpUrl } from './url.ts';

export interface SourceFile {
  /** Where the source says it. */
  readonly sizeBytes: number | undefined;
  next(): Promise<Bytes | undefined>;
  close(): void;
}

export interface OpenOptions {
  /** On the clock's `monotonicMs`. */
  readonly deadlineMs: number;
  /** Tell caches on the way to ask the server anew. */
  readonly noCache: boolean;
  /** A part of the file; all of it where this is missing. */
  readonly range?: ByteRange | undefined;
  /** Only whether it is there, and its size: the file cannot be read. */
  readonly headOnly?: boolean;
  /** Nobody waits for it, until `urgency` is raised. */
  readonly background?: boolean | undefined;
  readonly urgency?: Urgency | undefined;
  readonly signal?: CancelSignal | undefined;
}

export interface Source {
  /** For messages. */
  readonly name: string;
  /** The machine, for those who know where it stands; none for a folder. */
  readonly host?: string;
  /**
   * Opens a file by its path below the repository. Throws NOT_FOUND only when the source says so, CANCELLED; else NETWORK,
   * with `details.blame` where it is known whether the server or the proxy has failed, `details.phase` "transfer" for a
   * connection that broke, and `details.retryAfterSeconds` where the server wants to be left alone.
   */
  open(path: string, options: OpenOptions): Promise<SourceFile>;
  /** What came was not what was asked for: on connections that are open, more answers may be to other requests. */
  forgetConnections?(): void;
  /** The same server by way of a proxy. A source without this never needs one. */
  through?(proxy: ProxyMember): Source;
}

export interface HttpSourceOptions {
  /** Go where the server sends us on to, at most four times. */
  readonly followRedirects?: boolean;
  /** Time-outs in place of those of the HTTP client. */
  readonly proxyTimeoutMs?: number;
  readonly directTimeoutMs?: number;
}

/** A repository on a web server, asked directly or by way of a proxy. */
export class HttpSource implements Source {
  readonly name: string;
  readonly host: string;
  readonly #client: HttpClient;
  readonly #server: HttpUrl;
  readonly #proxy: ProxyMember | undefined;
  readonly #options: HttpSourceOptions;
  readonly #target: SocketTarget;
  readonly #timeoutMs: number | undefined;
  #refusesHead = false;

  /** Throws USAGE for addresses that are none. */
  constructor(
    client: HttpClient,
    server: string,
    proxy?: string | ProxyMember,
    options: HttpSourceOptions = {},
  ) {
    this.#client = client;
    this.#server = parseHttpUrl(server);
    const member = typeof proxy === 'string' ? proxyMember(proxy) : proxy;
    this.#proxy = member?.target === undefined ? undefined : member;
    this.#options = options;
    this.#target = this.#targetFor(this.#server.target);
    this.#timeoutMs = this.#proxy === undefined ? options.directTimeoutMs : options.proxyTimeoutMs;
    this.host = this.#server.target.host;
    this.name =
      this.#proxy === undefined ? this.#server.text : `${this.#server.text} through ${this.#proxy.name}`;
  }

  through(proxy: ProxyMember): Source {
    return new HttpSource(this.#client, this.#server.text, proxy, this.#options);
  }

  forgetConnections(): void {
    this.#client.dropIdle(this.#target);
  }

  async open(path: string, options: OpenOptions): Promise<SourceFile> {
    const { range, headOnly } = options;
    if (headOnly === true) return this.#probe(path, options);
    const response = await this.#send('GET', path, options);
    if (range === undefined ? response.status === 200 : isPart(response, range)) return response;
    return this.#refuse(path, response);
  }

  /** By HEAD; a server that does not know it is asked for the first byte. */
  async #probe(path: string, options: OpenOptions): Promise<SourceFile> {
    if (!this.#refusesHead) {
      const response = await this.#send('HEAD', path, options);
      if (response.status === 200) return response;
      this.#refusesHead = HEAD_REFUSED.has(response.status);
      if (!this.#refusesHead) return this.#refuse(path, response);
      response.close();
    }
    const response = await this.#send('GET', path, { ...options, range: { offset: 0, length: 1 } });
    const { status, sizeBytes, headers } = response;
    // A server may send all of it; an empty file has no first byte.
    if (status !== 200 && status !== 206 && status !== 416) return this.#refuse(path, response);
    const whole = /^bytes (?:0-0|\*)\/([0-9]{1,15})$/.exec(headers.get('content-range') ?? '')?.[1];
    // A connection whose response was read to its end can be used again.
    if (status === 206 && sizeBytes === 1) while ((await response.next()) !== undefined);
    response.close();
    return {
      ...NOTHING_TO_READ,
      sizeBytes: status === 200 ? sizeBytes : whole === undefined ? undefined : Number(whole),
    };
  }

  async #send(method: 'GET' | 'HEAD', path: string, options: OpenOptions): Promise<HttpResponse> {
    const server = this.#server;
    const whole = `${server.path}/${path}`;
    const usesWholeAddress = this.#proxy !== undefined && !server.target.tls;
    const resource = usesWholeAddress ? `${server.text}/${path}` : whole;
    const response = await this.#sendTo(method, this.#target, server.authority, resource, options);
    if (!REDIRECT_STATUSES.has(response.status) || !this.#options.followRedirects) return response;
    const { target, authority } = server;
    return this.#follow(
      method,
      { target, authority, path: whole, text: `${server.text}/${path}` },
      response,
      options,
    );
  }

  async #follow(
    method: 'GET' | 'HEAD',
    first: Resource,
    answer: HttpResponse,
    options: OpenOptions,
  ): Promise<HttpResponse> {
    let from: Resource | undefined = first;
    let response = answer;
    for (let hop = 0; hop < MAX_REDIRECTS && REDIRECT_STATUSES.has(response.status); hop++) {
      from = resolveRedirect(response.headers.get('location'), from);
      if (from === undefined) return response;
      response.close();
      const { target, authority, path, text } = from;
      const resource = this.#proxy !== undefined && !target.tls ? text : path;
      response = await this.#sendTo(method, this.#targetFor(target), authority, resource, options);
    }
    return response;
  }

  #sendTo(
    method: 'GET' | 'HEAD',
    target: SocketTarget,
    authority: string,
    resource: string,
    { range, noCache, deadlineMs, background, urgency, signal }: OpenOptions,
  ): Promise<HttpResponse> {
    const authorization = target.via === undefined ? this.#proxy?.authorization : undefined;
    return this.#client.send({
      method,
      target,
      authority,
      resource,
      headers: {
        ...(authorization === undefined ? {} : { 'Proxy-Authorization': authorization }),
        ...(noCache ? { 'Cache-Control': 'no-cache', Pragma: 'no-cache' } : {}),
        ...(range === undefined ? {} : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
      },
      deadlineMs,
      timeoutMs: this.#timeoutMs,
      background,
      urgency,
      signal,
    });
  }

  /** The proxy passes requests on for `http://` servers, and connects for `https://` servers. */
  #targetFor(server: SocketTarget): SocketTarget {
    const proxy = this.#proxy;
    if (proxy?.target === undefined) return server;
    if (!server.tls) return proxy.target;
    return { ...server, via: { ...proxy.target, authorization: proxy.authorization } };
  }

  #refuse(path: string, response: HttpResponse): never {
    response.close();
    const { status, headers } = response;
    const blame = this.#isOfProxy(response) ? 'proxy' : 'server';
    const isAbsent = blame === 'server' && (status === 404 || status === 410);
    const wait =
      status === 429 || status === 503 ? retryAfterSeconds(headers, this.#client.unixSeconds()) : undefined;
    throw new ThimbleError(
      // Anything but a clear "it is not here" may pass: a busy server, a proxy without a route.
      isAbsent ? 'NOT_FOUND' : 'NETWORK',
      `Cannot get ${path} from ${this.name}: status ${status}`,
      { details: { status, blame, ...(wait === undefined ? {} : { retryAfterSeconds: wait }) } },
    );
  }

  /** Behind a proxy, some answers are its own. */
  #isOfProxy({ status, headers }: HttpResponse): boolean {
    if (this.#proxy === undefined || this.#server.target.tls) return false;
    if (headers.has('x-squid-error') || /;\s*error=/i.test(headers.get('proxy-status') ?? '')) return true;
    return status < 500 && !OF_SERVER.has(status);
  }
}

/** Whether it says that it is the part that was asked for, or what there is of it. */
function isPart({ status, headers }: HttpResponse, { offset, length }: ByteRange): boolean {
  const range = /^bytes ([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15}|\*)$/.exec(
    headers.get('content-range') ?? '',
  );
  if (status !== 206 || range === null) return false;
  const [, first, last, total] = range;
  const end = Math.min(offset + length, total === '*' ? Number.POSITIVE_INFINITY : Number(total));
  return Number(first) === offset && Number(last) + 1 === end;
}

/** Below 500, what a server says itself even behind a proxy; 403 or 407 may be the proxy's opinion of us. */
const OF_SERVER: ReadonlySet<number> = new Set([200, 206, 400, 404, 410, 416, 429]);

/** Method Not Allowed, Not Implemented. */
const HEAD_REFUSED: ReadonlySet<number> = new Set([405, 501]);
const NOTHING_TO_READ = { next: async () => undefined, close: () => {} };
