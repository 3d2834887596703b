/** Where the files of a repository come from: a web server, perhaps through a proxy, or a folder. */

import type { Bytes } from '../../core/bytes/byte-string.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { ByteRange } from '../../core/vfs.ts';
import type { HttpClient, HttpResponse } from './http-client.ts';
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
}

export interface Source {
  /** For messages. */
  readonly name: string;
  /** Opens a file by its path below the repository. Throws NOT_FOUND only when the source says so; else NETWORK. */
  open(path: string, options: OpenOptions): Promise<SourceFile>;
}

/** A repository on a web server. `proxy` is asked instead of the server, where given. */
export class HttpSource implements Source {
  readonly name: string;
  readonly #client: HttpClient;
  readonly #server: HttpUrl;
  readonly #proxy: HttpUrl | undefined;
  #refusesHead = false;

  /** Throws USAGE for addresses that are none. */
  constructor(client: HttpClient, server: string, proxy?: string) {
    this.#client = client;
    this.#server = parseHttpUrl(server);
    this.#proxy = proxy === undefined ? undefined : parseHttpUrl(proxy);
    if (this.#proxy !== undefined && this.#server.target.tls) {
      throw new ThimbleError(
        'UNSUPPORTED',
        `Cannot reach ${server} through a proxy: only http:// servers can be proxied`,
      );
    }
    this.name = proxy === undefined ? this.#server.text : `${this.#server.text} through ${this.#proxy?.text}`;
  }

  async open(path: string, options: OpenOptions): Promise<SourceFile> {
    const { range, headOnly } = options;
    if (headOnly === true) return this.#probe(path, options);
    const response = await this.#send('GET', path, options);
    if (response.status === (range === undefined ? 200 : 206)) return response;
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

  #send(
    method: 'GET' | 'HEAD',
    path: string,
    { range, noCache, deadlineMs }: OpenOptions,
  ): Promise<HttpResponse> {
    const server = this.#server;
    return this.#client.send({
      method,
      target: (this.#proxy ?? server).target,
      authority: server.authority,
      resource: this.#proxy === undefined ? `${server.path}/${path}` : `${server.text}/${path}`,
      headers: {
        ...(noCache ? { 'Cache-Control': 'no-cache', Pragma: 'no-cache' } : {}),
        ...(range === undefined ? {} : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
      },
      deadlineMs,
    });
  }

  #refuse(path: string, response: HttpResponse): never {
    response.close();
    throw new ThimbleError(
      // Anything but a clear "it is not here" may pass: a busy server, a proxy without a route.
      response.status === 404 || response.status === 410 ? 'NOT_FOUND' : 'NETWORK',
      `Cannot get ${path} from ${this.name}: status ${response.status}`,
      { details: { status: response.status } },
    );
  }
}

/** Method Not Allowed, Not Implemented. */
const HEAD_REFUSED: ReadonlySet<number> = new Set([405, 501]);
const NOTHING_TO_READ = { next: async () => undefined, close: () => {} };
