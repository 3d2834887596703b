/** Where the files of a repository come from: a web server, perhaps through a proxy, or a folder. */

import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import type { ByteRange } from '../core/vfs.ts';
import type { HttpClient } from './http/http-client.ts';
import { type HttpUrl, parseHttpUrl } from './http/url.ts';

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
    const server = this.#server;
    const { range } = options;
    const response = await this.#client.send({
      method: options.headOnly === true ? 'HEAD' : 'GET',
      target: (this.#proxy ?? server).target,
      authority: server.authority,
      resource: this.#proxy === undefined ? `${server.path}/${path}` : `${server.text}/${path}`,
      headers: {
        ...(options.noCache ? { 'Cache-Control': 'no-cache', Pragma: 'no-cache' } : {}),
        ...(range === undefined ? {} : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
      },
      deadlineMs: options.deadlineMs,
    });
    if (response.status === (range === undefined ? 200 : 206)) return response;
    response.close();
    throw new ThimbleError(
      // Anything but a clear "it is not here" may pass: a busy server, a proxy without a route.
      response.status === 404 || response.status === 410 ? 'NOT_FOUND' : 'NETWORK',
      `Cannot get ${path} from ${this.name}: status ${response.status}`,
      { details: { status: response.status } },
    );
  }
}
