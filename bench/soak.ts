/**
 * `npm run bench -- soak [--minutes 30] [--entries 1000000] [--kill-minutes 10] [--update-seconds 60] [--fault-seconds 45]`: a mount that is
 * used for a long time. Its whole tree is listed, then readers walk it, read at random and look at the bytes, while new revisions
 * are published, the cache, which is smaller than the tree, drops things, the line to the server is cut or stalls for some seconds, and
 * the server of the mount is killed. Each server streams a profile. Memory and descriptors are written down all the time.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { FlakyLink } from './flaky-link.ts';
import { MountUnderTest, type Sample } from './mount-under-test.ts';
import { type Bar, describeMachine, type Figures, report } from './report.ts';
import { folderOf, publishSoakTree, SOAK_FQRN, writeNews } from './soak-tree.ts';

export const soakBars: Readonly<Record<string, Bar>> = {
  soakListedMB: { atMost: 150 },
  soakMaxMB: { atMost: 150 },
  soakGrowthMBPerHour: { atMost: 5 },
  soakDescriptorsPerHour: { atMost: 10 },
  soakReadErrors: { atMost: 0 },
  soakSlowestTakeOverSeconds: { atMost: 1 },
};

const SAMPLE_MS = 5000;
const READERS = 4;
const CACHE_SIZE = '128M';
/** After a start, compiled code and caches grow to what they need. */
const WARM_UP_MS = 60_000;
/** How long the line is cut, or stalls: reads wait for longer than that before they fail. */
const FAULT_MS = 5000;
const LAUNCHER = new URL('../thimble', import.meta.url).pathname;
const READER = new URL('./soak-reader.ts', import.meta.url).pathname;

interface Schedule {
  readonly entries: number;
  readonly durationMs: number;
  readonly killMs: number;
  readonly updateMs: number;
  readonly faultMs: number;
}

export const DEFAULT_SOAK: Schedule = {
  entries: 1_000_000,
  durationMs: 30 * 60_000,
  killMs: 10 * 60_000,
  updateMs: 60_000,
  faultMs: 45_000,
};

export async function runSoak(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '30' },
      entries: { type: 'string', default: '1000000' },
      'kill-minutes': { type: 'string', default: '10' },
      'update-seconds': { type: 'string', default: '60' },
      'fault-seconds': { type: 'string', default: '45' },
      json: { type: 'boolean', default: false },
    },
  });
  const machine = describeMachine();
  const figures = await soakFigures({
    entries: Number(values.entries),
    durationMs: 60_000 * Number(values.minutes),
    killMs: 60_000 * Number(values['kill-minutes']),
    updateMs: 1000 * Number(values['update-seconds']),
    faultMs: 1000 * Number(values['fault-seconds']),
  });
  report('soak', machine, figures, soakBars, values.json);
}

