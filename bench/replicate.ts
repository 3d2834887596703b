/** Replication of about 30,000 small objects over HTTP on this machine, first whole, then with nothing new. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChildFigures, measureChild } from './measure-child.ts';
import type { Bar, Figures } from './report.ts';

export const bars: Readonly<Record<string, Bar>> = {
  objectsPerSecond: { atLeast: 3000 },
  peakMemoryMB: { atMost: 200 },
};

const FQRN = 'bench.example.org';
const FILES = 30_000;
const FILES_PER_FOLDER = 300;
const MAX_FILE_BYTES = 8000;

const main = new URL('../src/cli/main.ts', import.meta.url).pathname;

export async function run(): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-bench-'));
  const config = ['--config', join(folder, 'config')];
  const storage = join(folder, 'source', FQRN);
  let server: ChildProcess | undefined;
  try {
    const bytes = makeTree(join(folder, 'tree'));
    thimble([...config, 'repo', 'create', FQRN, '--storage', storage]);
    thimble([...config, 'publish', FQRN, join(folder, 'tree')]);
    server = spawn(process.execPath, [main, 'serve', storage, '--port', '0', '--quiet'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const address = await addressOf(server);
    const key = join(folder, 'config', 'repositories', FQRN, `${FQRN}.pub`);
    const target = join(folder, 'replica', FQRN);
    const args = ['--json', 'replicate', `${address}/cvmfs/${FQRN}`, target, '--key', key];
    const first = await measured(args);
    const again = await measured(args);
    return {
      objects: first.objects,
      megabytes: bytes / 1e6,
      seconds: first.seconds,
      objectsPerSecond: first.objects / first.seconds,
      cpuSeconds: first.cpuSeconds,
      peakMemoryMB: first.peakBytes / 1e6,
      unchangedSeconds: again.seconds,
    };
  } finally {
    server?.kill();
    rmSync(folder, { recursive: true });
  }
}

/** Files that are all different and hardly compress. */
function makeTree(folder: string): number {
  let bytes = 0;
  for (let i = 0; i < FILES; i++) {
    const directory = join(folder, String(Math.floor(i / FILES_PER_FOLDER)));
    if (i % FILES_PER_FOLDER === 0) mkdirSync(directory, { recursive: true });
    const content = randomFillSync(Buffer.alloc(1 + ((i * 2971) % MAX_FILE_BYTES)));
    writeFileSync(join(directory, String(i)), content);
    bytes += content.length;
  }
  return bytes;
}

function thimble(args: readonly string[]): void {
  const result = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(result.stderr);
}

function addressOf(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    server.stdout!.on('data', (part: Buffer) => {
      text += String(part);
      const port = /Serving http:\/\/[^:]+:(\d+)/.exec(text)?.[1];
      if (port !== undefined) resolve(`http://127.0.0.1:${port}`);
    });
    server.once('exit', () => reject(new Error(`serve ended: ${text}`)));
  });
}

/** Seconds are those from its start to its end, start-up included. */
async function measured(args: readonly string[]): Promise<ChildFigures & { readonly objects: number }> {
  const { output, ...figures } = await measureChild(process.execPath, [main, ...args]);
  return { ...figures, objects: (JSON.parse(output) as { objects: number }).objects };
}
