/**
 * `npm run bench -- soak [--minutes 30] [--entries 1000000] [--kill-minutes 10]`: a mount that is used for a long time. Its whole tree is
 * listed, then readers walk it, read files at random and look at their bytes, while the server is killed now and then. Memory and
 * descriptors of the server are written down all the time.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { STATE_FILES, stateFolderOf } from '../src/mount/state-folder.ts';
import { type Bar, describeMachine, type Figures, peakMemoryBytes, report } from './report.ts';
import { publishSoakTree } from './soak-tree.ts';

const bars: Readonly<Record<string, Bar>> = {
  listedMB: { atMost: 150 },
  maxMB: { atMost: 150 },
  growthMBPerHour: { atMost: 5 },
  readErrors: { atMost: 0 },
};

const SAMPLE_MS = 5000;
const READERS = 4;
/** After a start, compiled code and caches grow to what they need. */
const WARM_UP_MS = 60_000;
const MAIN = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url));
const READER = fileURLToPath(new URL('./soak-reader.ts', import.meta.url));

interface Sample {
  readonly ms: number;
  readonly pid: number;
  readonly residentBytes: number;
  readonly descriptors: number;
}

export async function runSoak(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '30' },
      entries: { type: 'string', default: '1000000' },
      'kill-minutes': { type: 'string', default: '10' },
      json: { type: 'boolean', default: false },
    },
  });
  const machine = describeMachine();
  const scratch = mkdtempSync(join(tmpdir(), 'thimble-soak-'));
  const mountpoint = join(scratch, 'mount');
  mkdirSync(mountpoint);
  const readers: ChildProcess[] = [];
  try {
    const folders = await publishSoakTree(scratch, Number(values.entries));
    thimble(scratch, ['mount', 'soak.example.org', mountpoint, '--cache', join(scratch, 'cache')]);
    const listed = list(mountpoint);
    for (let i = 0; i < READERS; i++) readers.push(startReader(mountpoint, folders, i));
    const samples = await watch(
      mountpoint,
      60_000 * Number(values.minutes),
      60_000 * Number(values['kill-minutes']),
    );
    const figures = { ...listed, ...(await endReaders(readers)), ...summary(samples) };
    report('soak', machine, figures, bars, values.json);
  } finally {
    for (const reader of readers) reader.kill('SIGKILL');
    spawnSync('umount', ['-l', mountpoint]);
    rmSync(scratch, { recursive: true, force: true });
  }
}

function thimble(scratch: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(
    process.execPath,
    [MAIN, '--config', join(scratch, 'config'), ...args],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(`thimble ${args[0]} ended with ${status}: ${stderr}`);
}

/** Lists everything once, with all attributes. */
function list(mountpoint: string): Figures {
  const startedMs = performance.now();
  const { stdout } = spawnSync('sh', ['-c', `find ${mountpoint} -ls | wc -l`], {
    encoding: 'utf8',
    env: { ...process.env, TZ: 'UTC0' },
  });
  const seconds = (performance.now() - startedMs) / 1000;
  const { pid, residentBytes } = sample(mountpoint);
  return {
    entries: Number(stdout),
    listSeconds: seconds,
    listedMB: residentBytes / 1e6,
    listedPeakMB: peakMemoryBytes(pid) / 1e6,
  };
}

/** Samples for `durationMs`, and kills the server each `killMs`. */
async function watch(mountpoint: string, durationMs: number, killMs: number): Promise<Sample[]> {
  const samples: Sample[] = [];
  const startedMs = performance.now();
  let killAtMs = startedMs + killMs;
  for (;;) {
    await sleep(SAMPLE_MS);
    const now = performance.now();
    if (now > startedMs + durationMs) return samples;
    const latest = sample(mountpoint);
    samples.push(latest);
    const { pid, residentBytes, descriptors } = latest;
    process.stderr.write(
      `${((now - startedMs) / 60_000).toFixed(1)} min  process ${pid}  ${(residentBytes / 1e6).toFixed(0)} MB  ${descriptors} descriptors\n`,
    );
    if (now < killAtMs) continue;
    killAtMs += killMs;
    process.kill(pid, 'SIGKILL');
    while (serverOf(mountpoint) === pid || serverOf(mountpoint) === 0) await sleep(10);
    process.stderr.write(
      `killed; the next server was there after ${(performance.now() - now).toFixed(0)} ms\n`,
    );
  }
}

function serverOf(mountpoint: string): number {
  try {
    return Number(readFileSync(join(stateFolderOf(mountpoint), STATE_FILES.served), 'latin1'));
  } catch {
    // Between two servers.
    return 0;
  }
}

function sample(mountpoint: string): Sample {
  const pid = serverOf(mountpoint);
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    ms: performance.now(),
    pid,
    residentBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

function startReader(mountpoint: string, folders: number, seed: number): ChildProcess {
  return spawn(process.execPath, [READER, mountpoint, String(folders), String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function endReaders(readers: readonly ChildProcess[]): Promise<Figures> {
  let reads = 0;
  let readErrors = 0;
  for (const reader of readers) {
    const output = new Promise<string>((resolve) =>
      reader.stdout!.once('data', (chunk) => resolve(String(chunk))),
    );
    reader.kill('SIGTERM');
    const result = JSON.parse(await output) as { reads: number; errors: number };
    reads += result.reads;
    readErrors += result.errors;
  }
  return { reads, readErrors };
}

/** The slope is that of the process that lived longest, without its first minute. */
function summary(samples: readonly Sample[]): Figures {
  const pids = [...new Set(samples.map(({ pid }) => pid))];
  const lives = pids.map((one) => samples.filter(({ pid }) => pid === one));
  const longest = lives.reduce((best, life) => (life.length > best.length ? life : best));
  const warm = longest.filter(({ ms }) => ms > longest[0]!.ms + WARM_UP_MS);
  return {
    servers: lives.length,
    maxMB: Math.max(...samples.map(({ residentBytes }) => residentBytes)) / 1e6,
    growthMBPerHour: (slope(warm) * 3_600_000) / 1e6,
    maxDescriptors: Math.max(...samples.map(({ descriptors }) => descriptors)),
    lastDescriptors: samples.at(-1)!.descriptors,
  };
}

/** Bytes a millisecond, by least squares. */
function slope(samples: readonly Sample[]): number {
  if (samples.length < 2) return 0;
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanMs = mean(samples.map(({ ms }) => ms));
  const meanBytes = mean(samples.map(({ residentBytes }) => residentBytes));
  const products = samples.map(({ ms, residentBytes }) => (ms - meanMs) * (residentBytes - meanBytes));
  return mean(products) / mean(samples.map(({ ms }) => (ms - meanMs) ** 2));
}
