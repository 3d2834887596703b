/** Talks to the control socket of a mount. */

import { dirname } from 'node:path';
import { type ErrorCode, errorCodeOf, ThimbleError } from '../core/errors.ts';
import type { ControlRoute } from './control-route.ts';
import { ownerOf } from './state-folder.ts';

export interface ControlCall {
  readonly method: ControlRoute['method'];
  /** With the query. */
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
  /** The whole answer has to be here after this. */
  readonly timeoutMs: number;
}

const RETRY_MS = 50;
const READY_WAIT_MS = 1000;
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

/**
 * The text of an answer. Throws what the mount answered as an error; NOT_FOUND where nobody listens, CANCELLED where there is no answer in
 * time, USAGE where one may not ask.
 */
export async function callControl(socketPath: string, call: ControlCall): Promise<string> {
  const { status, text } = await whenReady(socketPath, () => exchange(socketPath, call));
  if (status === 200) return text;
  throw relayed(text, status);
}

/** The same for JSON. */
export async function callControlJson<T>(socketPath: string, call: ControlCall): Promise<T> {
  return JSON.parse(await callControl(socketPath, call)) as T;
}

/** Asks until somebody listens: a mount that has just become ready, or that another process has just taken over, does so a moment later. */
export async function whenReady<T>(socketPath: string, ask: () => Promise<T>): Promise<T> {
  for (let waitedMs = 0; ; waitedMs += RETRY_MS) {
    try {
      return await ask();
    } catch (error) {
      const mayCome = errorCodeOf(error) === 'NOT_FOUND' && ownerOf(dirname(socketPath)) !== undefined;
      if (!mayCome || waitedMs >= READY_WAIT_MS) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

async function exchange(
  socketPath: string,
  { method, path, body, timeoutMs }: ControlCall,
): Promise<{ status: number; text: string }> {
  const sent = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const headers =
      sent === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': sent.length };
    // Not imported: a mount that needs something else of here would have 17 MB more in memory.
    const http = process.getBuiltinModule('node:http');
    const request = http.request({ socketPath, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) request.destroy(new Error('the answer is too long'));
        chunks.push(chunk);
      });
      response.on('error', fail);
      response.on('end', () => {
        clearTimeout(timer);
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') });
      });
    });
    const timer = setTimeout(() => fail(noAnswer(timeoutMs)), timeoutMs);
    function fail(error: Error): void {
      clearTimeout(timer);
      request.destroy();
      reject(error instanceof ThimbleError ? error : failureOf(error, socketPath));
    }
    request.on('error', fail);
    request.end(sent);
  });
}

export function noAnswer(timeoutMs: number): ThimbleError {
  return new ThimbleError('CANCELLED', `The mount does not answer within ${timeoutMs / 1000} s`, {
    hint: 'see what is wrong with: thimble doctor DIR',
  });
}

/** What is wrong with the socket of a mount. */
export function failureOf(error: Error, socketPath: string): ThimbleError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM') {
    return new ThimbleError('USAGE', `Cannot talk to the mount: ${socketPath} may not be opened`, {
      hint: 'ask as root, or as the user who mounted it',
    });
  }
  if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR') {
    return new ThimbleError('NOT_FOUND', `Cannot talk to the mount: nobody listens on ${socketPath}`, {
      hint: 'see what is mounted with: thimble status',
    });
  }
  return new ThimbleError('STORAGE', 'Cannot talk to the mount: it broke off', { cause: error });
}

/** What the mount says went wrong, thrown here as it was thrown there. */
function relayed(text: string, status: number): ThimbleError {
  try {
    const { error } = JSON.parse(text) as { error: { code: ErrorCode; message: string; hint?: string } };
    return new ThimbleError(error.code, error.message, { hint: error.hint });
  } catch {
    return new ThimbleError('INTERNAL', `The mount answered with status ${status}: ${text.slice(0, 200)}`);
  }
}
