/**
 * A web server in front of a published repository that is good until it is told what to do wrong: a fault is a function,
 * and a small table says for which paths and which of their requests it holds. Also a proxy: it answers whole URLs.
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type DeadListener, startDeadListener } from './dead-listener.ts';
import { type RawServer, type RawServerOptions, startRawServer } from './raw-server.ts';

/** One request, and what a good server would say to it. */
export interface Exchange {
  readonly socket: Socket;
  /** Its header. */
  readonly request: string;
  /** Below the repository. */
  readonly path: string;
  /** Requests for the same path that came before. */
  readonly before: number;
  readonly good: GoodAnswer;
}

export interface GoodAnswer {
  readonly status: string;
  readonly headers: readonly string[];
  readonly body: Buffer;
}

/** Does something wrong with a request. */
export type Fault = (exchange: Exchange) => void;

interface Rule {
  readonly fault: Fault;
  readonly path: RegExp;
  readonly holds: (before: number) => boolean;
}

export class FaultServer {
  readonly #t: Pick<TestContext, 'after'>;
  readonly #options: RawServerOptions;
  readonly #counts = new Map<string, number>();
  #folder: string;
  #rules: Rule[] = [];
  #server!: RawServer;
  #dead: DeadListener | undefined;
  #isListening = false;
  readonly #root: string;
  /** Paths below the repository, in the order of their requests. */
  readonly paths: string[] = [];

  private constructor(
    t: Pick<TestContext, 'after'>,
    folder: string,
    root: string,
    options: RawServerOptions,
  ) {
    this.#t = t;
    this.#folder = folder;
    this.#root = root;
    this.#options = options;
  }

  /** Serves a storage folder at `/cvmfs/<fqrn>` on a free port until the test ends. */
  static async start(
    t: Pick<TestContext, 'after'>,
    { fqrn, storage }: { readonly fqrn: string; readonly storage: string },
    options: RawServerOptions = {},
  ): Promise<FaultServer> {
    const server = new FaultServer(t, storage, `/cvmfs/${fqrn}`, options);
    await server.#listen(0);
    return server;
  }

  /** Address of the repository. */
  get url(): string {
    return this.origin + this.#root;
  }

  /** Address of the server, or of the proxy. */
  get origin(): string {
    return this.#server.url;
  }

  get port(): number {
    return this.#server.port;
  }

  /** Connections that are open now. */
  get open(): number {
    return this.#server.open;
  }

  /** From now on, for those paths, and for those of their requests that `holds` picks by the number of requests before. */
  misbehave(fault: Fault, path = /(?:)/, holds: (before: number) => boolean = () => true): void {
    this.#rules.push({ fault, path, holds });
  }

  /** Serves another folder, as a mirror does that was copied at another time. */
  serve(folder: string): void {
    this.#folder = folder;
  }

  /** Nobody listens any more: connections are reset, new ones refused. */
  async refuse(): Promise<void> {
    this.#isListening = false;
    await this.#server.stop();
  }

  /** Nobody answers any more, not even with a refusal. */
  async vanish(): Promise<void> {
    await this.refuse();
    this.#dead = await startDeadListener(this.#t, this.port, this.#options.host);
  }

  /** Everything is as it was in the beginning. */
  async heal(): Promise<void> {
    this.#rules = [];
    await this.#dead?.stop();
    this.#dead = undefined;
    if (!this.#isListening) await this.#listen(this.port);
  }

  /** What a good server says to a request for a path. */
  goodAnswer(path: string, request = ''): GoodAnswer {
    const file = join(this.#folder, path);
    if (!existsSync(file) || !statSync(file).isFile()) return answer('404 Not Found', EMPTY);
    const whole = readFileSync(file);
    const range = /^range: bytes=(\d+)-(\d+)$/im.exec(request);
    if (range === null) return answer('200 OK', whole);
    const [from, to] = [Number(range[1]), Math.min(Number(range[2]), whole.length - 1)];
    return answer('206 Partial Content', whole.subarray(from, to + 1), [
      `Content-Range: bytes ${from}-${to}/${whole.length}`,
    ]);
  }

  async #listen(port: number): Promise<void> {
    this.#server = await startRawServer(
      this.#t,
      (socket, request) => this.#answer(socket, request),
      port,
      this.#options,
    );
    this.#isListening = true;
  }

  #answer(socket: Socket, request: string): void {
    const [method = '', resource = ''] = request.split(' ', 2);
    const path = resource.replace(/^http:\/\/[^/]*/, '').replace(`${this.#root}/`, '');
    this.paths.push(path);
    const before = this.#counts.get(path) ?? 0;
    this.#counts.set(path, before + 1);
    const good = this.goodAnswer(path, request);
    const rule = this.#rules.find((rule) => rule.path.test(path) && rule.holds(before));
    if (rule === undefined) socket.write(bytesOfAnswer(method === 'HEAD' ? { ...good, body: EMPTY } : good));
    else rule.fault({ socket, request, path, before, good });
  }
}

const EMPTY = Buffer.alloc(0);

function answer(status: string, body: Buffer, headers: readonly string[] = []): GoodAnswer {
  return { status, headers: [`Content-Length: ${body.length}`, ...headers], body };
}

/** An answer as it goes over the wire. */
export function bytesOfAnswer({ status, headers, body }: GoodAnswer): Buffer {
  const head = [`HTTP/1.1 ${status}`, ...headers].join('\r\n');
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`, 'latin1'), body]);
}
