/** The machine as the boot sees it. One implementation runs in the initrd, another in tests. */

import type { Bytes } from '../core/bytes/byte-string.ts';

export interface RunResult {
  readonly status: number;
  /** Standard output and error together, cut to what is worth showing. */
  readonly output: string;
}

export interface GuestSystem {
  /** Runs a program to its end. */
  run(program: string, args: readonly string[]): RunResult;
  /** Runs a program to its end while other things go on. */
  start(program: string, args: readonly string[]): Promise<RunResult>;
  /** Text of a file; `undefined` if it is not there. */
  readText(path: string): string | undefined;
  /** Up to `length` bytes from the start of a file or device; fewer if there are no more or it cannot be read. */
  readStart(path: string, length: number): Bytes;
  writeText(path: string, text: string): void;
  /** Names in a directory; none if it is not there. */
  list(path: string): readonly string[];
  makeDirectory(path: string): void;
  exists(path: string): boolean;
  /** A line for whoever looks at the console. */
  say(line: string): void;
  sleep(ms: number): Promise<void>;
  monotonicMs(): number;
}
