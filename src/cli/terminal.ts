/** What people see: results on stdout, messages and progress on stderr, colour only on terminals. */

import { styleText } from 'node:util';
import { errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import { EXIT_CODES } from './exit-codes.ts';

export interface GlobalOptions {
  readonly json?: boolean;
  readonly debug?: boolean;
  readonly config?: string;
  readonly passphraseFile?: string;
}

type Style = Parameters<typeof styleText>[0];

export function styled(style: Style, text: string, stream: NodeJS.WriteStream = process.stderr): string {
  return stream.isTTY && process.env['NO_COLOR'] === undefined ? styleText(style, text) : text;
}

/** Prints an error and returns the exit code that goes with it. */
export function reportError(error: unknown, options: GlobalOptions): number {
  const code = errorCodeOf(error);
  const hint = error instanceof ThimbleError ? error.hint : undefined;
  const message = messageOf(error);
  if (options.json) {
    process.stderr.write(`${JSON.stringify({ error: { code, message, hint } })}\n`);
  } else {
    process.stderr.write(`${styled('red', 'error:')} ${message}\n`);
    if (hint !== undefined) process.stderr.write(`${styled('yellow', 'hint:')} ${hint}\n`);
    if (code === 'INTERNAL') {
      process.stderr.write('This is a defect of Thimble. Please report it with the output of --debug.\n');
    }
  }
  if (options.debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  return EXIT_CODES[code];
}

/** What does not keep a command from doing its work; in the shape of `reportError`. */
export function printWarning(options: GlobalOptions, message: string, hint: string): void {
  if (options.json) process.stderr.write(`${JSON.stringify({ warning: { message, hint } })}\n`);
  else
    process.stderr.write(
      `${styled('yellow', 'warning:')} ${message}\n${styled('yellow', 'hint:')} ${hint}\n`,
    );
}

/** A result: JSON if asked for, else the text. */
export function printResult(options: GlobalOptions, value: unknown, text: string): void {
  process.stdout.write(options.json ? `${JSON.stringify(value, jsonValue, 2)}\n` : `${text}\n`);
}

const WRITE_CHARACTERS = 64 * 1024;

/** A result of any length, no faster than its reader takes it. */
export async function printParts(parts: AsyncIterable<string>): Promise<void> {
  let text = '';
  const flush = async () => {
    const isTaken = process.stdout.write(text);
    text = '';
    if (!isTaken) await new Promise((resolve) => process.stdout.once('drain', resolve));
  };
  for await (const part of parts) {
    text += part;
    if (text.length >= WRITE_CHARACTERS) await flush();
  }
  await flush();
}

function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

const REDRAW_MS = 100;
const PLAIN_MS = 10_000;

/** Progress of one piece of work: a line that changes on terminals, a few lines elsewhere. */
export class Progress {
  readonly #title: string;
  readonly #startedMs = performance.now();
  readonly #isLive = process.stderr.isTTY;
  #drawnMs = 0;
  #printed = '';

  constructor(title: string) {
    this.#title = title;
    if (!this.#isLive) process.stderr.write(`${title} ...\n`);
    else this.update(() => '');
  }

  /** Shows how far it is; `detail` is asked for only when it will be shown. */
  update(detail: () => string): void {
    const now = performance.now();
    if (now - this.#drawnMs < (this.#isLive ? REDRAW_MS : PLAIN_MS)) return;
    const first = this.#drawnMs === 0;
    this.#drawnMs = now;
    if (this.#isLive) this.#draw(`${styled('cyan', '·')} ${this.#title}  ${styled('dim', detail())}`);
    else if (!first) this.#print(detail().trim());
  }

  /** A line that says what the last one said says nothing. */
  #print(detail: string): void {
    if (detail !== this.#printed) process.stderr.write(`${this.#title}: ${detail}\n`);
    this.#printed = detail;
  }

  done(detail: string): void {
    const line = `${this.#title}  ${detail}${detail === '' ? '' : '  '}(${this.#seconds()} s)`;
    if (this.#isLive) this.#draw(`${styled('green', '✓')} ${line}\n`);
    else process.stderr.write(`${line}\n`);
  }

  fail(): void {
    if (this.#isLive) this.#draw(`${styled('red', '✗')} ${this.#title}\n`);
  }

  #seconds(): string {
    return ((performance.now() - this.#startedMs) / 1000).toFixed(1);
  }

  #draw(line: string): void {
    const visible = line.endsWith('\n')
      ? line
      : line.slice(0, (process.stderr.columns || 80) + line.length - strip(line).length - 1);
    process.stderr.write(`\r\x1b[K${visible}`);
  }
}

function strip(line: string): string {
  return line.replace(/\x1b\[[0-9;]*m/g, '');
}

/** Runs work with progress; the last word is what `work` answers. */
export async function withProgress<T>(
  title: string,
  work: (progress: Progress) => Promise<T>,
  summary: (result: T) => string,
): Promise<T> {
  const progress = new Progress(title);
  try {
    const result = await work(progress);
    progress.done(summary(result));
    return result;
  } catch (error) {
    progress.fail();
    throw error;
  }
}

export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A whole number with commas. The engine's own formatting takes longer to start than a short command. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `2026-11-22T12:00:00Z`. */
export function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000', '');
}
