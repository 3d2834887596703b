/** Runs the command line as users do: in a process of its own. */

import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const TIMEOUT_MS = 120_000;

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: Readable;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Starts `thimble ARGS`; whoever calls ends it. */
export function startThimble(args: readonly string[], { env }: RunOptions = {}): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  });
}

/** Runs `thimble ARGS` to its end; killed, with status null, after `timeoutMs`. */
export async function thimble(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = startThimble(args, options);
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  if (options.input === undefined) child.stdin!.end();
  // A program that fails early closes its input: its exit code tells more than EPIPE.
  else options.input.pipe(child.stdin!.on('error', () => {}));
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? TIMEOUT_MS);
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearTimeout(timer);
  return { status, ...output };
}

/** Runs `thimble ARGS --json` and returns what it printed; throws with its messages if it fails. */
export async function thimbleJson<T>(args: readonly string[], options: RunOptions = {}): Promise<T> {
  const { status, stdout, stderr } = await thimble([...args, '--json'], options);
  if (status !== 0) throw new Error(`thimble ${args.join(' ')} ended with ${status}:\n${stderr}`);
  return JSON.parse(stdout) as T;
}
