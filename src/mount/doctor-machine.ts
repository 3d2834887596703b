/** The machine that the doctor looks at: this one. */

import { lookup } from 'node:dns/promises';
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { join } from 'node:path';
import type { Machine, Probe } from './doctor.ts';

const PROBE_TIMEOUT_MS = 5_000;
const MAX_PROBE_BYTES = 256 * 1024;

export function thisMachine(): Machine {
  const probes = new Map<string, Promise<Probe>>();
  return {
    readText,
    refusal,
    freeBytes,
    nowSeconds: () => Date.now() / 1000,
    isRoot: process.getuid?.() === 0,
    resolve: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
    probe: (server, proxy, file) => {
      const key = `${server} ${proxy} ${file}`;
      const known = probes.get(key) ?? probeServer(server, proxy, file);
      probes.set(key, known);
      return known;
    },
  };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Whoever asks says what that means.
    return undefined;
  }
}

function refusal(path: string, use: 'read' | 'write'): string | undefined {
  try {
    accessSync(path, use === 'read' ? constants.R_OK : constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'EIO';
  }
}

function freeBytes(folder: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

async function probeServer(server: string, proxy: string, file: string): Promise<Probe> {
  const nothing = {
    server,
    proxy,
    status: 0,
    body: new Uint8Array(),
    dateSeconds: undefined,
    firstByteSeconds: 0,
  };
  try {
    return /^https?:/.test(server)
      ? await probeHttp(server, proxy, file)
      : {
          ...nothing,
          status: 200,
          body: readFileSync(join(server.replace(/^file:\/\//, ''), file)),
          failure: undefined,
        };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { ...nothing, failure: code ?? message };
  }
}

async function probeHttp(server: string, proxy: string, file: string): Promise<Probe> {
  const url = new URL(`${server.replace(/\/+$/, '')}/${file}`);
  const startedMs = performance.now();
  const response = await open(url, proxy);
  const firstByteSeconds = (performance.now() - startedMs) / 1000;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_PROBE_BYTES) throw new Error('the answer is far too long for such a file');
    chunks.push(chunk);
  }
  const dateMs = Date.parse(response.headers.date ?? '');
  return {
    server,
    proxy,
    failure: undefined,
    status: response.statusCode ?? 0,
    body: Buffer.concat(chunks),
    dateSeconds: Number.isNaN(dateMs) ? undefined : dateMs / 1000,
    firstByteSeconds,
  };
}

async function open(url: URL, proxy: string): Promise<IncomingMessage> {
  const options: RequestOptions = {
    headers: { Host: url.host, 'Cache-Control': 'no-cache' },
    agent: false,
    signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
  };
  const { request } = url.protocol === 'https:' ? await import('node:https') : { request: httpRequest };
  return new Promise((resolve, reject) => {
    const via = proxy === 'DIRECT' ? undefined : new URL(proxy);
    const sent =
      via === undefined
        ? request(url, options, resolve)
        : httpRequest({ ...options, host: via.hostname, port: via.port || 80, path: url.href }, resolve);
    sent.on('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.name === 'AbortError' || error.code === 'ABORT_ERR'
          ? new Error(`no answer within ${PROBE_TIMEOUT_MS / 1000} s`)
          : error,
      );
    });
    sent.end();
  });
}
