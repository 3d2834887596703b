/** Publishing a folder: about 30,000 files and 600 MB, copied from this machine's /usr; then once more, unchanged. */

import { spawn, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bar, type Figures, peakMemoryBytes } from './report.ts';

export const bars: Readonly<Record<string, Bar>> = {
  publishSeconds: { atMost: 10 },
  peakMemoryMB: { atMost: 400 },
};

const WANTED_FILES = 30_000;
const WANTED_BYTES = 600e6;
const SOURCES = ['/usr/bin', '/usr/share', '/usr/lib', '/usr/include', '/usr/sbin', '/usr/local'];

const main = new URL('../src/cli/main.ts', import.meta.url).pathname;

export async function run(): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-bench-'));
  try {
    const copied = copyTree(join(folder, 'usr'));
    const config = join(folder, 'config');
    const storage = join(folder, 'bench.example.org');
    thimble(['--config', config, 'repo', 'create', 'bench.example.org', '--storage', storage]);
    const publish = ['--config', config, '--json', 'publish', 'bench.example.org', join(folder, 'usr')];
    // Read once, so that the first figure is not that of the disk.
    spawnSync('sh', ['-c', `tar -C ${join(folder, 'usr')} -cf - . | cat > /dev/null`]);
    const first = await measured(publish);
    const again = await measured(publish);
    const stored = Number(spawnSync('du', ['-sb', storage], { encoding: 'utf8' }).stdout.split('\t')[0]);
    return {
      files: copied.files,
      megabytes: copied.bytes / 1e6,
      publishSeconds: first.seconds,
      cpuSeconds: first.cpuSeconds,
      peakMemoryMB: first.peakBytes / 1e6,
      storedMB: stored / 1e6,
      unchangedSeconds: again.seconds,
      unchangedNewObjects: again.newObjects,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Whole directories until there are enough files, then large ones that were left out until there are enough bytes. */
function copyTree(target: string): { files: number; bytes: number } {
  let files = 0;
  let bytes = 0;
  const large: { source: string; target: string; size: number }[] = [];
  const copy = (from: string, to: string) => {
    mkdirSync(to, { recursive: true });
    for (const entry of readdirSync(from, { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      if (files >= WANTED_FILES) return;
      const source = join(from, entry.name);
      if (entry.isDirectory()) copy(source, join(to, entry.name));
      else if (entry.isFile() || entry.isSymbolicLink()) {
        const { size } = lstatSync(source);
        // Large ones only as long as the average stays near what it should be.
        const allowed = Math.min(WANTED_BYTES, 100e6 + files * (WANTED_BYTES / WANTED_FILES));
        if (bytes + size > allowed) {
          large.push({ source, target: join(to, entry.name), size });
          continue;
        }
        if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), join(to, entry.name));
        else copyFileSync(source, join(to, entry.name));
        files++;
        bytes += size;
      }
    }
  };
  for (const source of SOURCES) copy(source, join(target, source.slice(5)));
  for (const one of large) {
    if (bytes + one.size > WANTED_BYTES) continue;
    copyFileSync(one.source, one.target);
    files++;
    bytes += one.size;
  }
  return { files, bytes };
}

function thimble(args: readonly string[]): void {
  const result = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(result.stderr);
}

interface Measured {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
  readonly newObjects: number;
}

async function measured(args: readonly string[]): Promise<Measured> {
  const startedMs = performance.now();
  const cpuBefore = childrenCpuSeconds();
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += String(chunk);
  });
  let peakBytes = 0;
  const timer = setInterval(() => {
    if (child.pid !== undefined && child.exitCode === null)
      peakBytes = Math.max(peakBytes, peakMemoryBytes(child.pid) || 0);
  }, 50);
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearInterval(timer);
  if (status !== 0) throw new Error(`publish ended with status ${status}`);
  return {
    seconds: (performance.now() - startedMs) / 1000,
    cpuSeconds: childrenCpuSeconds() - cpuBefore,
    peakBytes,
    newObjects: (JSON.parse(output) as { newObjects: number }).newObjects,
  };
}

/** CPU of all children that have ended, in seconds. */
function childrenCpuSeconds(): number {
  const times = spawnSync('sh', ['-c', `cut -d' ' -f16,17 /proc/${process.pid}/stat`], {
    encoding: 'utf8',
  }).stdout;
  const [user = 0, system = 0] = times.trim().split(' ').map(Number);
  return (user + system) / 100;
}
