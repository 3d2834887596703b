/** Processes that go on when the command has ended, such as that of a mount: how they start, and say that they did. */

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { type ErrorCode, errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import { makeFolder } from '../node/make-folder.ts';

/** What the background process tells the one that started it. */
type StartMessage =
  | { readonly kind: 'started'; readonly result: unknown }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string | undefined;
    };

/** Starts `node ARGS` and waits for its `tellStarted`. Throws what it tells as a failure; STORAGE, INTERNAL. */
export async function startBackground<T>(args: readonly string[], logFile: string): Promise<T> {
  const log = openLog(logFile);
  const child = spawn(process.execPath, [...process.execArgv, ...args], {
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  const message = await new Promise<StartMessage>((resolve, reject) => {
    child.once('message', (received) => resolve(received as StartMessage));
    child.once('error', reject);
    // After its last message, unlike `exit`.
    child.once('disconnect', () =>
      reject(
        new ThimbleError('INTERNAL', 'The mount process ended before it was ready', {
          hint: `see ${logFile}`,
        }),
      ),
    );
  });
  child.disconnect();
  child.unref();
  if (message.kind === 'failed')
    throw new ThimbleError(message.code, message.message, { hint: message.hint });
  return message.result as T;
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
  process.send?.(message);
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
