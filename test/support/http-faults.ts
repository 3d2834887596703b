/** What web servers and the boxes before them do wrong, by name. */

import { gzipSync } from 'node:zlib';
import { bytesOfAnswer, type Exchange, type Fault, type FaultServer } from './fault-server.ts';
import { response } from './raw-server.ts';

/**
 * How a reader without another server learns of it: nothing came (`NETWORK`), the server says there is nothing
 * (`NOT_FOUND`), what came is not what was asked for (`damaged`), or more came than what was asked for can have (`endless`).
 */
export type Outcome = 'NETWORK' | 'NOT_FOUND' | 'damaged' | 'endless';

/** Something that is wrong until the server is healed. */
export interface Trouble {
  readonly name: string;
  readonly outcome: Outcome;
  /** How long the server wants to be left alone, also when it is well again. */
  readonly leaveAloneMs?: number;
  /** For those paths, where it can tell paths apart. */
  begin(server: FaultServer, path: RegExp): Promise<void>;
}

const says =
  (bytes: Buffer | string): Fault =>
  ({ socket }) =>
    void socket.write(bytes);

/** Changes the body; the length is right for it. */
const changed =
  (change: (body: Buffer) => Buffer | string, headers: readonly string[] = []): Fault =>
  ({ socket, good }) =>
    void socket.write(response(change(good.body), good.status, headers));

const status = (line: string, headers: readonly string[] = [], body = ''): Fault =>
  says(response(body, line, headers));

/** Writes one piece after another as long as somebody reads, and leaves others some time. */
function endlessly(socket: Exchange['socket'], head: string, piece: Buffer | string): void {
  socket.write(head);
  const timer = setInterval(() => {
    if (!socket.writableNeedDrain) socket.write(piece);
  }, 2);
  socket.on('close', () => clearInterval(timer));
}

/** A byte a second. */
function drip(socket: Exchange['socket'], bytes: Buffer, everyMs = 1_000): void {
  let at = 0;
  const timer = setInterval(() => {
    if (at < bytes.length) socket.write(bytes.subarray(at, ++at));
  }, everyMs);
  socket.on('close', () => clearInterval(timer));
}

/** Bytes of a whole answer up to a share of its body. */
function begun({ good }: Exchange, share: number): Buffer {
  const bytes = bytesOfAnswer(good);
  return bytes.subarray(0, bytes.length - good.body.length + Math.floor(good.body.length * share));
}

function flipped(body: Buffer): Buffer {
  const bytes = Buffer.from(body);
  bytes[bytes.length >> 1]! ^= 1;
  return bytes;
}

const PORTAL =
  '<!DOCTYPE html><html><title>Welcome</title><body>Please sign in to use this network.</body></html>';
const HUNDRED_KIB = 100 * 1024;

const NOTHING_COMES: Readonly<Record<string, Fault>> = {
  'connection reset': ({ socket }) => void socket.resetAndDestroy(),
  'connection closed without an answer': ({ socket }) => void socket.end(),
  'accepted and never answered': () => {},
  'header that never ends': ({ socket }) =>
    endlessly(socket, 'HTTP/1.1 200 OK\r\n', 'X-More: of it\r\n'.repeat(1_000)),
  'interim answers without end': ({ socket }) => endlessly(socket, '', 'HTTP/1.1 102 Processing\r\n\r\n'),
  'header that stops': says('HTTP/1.1 200 OK\r\nContent-'),
  'another protocol': says('220 mail.example.org ESMTP ready\r\n\r\n'),
  'truncated body': (exchange) => void exchange.socket.end(begun(exchange, 0.5)),
  'body that stalls': (exchange) => void exchange.socket.write(begun(exchange, 0.5)),
  'body that is reset': (exchange) =>
    void exchange.socket.write(begun(exchange, 0.5), () => exchange.socket.resetAndDestroy()),
  'wrong length, too long': ({ socket, good }) =>
    void socket.end(bytesOfAnswer({ ...good, headers: [`Content-Length: ${good.body.length + 1}`] })),
  'two lengths': ({ socket, good }) =>
    void socket.write(bytesOfAnswer({ ...good, headers: [...good.headers, 'Content-Length: 1'] })),
  'chunk that is longer than it says': ({ socket, good }) =>
    void socket.write(chunked(good.body, Math.max(0, good.body.length - 2))),
  'slow loris, header at 1 byte/s': ({ socket, good }) => drip(socket, bytesOfAnswer(good)),
  'slow loris, body at 1 byte/s': (exchange) => {
    exchange.socket.write(begun(exchange, 0));
    drip(exchange.socket, exchange.good.body);
  },
  'slow loris, body at 20 bytes/s': (exchange) => {
    exchange.socket.write(begun(exchange, 0));
    drip(exchange.socket, exchange.good.body, 50);
  },
  '304 without a cache': says('HTTP/1.1 304 Not Modified\r\n\r\n'),
  '204 No Content': says('HTTP/1.1 204 No Content\r\n\r\n'),
  '206 to a request for all of it': ({ socket, good }) =>
    void socket.write(
      response(good.body.subarray(0, 9), '206 Partial Content', [
        `Content-Range: bytes 0-8/${good.body.length}`,
      ]),
    ),
  '400 Bad Request': status('400 Bad Request'),
  '401 Unauthorized': status('401 Unauthorized', ['WWW-Authenticate: Basic realm="x"']),
  '403 Forbidden': status('403 Forbidden', [], PORTAL),
  '407 Proxy Authentication Required': status('407 Proxy Authentication Required', [
    'Proxy-Authenticate: Basic realm="x"',
  ]),
  '500 Internal Server Error': status('500 Internal Server Error', [], 'oops'),
  '502 Bad Gateway': status('502 Bad Gateway'),
  '503 Service Unavailable': status('503 Service Unavailable'),
  '504 Gateway Timeout': status('504 Gateway Timeout'),
  'redirect to a captive portal': status('302 Found', ['Location: http://portal.invalid/'], PORTAL),
  'redirect to itself': ({ socket, request }) =>
    void socket.write(response('', '301 Moved Permanently', [`Location: ${request.split(' ')[1]}`])),
  'redirect without an address': status('307 Temporary Redirect'),
};

