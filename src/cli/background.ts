/**
 * Processes that go on when the command has ended, such as that of a mount: how they start, and say that they did. What they say is
 * one line of JSON, on a pipe that both know by its number.
 */

import { spawn } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { text } from 'node:stream/consumers';
import { type ErrorCode, errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import { SMALL_HEAP } from '../node/heap.ts';
import { makeFolder } from '../node/make-folder.ts';

const READY_FD = 4;
/** Tells a process that somebody reads `READY_FD`. */
const READY_VARIABLE = 'THIMBLE_READY_FD';

/** What the background process tells the one that started it. */
type StartMessage =
  | { readonly kind: 'started'; readonly result: unknown }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string | undefined;
    };

export interface BackgroundCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly logFile: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** What `ps` shows in the place of the program. */
  readonly name?: string | undefined;
  /** In the process group of this one, and so of its terminal; otherwise in a session of its own. */
  readonly isInGroup?: boolean;
}

/** Node with these arguments, as this process was started. */
export function nodeCommand(args: readonly string[]): { program: string; args: string[] } {
  return { program: process.execPath, args: [...process.execArgv, ...SMALL_HEAP, ...args] };
}

/** Starts a process and waits for its `tellStarted`. Throws what it tells as a failure; STORAGE, INTERNAL. */
export async function startBackground<T>(command: BackgroundCommand): Promise<T> {
  const log = openLog(command.logFile);
  const child = spawn(command.program, command.args, {
    detached: command.isInGroup !== true,
    stdio: ['ignore', log, log, 'ignore', 'pipe'],
    env: { ...process.env, ...command.environment, [READY_VARIABLE]: String(READY_FD) },
    argv0: command.name ?? command.program,
  });
  closeSync(log);
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  const line = await Promise.race([text(child.stdio[READY_FD] as NodeJS.ReadableStream), failed]);
  child.unref();
  if (line === '') {
    throw new ThimbleError('INTERNAL', 'The process in the background ended before it was ready', {
      hint: `see ${command.logFile}`,
    });
  }
  const message = JSON.parse(line) as StartMessage;
  if (message.kind === 'started') return message.result as T;
  throw new ThimbleError(message.code, message.message, { hint: message.hint });
}

/** True in a process that was started by `startBackground`, until it has told how it went. */
export function isAwaited(): boolean {
  return process.env[READY_VARIABLE] !== undefined;
}

/** Called in the background process; nothing happens in another. */
export function tellStarted(result: unknown): void {
  tell({ kind: 'started', result });
}

export function tellFailed(error: unknown): void {
  const hint = error instanceof ThimbleError ? error.hint : undefined;
  tell({ kind: 'failed', code: errorCodeOf(error), message: messageOf(error), hint });
}

function tell(message: StartMessage): void {
  if (!isAwaited()) return;
  delete process.env[READY_VARIABLE];
  try {
    writeSync(READY_FD, JSON.stringify(message));
  } catch (error) {
    // Whoever waited has gone; the process goes on without.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
  closeSync(READY_FD);
}

function openLog(path: string): number {
  try {
    makeFolder(dirname(path));
    return openSync(path, 'a');
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot write log file ${path}`, {
      hint: 'give another with --log',
      cause: error,
    });
  }
}