export async function soakFigures(schedule: Schedule): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-soak-'));
  const soak = new Soak(folder);
  try {
    const figures = Object.entries(await soak.run(schedule));
    return Object.fromEntries(
      figures.map(([name, figure]) => [`soak${name[0]!.toUpperCase()}${name.slice(1)}`, figure]),
    );
  } finally {
    await soak.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

class Soak {
  readonly #folder: string;
  readonly #mount: MountUnderTest;
  readonly #readers: ChildProcess[] = [];
  readonly #stop: (() => unknown)[] = [];
  readonly #samples: Sample[] = [];
  readonly #takeOvers: number[] = [];
  #updates = 0;
  #faults = 0;

  constructor(folder: string) {
    this.#folder = folder;
    this.#mount = new MountUnderTest(folder);
  }

  async run(schedule: Schedule): Promise<Figures> {
    const folders = await publishSoakTree(this.#folder, schedule.entries);
    const link = await this.#serve();
    const options = this.#mountOptions();
    const address = `http://127.0.0.1:${link.port}/cvmfs/${SOAK_FQRN}`;
    await this.#recordProfile(address, options);
    await this.#mount.mount(address, [...options, '--profile', 'soak']);
    const startedMs = performance.now();
    const listedEntries = await this.#mount.list();
    const listSeconds = (performance.now() - startedMs) / 1000;
    const listed = {
      listedMB: this.#mount.sample().residentBytes / 1e6,
      listedPeakMB: this.#mount.peakBytes() / 1e6,
    };
    for (let i = 0; i < READERS; i++) this.#startReader(folders, i);
    await this.#watch(schedule, link);
    const reading = await this.#endReaders();
    const happened = { updates: this.#updates, faults: this.#faults, kills: this.#takeOvers.length };
    const slowestTakeOverSeconds = Math.max(0, ...this.#takeOvers) / 1000;
    return {
      ...{ entries: listedEntries, listSeconds, ...listed, ...happened, ...reading },
      ...{ slowestTakeOverSeconds, ...summary(this.#samples) },
    };
  }

  async close(): Promise<void> {
    for (const reader of this.#readers) reader.kill('SIGKILL');
    await this.#mount.unmount().catch(() => {});
    for (const end of this.#stop.reverse()) await end();
  }

  /** By Thimble: mounts hear of updates at once. */
  async #serve(): Promise<FlakyLink> {
    const args = ['serve', join(this.#folder, SOAK_FQRN), '--host', '127.0.0.1', '--port', '0', '--quiet'];
    const server = spawn(LAUNCHER, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#stop.push(() => server.kill('SIGTERM'));
    const port = await new Promise<number>((resolve, reject) => {
      let text = '';
      const look = (chunk: Buffer) => {
        text += String(chunk);
        const found = /127\.0\.0\.1:(\d+)/.exec(text)?.[1];
        if (found !== undefined) resolve(Number(found));
      };
      server.stdout.on('data', look);
      server.stderr.on('data', look);
      server.once('exit', () => reject(new Error(`thimble serve ended: ${text}`)));
    });
    const link = await FlakyLink.open(port);
    this.#stop.push(() => link.close());
    return link;
  }

  #mountOptions(): string[] {
    const key = join(this.#folder, 'config', 'repositories', SOAK_FQRN, `${SOAK_FQRN}.pub`);
    return ['--key', key, '--cache', join(this.#folder, 'cache'), '--cache-size', CACHE_SIZE];
  }

  async #recordProfile(address: string, options: readonly string[]): Promise<void> {
    const recording = join(this.#folder, 'recording');
    const wanted = ['large-0', folderOf(0), folderOf(50)].map((path) => join(this.#mount.mountpoint, path));
    await this.#mount.mount(address, options);
    const workload = ['sh', '-c', `cat ${wanted[0]} ${wanted[1]}/* ${wanted[2]}/* > /dev/null`];
    await this.#mount.thimble(['record', this.#mount.mountpoint, '--output', recording, '--', ...workload]);
    await this.#mount.unmount();
    await this.#mount.thimble(['profile', 'publish', SOAK_FQRN, 'soak', recording]);
    rmSync(join(this.#folder, 'cache'), { recursive: true, force: true });
  }

  #startReader(folders: number, seed: number): void {
    const args = [READER, this.#mount.mountpoint, String(folders), String(seed)];
    this.#readers.push(spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
  }

  /** Samples until the time is over; updates, faults and kills come in between, one after the other. */
  async #watch({ durationMs, killMs, updateMs, faultMs }: Schedule, link: FlakyLink): Promise<void> {
    const startedMs = performance.now();
    const due = { kill: startedMs + killMs, update: startedMs + updateMs, fault: startedMs + faultMs };
    for (;;) {
      await sleep(SAMPLE_MS);
      const now = performance.now();
      if (now > startedMs + durationMs) return;
      this.#look((now - startedMs) / 60_000);
      if (now > due.update) {
        due.update += updateMs;
        await this.#update();
      }
      if (now > due.fault) {
        due.fault += faultMs;
        await this.#fail(link);
      }
      if (now > due.kill) {
        due.kill += killMs;
        this.#takeOvers.push(await this.#mount.killServer());
        process.stderr.write(
          `killed; the next server was there after ${this.#takeOvers.at(-1)!.toFixed(0)} ms\n`,
        );
      }
    }
  }

  #look(minutes: number): void {
    const sample = this.#mount.sample();
    this.#samples.push(sample);
    const { pid, residentBytes, ownBytes, descriptors } = sample;
    const megabytes = `${(residentBytes / 1e6).toFixed(0)} MB (${(ownBytes / 1e6).toFixed(0)} of its own)`;
    process.stderr.write(
      `${minutes.toFixed(1)} min  process ${pid}  ${megabytes}  ${descriptors} descriptors\n`,
    );
  }

  async #update(): Promise<void> {
    const news = join(this.#folder, 'news');
    writeNews(news, ++this.#updates);
    await this.#mount.thimble(['publish', SOAK_FQRN, news, '--into', '/news']);
  }

  async #fail(link: FlakyLink): Promise<void> {
    link.state = this.#faults++ % 2 === 0 ? 'cut' : 'stalled';
    await sleep(FAULT_MS);
    link.state = 'good';
  }

  async #endReaders(): Promise<Figures> {
    const figures = { reads: 0, readErrors: 0, slowestReadSeconds: 0, updatesSeen: 0 };
    for (const reader of this.#readers) {
      const output = new Promise<string>((resolve) =>
        reader.stdout!.once('data', (chunk) => resolve(String(chunk))),
      );
      reader.kill('SIGTERM');
      const seen = JSON.parse(await output) as Record<
        'reads' | 'errors' | 'slowestMs' | 'updatesSeen',
        number
      >;
      figures.reads += seen.reads;
      figures.readErrors += seen.errors;
      figures.slowestReadSeconds = Math.max(figures.slowestReadSeconds, seen.slowestMs / 1000);
      figures.updatesSeen = Math.max(figures.updatesSeen, seen.updatesSeen);
    }
    return figures;
  }
}

/** Slopes are those of the process that lived longest, without its first minute. */
function summary(samples: readonly Sample[]): Figures {
  const pids = [...new Set(samples.map(({ pid }) => pid))];
  const lives = pids.map((one) => samples.filter(({ pid }) => pid === one));
  const longest = lives.reduce((best, life) => (life.length > best.length ? life : best));
  const warm = longest.filter(({ ms }) => ms > longest[0]!.ms + WARM_UP_MS);
  return {
    maxMB: Math.max(...samples.map(({ residentBytes }) => residentBytes)) / 1e6,
    growthMBPerHour: hourly(warm, ({ residentBytes }) => residentBytes / 1e6),
    maxDescriptors: Math.max(...samples.map(({ descriptors }) => descriptors)),
    descriptorsPerHour: hourly(warm, ({ descriptors }) => descriptors),
  };
}

/** The slope of a figure, by least squares. */
function hourly(samples: readonly Sample[], figure: (sample: Sample) => number): number {
  if (samples.length < 2) return 0;
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanMs = mean(samples.map(({ ms }) => ms));
  const meanFigure = mean(samples.map(figure));
  const products = samples.map((one) => (one.ms - meanMs) * (figure(one) - meanFigure));
  return (3_600_000 * mean(products)) / mean(samples.map(({ ms }) => (ms - meanMs) ** 2));
}