const LEFT_ALONE: Readonly<Record<string, Fault>> = {
  '429 Too Many Requests with Retry-After': status('429 Too Many Requests', ['Retry-After: 1']),
  '503 Service Unavailable with Retry-After': status('503 Service Unavailable', ['Retry-After: 1']),
  '503 Service Unavailable with Retry-After as a date': status('503 Service Unavailable', [
    'Date: Sun, 06 Nov 1994 08:49:36 GMT',
    'Retry-After: Sun, 06 Nov 1994 08:49:37 GMT',
  ]),
};

const ABSENT: Readonly<Record<string, Fault>> = {
  '404 Not Found': status('404 Not Found', [], PORTAL),
  '410 Gone': status('410 Gone'),
};

const DAMAGED: Readonly<Record<string, Fault>> = {
  'wrong length, too short': changed((body) => body.subarray(0, -3)),
  'no length, and closed early': ({ socket, good }) =>
    void socket.end(bytesOfAnswer({ ...good, headers: [], body: good.body.subarray(0, -3) })),
  'empty body': changed(() => ''),
  'wrong bytes': changed(flipped),
  zeros: changed((body) => Buffer.alloc(body.length)),
  'bytes behind the end': changed((body) => Buffer.concat([body, Buffer.from('and more')])),
  'gzip-mangling proxy': changed((body) => gzipSync(body), ['Content-Encoding: gzip']),
  'gzip-mangling proxy, in chunks': ({ socket, good }) =>
    void socket.write(chunked(gzipSync(good.body), undefined, ['Content-Encoding: gzip'])),
  'gzip-mangling proxy that does not say so': changed((body) => gzipSync(body)),
  'captive portal with 200': changed(() => PORTAL, ['Content-Type: text/html']),
};

const ENDLESS: Readonly<Record<string, Fault>> = {
  'endless body': ({ socket }) =>
    endlessly(socket, 'HTTP/1.1 200 OK\r\n\r\n', Buffer.alloc(HUNDRED_KIB, 'x')),
  'endless body with a length': ({ socket }) =>
    endlessly(
      socket,
      'HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000\r\n\r\n',
      Buffer.alloc(HUNDRED_KIB, 'x'),
    ),
  'endless body in chunks': ({ socket }) =>
    endlessly(
      socket,
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      `19000\r\n${'x'.repeat(HUNDRED_KIB)}\r\n`,
    ),
};

function chunked(body: Buffer, sizeBytes = body.length, headers: readonly string[] = []): Buffer {
  const lines = ['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', ...headers];
  const head = `${lines.join('\r\n')}\r\n\r\n${sizeBytes.toString(16)}\r\n`;
  return Buffer.concat([Buffer.from(head), body, Buffer.from('\r\n0\r\n\r\n')]);
}

function troublesOf(faults: Readonly<Record<string, Fault>>, outcome: Outcome): Trouble[] {
  return Object.entries(faults).map(([name, fault]) => ({
    name,
    outcome,
    begin: async (server, path) => server.misbehave(fault, path),
  }));
}

export const TROUBLES: readonly Trouble[] = [
  { name: 'connection refused', outcome: 'NETWORK', begin: (server) => server.refuse() },
  { name: 'SYN black hole', outcome: 'NETWORK', begin: (server) => server.vanish() },
  ...troublesOf(NOTHING_COMES, 'NETWORK'),
  ...troublesOf(LEFT_ALONE, 'NETWORK').map((trouble) => ({ ...trouble, leaveAloneMs: 1_000 })),
  ...troublesOf(ABSENT, 'NOT_FOUND'),
  ...troublesOf(DAMAGED, 'damaged'),
  ...troublesOf(ENDLESS, 'endless'),
  {
    name: 'bytes of another valid object',
    outcome: 'damaged',
    begin: async (server, path) =>
      server.misbehave(({ socket, path: asked }) => {
        const other = server.paths.find((one) => one.startsWith('data/') && one !== asked);
        socket.write(bytesOfAnswer(server.goodAnswer(other ?? '.cvmfswhitelist')));
      }, path),
  },
];

/** One of them by its name. */
export function troubleOf(name: string): Trouble {
  const found = TROUBLES.find((trouble) => trouble.name === name);
  if (found === undefined) throw new Error(`There is no fault ${name}`);
  return found;
}
