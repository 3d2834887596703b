/** The log of the process that serves a mount: a file of limited size in the background, else standard error. */

import { writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { ThimbleError } from '../core/errors.ts';
import { nodeClock } from '../node/clock.ts';
import { isJournal, type LogFormat, type LogLevel, ProcessLog, rotatingFile } from '../node/log.ts';
import { makeFolder } from '../node/make-folder.ts';

export interface MountLogOptions {
  readonly level: LogLevel;
  /** `undefined`: as it suits whoever reads standard error. */
  readonly format: LogFormat | undefined;
  /** `undefined`: standard error. */
  readonly file: string | undefined;
}

/** Throws STORAGE if the file cannot be written. */
export function openMountLog({ level, format, file }: MountLogOptions): ProcessLog {
  const write = file === undefined ? writeToStandardError : openLogFile(file);
  const suited = file === undefined && isJournal(2) ? 'journal' : 'text';
  return new ProcessLog({ write, level, format: format ?? suited, clock: nodeClock });
}

function openLogFile(file: string): (line: string) => void {
  try {
    makeFolder(dirname(file));
    return rotatingFile(file);
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot write log file ${file}`, {
      hint: 'give another with --log',
      cause: error,
    });
  }
}

/** A terminal that is gone, or a full pipe, must not end a mount. */
function writeToStandardError(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // There is nobody left to tell.
  }
}
