/**
 * Logs of processes that run long: text or JSON lines, with a level that can be changed, repeats counted instead of
 * written, and the last lines at hand for whoever asks.
 */

import { closeSync, fstatSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import type { Clock, Log, LogFields } from '../core/ports.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** `journal` is text without time behind a priority as sd-daemon(3) has it; the journal keeps the time itself. */
export type LogFormat = 'text' | 'json' | 'journal';
export const LOG_FORMATS: readonly LogFormat[] = ['text', 'json', 'journal'];

const PRIORITY: Readonly<Record<LogLevel, number>> = { debug: 7, info: 6, warn: 4, error: 3 };

/** A log of text lines: `2026-11-22T12:00:00Z warn fetch failed path=.cvmfspublished`. */
export function lineLog(write: (line: string) => void, least: LogLevel): Log {
  const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(least)) return;
    write(formatLine('text', { seconds: Date.now() / 1000, level, message, fields: fields ?? {} }));
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

export interface LogEntry {
  /** Since 1970. */
  readonly seconds: number;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export function formatLine(format: LogFormat, { seconds, level, message, fields }: LogEntry): string {
  const time = new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
  if (format === 'json') return `${JSON.stringify({ time, level, message, ...fields })}\n`;
  const text = `${message}${formatFields(fields)}\n`;
  return format === 'journal' ? `<${PRIORITY[level]}>${text}` : `${time} ${level} ${text}`;
}

function formatFields(fields: LogFields): string {
  let text = '';
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const plain = String(value);
    text += ` ${key}=${/^[!#-~]+$/.test(plain) ? plain : JSON.stringify(plain)}`;
  }
  return text;
}

export interface ProcessLogOptions {
  readonly write: (line: string) => void;
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly clock: Clock;
}

/** Lines with the same message that are written within a window; the rest is counted. */
const LINES_PER_WINDOW = 10;
const WINDOW_MS = 10_000;
const KEPT_LINES = 500;
const KEPT_TROUBLES = 50;

interface Window {
  count: number;
  last: LogEntry;
  readonly cancel: () => void;
}

/** The log of a mount: a server that is down for a night makes a line every few seconds, not thousands. */
export class ProcessLog implements Log {
  /** What is less than this is not written. */
  level: LogLevel;
  readonly #write: (line: string) => void;
  readonly #format: LogFormat;
  readonly #clock: Clock;
  readonly #entries: LogEntry[] = [];
  readonly #troubles: LogEntry[] = [];
  readonly #windows = new Map<string, Window>();
  readonly counters: Record<LogLevel, number> = { debug: 0, info: 0, warn: 0, error: 0 };

  constructor({ write, level, format, clock }: ProcessLogOptions) {
    this.#write = write;
    this.level = level;
    this.#format = format;
    this.#clock = clock;
  }

  readonly debug = (message: string, fields?: LogFields): void => this.#add('debug', message, fields);
  readonly info = (message: string, fields?: LogFields): void => this.#add('info', message, fields);
  readonly warn = (message: string, fields?: LogFields): void => this.#add('warn', message, fields);
  readonly error = (message: string, fields?: LogFields): void => this.#add('error', message, fields);

  /** The last entries that were written, the latest last. */
  last(count: number): readonly LogEntry[] {
    return this.#entries.slice(-count);
  }

  /** The last warnings and errors, the latest last, however much else was written since. */
  get troubles(): readonly LogEntry[] {
    return this.#troubles;
  }

  /** What went wrong so far has been seen to. */
  forgetTroubles(): void {
    this.#troubles.length = 0;
    Object.assign(this.counters, { warn: 0, error: 0 });
  }

  /** Writes what was only counted so far. Until then a timer may keep the process. */
  flush(): void {
    for (const key of [...this.#windows.keys()]) this.#endWindow(key);
  }

  #add(level: LogLevel, message: string, fields: LogFields = {}): void {
    this.counters[level]++;
    if (LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(this.level)) return;
    const entry: LogEntry = { seconds: this.#clock.unixSeconds(), level, message, fields };
    const key = `${level} ${message}`;
    const window = this.#windows.get(key);
    if (window === undefined) {
      const cancel = this.#clock.after(WINDOW_MS, () => this.#endWindow(key));
      this.#windows.set(key, { count: 1, last: entry, cancel });
    } else {
      window.last = entry;
      if (++window.count > LINES_PER_WINDOW) return;
    }
    this.#put(entry);
  }

  #endWindow(key: string): void {
    const { count, last, cancel } = this.#windows.get(key)!;
    cancel();
    this.#windows.delete(key);
    const more = count - LINES_PER_WINDOW;
    if (more > 0) this.#put({ ...last, fields: { ...last.fields, repeated: more } });
  }

  #put(entry: LogEntry): void {
    keep(this.#entries, entry, KEPT_LINES);
    if (entry.level === 'warn' || entry.level === 'error') keep(this.#troubles, entry, KEPT_TROUBLES);
    this.#write(formatLine(this.#format, entry));
  }
}

function keep(list: LogEntry[], entry: LogEntry, most: number): void {
  list.push(entry);
  if (list.length > most) list.shift();
}

/** Where lines go that are written to standard error: systemd names the journal's socket in `JOURNAL_STREAM` (systemd.exec(5)). */
export function isJournal(fd: number, environment: NodeJS.ProcessEnv = process.env): boolean {
  const [device, inode] = (environment['JOURNAL_STREAM'] ?? '').split(':');
  if (inode === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd);
    return String(dev) === device && String(ino) === inode;
  } catch {
    // Closed: then it is no journal either.
    return false;
  }
}

/** The size that the reference's own log files have. */
export const LOG_FILE_BYTES = 500_000;

/**
 * Appends to a file. One that has grown to `limitBytes` becomes `PATH.1`, in the place of the one before. Several processes may write
 * to the same file. A full disk loses lines, and nothing else. Throws what `openSync` throws, here and not later.
 */
export function rotatingFile(path: string, limitBytes = LOG_FILE_BYTES): (line: string) => void {
  let fd = openSync(path, 'a', 0o640);
  const reopen = () => {
    const next = openSync(path, 'a', 0o640);
    closeSync(fd);
    fd = next;
  };
  return (line) => {
    try {
      const own = fstatSync(fd);
      // Another process has rotated, or somebody has removed it.
      if (statSync(path, { throwIfNoEntry: false })?.ino !== own.ino) reopen();
      else if (own.size >= limitBytes) {
        renameSync(path, `${path}.1`);
        reopen();
      }
      writeSync(fd, line);
    } catch {
      // There is nobody left to tell.
    }
  };
}
