/**
 * The control socket of a mount: HTTP/1.1 with JSON on a UNIX socket in its state folder. Who may open the socket is
 * decided by the rights of that folder. HTTP is loaded by the first who asks: it takes 17 MB.
 */

import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type ErrorCode, errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import { type ControlRequest, type ControlRoute, TextReply } from './control-route.ts';
import { LocalSocket } from './local-socket.ts';

const MAX_BODY_BYTES = 1024 * 1024;

const HTTP_STATUS: Readonly<Record<ErrorCode, number>> = {
  USAGE: 400,
  NOT_FOUND: 404,
  CONFLICT: 409,
  LIMIT: 413,
  CANCELLED: 499,
  INTERNAL: 500,
  UNSUPPORTED: 501,
  NETWORK: 502,
  INTEGRITY: 502,
  TRUST: 502,
  FORMAT: 502,
  STORAGE: 507,
};

export class ControlServer {
  readonly #socket: LocalSocket;

  private constructor(socket: LocalSocket) {
    this.#socket = socket;
  }

  /**
   * Listens on `socketPath`, in the place of one who listened there before. Throws STORAGE where no socket can be made, USAGE for two
   * routes of the same name.
   */
  static async start(socketPath: string, routes: readonly ControlRoute[], log: Log): Promise<ControlServer> {
    const table = tableOf(routes);
    let http: HttpServer | undefined;
    const accept = (socket: Socket) => {
      http ??= httpServer(table, log);
      http.emit('connection', socket);
    };
    return new ControlServer(await LocalSocket.listen(socketPath, 0o600, accept));
  }

  /** Closes at once, also what is being answered; harmless when called again. */
  close(): void {
    this.#socket.close();
  }
}

function httpServer(table: RouteTable, log: Log): HttpServer {
  // An import would bring all that it exports, which is an HTTP client more.
  const http = process.getBuiltinModule('node:http');
  return http.createServer((request, response) => {
    answer(table, request, response).catch((error: unknown) =>
      log.warn('control request failed', { url: request.url, error: messageOf(error) }),
    );
  });
}

type Methods = ReadonlyMap<string, ControlRoute>;
type RouteTable = ReadonlyMap<string, Methods>;

function tableOf(routes: readonly ControlRoute[]): RouteTable {
  const table = new Map<string, Map<string, ControlRoute>>();
  for (const route of routes) {
    const methods = table.get(route.path) ?? new Map<string, ControlRoute>();
    if (methods.has(route.method)) {
      throw new ThimbleError('USAGE', `Cannot serve ${route.method} ${route.path} twice`);
    }
    table.set(route.path, methods.set(route.method, route));
  }
  return table;
}

async function answer(table: RouteTable, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const url = new URL(request.url ?? '/', 'http://mount');
    const methods = table.get(url.pathname);
    const route = methods?.get(request.method ?? '');
    if (route === undefined) throw notThere(table, methods, `${request.method} ${url.pathname}`);
    const asked: ControlRequest = { query: url.searchParams, body: await bodyOf(request) };
    const result = await route.handle(asked);
    if (result instanceof TextReply) send(response, 200, result.contentType, result.text);
    else send(response, 200, JSON_TYPE, `${JSON.stringify(result ?? {}, jsonValue)}\n`);
  } catch (error) {
    const code = errorCodeOf(error);
    const hint = error instanceof ThimbleError ? error.hint : undefined;
    const text = JSON.stringify({ error: { code, message: messageOf(error), hint } });
    send(response, HTTP_STATUS[code], JSON_TYPE, `${text}\n`);
  }
}

const JSON_TYPE = 'application/json; charset=utf-8';

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

function notThere(table: RouteTable, methods: Methods | undefined, what: string): ThimbleError {
  if (methods !== undefined) {
    return new ThimbleError('USAGE', `Cannot do ${what}: it takes ${[...methods.keys()].join(' and ')}`);
  }
  return new ThimbleError('NOT_FOUND', `Cannot do ${what}: this mount does not know it`, {
    hint: `it knows ${[...table.keys()].sort().join(' ')}`,
  });
}

async function bodyOf(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) {
      throw new ThimbleError('LIMIT', `Cannot use the request: it is longer than ${MAX_BODY_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  if (length === 0) return {};
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // Told below, as for other JSON than an object.
  }
  throw new ThimbleError('USAGE', 'Cannot use the request: its body has to be a JSON object');
}
