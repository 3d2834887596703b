/** Passphrases of private key files: from a file that an option or the environment names, or asked for on the terminal. */

import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { ThimbleError } from '../core/errors.ts';
import type { AskPassphrase } from '../publish/private-keys.ts';
import type { GlobalOptions } from './terminal.ts';

export const PASSPHRASE_VARIABLE = 'THIMBLE_PASSPHRASE_FILE';
const HINT = `put it into a file and give that with --passphrase-file or ${PASSPHRASE_VARIABLE}, or run this on a terminal`;
const TERMINAL = '/dev/tty';
const CONTROL_C = 3;
const BACKSPACES = [8, 127];
const LINE_ENDS = [10, 13];

/** How a command opens private keys: `--passphrase-file`, the environment, the terminal, in this order. */
export function askPassphrase(options: GlobalOptions): AskPassphrase {
  return (path) =>
    givenPassphrase(options) ?? prompt(`Passphrase of ${path}: `, `Cannot open key file ${path}`);
}

/** What `--passphrase-file` or the environment gives; `undefined` if neither is there. Throws NOT_FOUND, USAGE. */
export function givenPassphrase({ passphraseFile }: GlobalOptions): Uint8Array | undefined {
  const path = passphraseFile ?? process.env[PASSPHRASE_VARIABLE];
  return path === undefined ? undefined : readPassphrase(path);
}

/** A new passphrase, asked for twice where no file gives it. Throws USAGE where there is no terminal, or they differ. */
export function newPassphrase(file: string | undefined): Uint8Array {
  if (file !== undefined) return readPassphrase(file);
  const passphrase = prompt('New passphrase: ', 'Cannot protect keys');
  if (passphrase.length === 0)
    throw new ThimbleError('USAGE', 'Cannot protect keys: the passphrase is empty');
  if (Buffer.from(passphrase).equals(prompt('Once more: ', 'Cannot protect keys'))) return passphrase;
  throw new ThimbleError('USAGE', 'Cannot protect keys: the two passphrases differ');
}

/** The first line of a file. */
function readPassphrase(path: string): Uint8Array {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read passphrase file ${path}`, { cause: error });
  }
  const end = content.findIndex((byte) => LINE_ENDS.includes(byte));
  const passphrase = end < 0 ? content : content.subarray(0, end);
  if (passphrase.length > 0) return passphrase;
  throw new ThimbleError('USAGE', `Cannot use passphrase file ${path}: its first line is empty`);
}

/** Asks on the terminal, whatever the standard streams are used for, and shows nothing of the answer. */
function prompt(question: string, failing: string): Buffer {
  let terminal: number;
  try {
    terminal = openSync(TERMINAL, 'r+');
  } catch (error) {
    throw new ThimbleError('USAGE', `${failing}: there is no terminal to ask for the passphrase`, {
      hint: HINT,
      cause: error,
    });
  }
  const stty = (...args: string[]) =>
    execFileSync('stty', args, { stdio: [terminal, 'pipe', 'ignore'], encoding: 'latin1' }).trim();
  try {
    const before = stty('-g');
    try {
      // Byte by byte, Ctrl-C too: a signal would leave the terminal as it is.
      stty('-echo', '-icanon', '-isig', 'min', '1', 'time', '0');
      writeSync(terminal, question);
      return readLine(terminal);
    } finally {
      writeSync(terminal, '\n');
      stty(before);
    }
  } finally {
    closeSync(terminal);
  }
}

function readLine(terminal: number): Buffer {
  const line: number[] = [];
  const byte = Buffer.alloc(1);
  for (;;) {
    const isEnd = readSync(terminal, byte) === 0;
    const value = byte[0]!;
    if (isEnd || LINE_ENDS.includes(value)) return Buffer.from(line);
    if (value === CONTROL_C) throw new ThimbleError('CANCELLED', 'Cancelled');
    if (BACKSPACES.includes(value)) line.pop();
    else line.push(value);
  }
}
