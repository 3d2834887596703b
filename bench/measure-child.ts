/** Runs a command as a user would, and tells what it took. */

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { peakMemoryBytes } from './report.ts';

const LOOK_MS = 50;
/** `utime` and `stime` count in these. */
const TICKS_PER_SECOND = 100;

export interface ChildFigures {
  readonly seconds: number;
  /** Of the child and of what it has waited for. */
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

/** `output` is what it wrote. Throws if it fails. */
export async function measureChild(
  command: string,
  args: readonly string[],
): Promise<ChildFigures & { readonly output: string }> {
  const startedMs = performance.now();
  const cpuBefore = cpuSecondsOfChildren();
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += String(chunk);
  });
  let peakBytes = 0;
  const timer = setInterval(() => {
    if (child.pid !== undefined && child.exitCode === null)
      peakBytes = Math.max(peakBytes, peakMemoryBytes(child.pid) || 0);
  }, LOOK_MS);
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearInterval(timer);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with status ${status}`);
  return {
    seconds: (performance.now() - startedMs) / 1000,
    cpuSeconds: cpuSecondsOfChildren() - cpuBefore,
    peakBytes,
    output,
  };
}

/** Of those that have ended: `cutime` and `cstime`, behind the name, which may have spaces. */
function cpuSecondsOfChildren(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
}
