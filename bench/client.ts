/**
 * A mount as its users meet it: a tree of 32,800 entries and 600 MB, served by nginx over loopback. Cold is an empty cache,
 * "again" a new mount with the cache that the last one left, hot the same once more on the same mount. The sections `million`,
 * `profile` and `soak` have trees of their own; `soak` takes half an hour.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startNginx } from '../test/support/web-servers.ts';
import { millionBars, runMillion } from './client-million.ts';
import { makeClientTree } from './client-tree.ts';
import { bars as profileBars, run as runProfile } from './profile.ts';
import type { Bar, Figures } from './report.ts';
import { DEFAULT_SOAK, soakBars, soakFigures } from './soak.ts';

const LOCAL_SECTIONS = ['mount', 'find', 'read', 'random', 'large'] as const;
export const sections: readonly string[] = [...LOCAL_SECTIONS, 'million', 'profile', 'soak'];

export const bars: Readonly<Record<string, Bar>> = {
  ...millionBars,
  ...profileBars,
  ...soakBars,
  mountReadySeconds: { atMost: 0.3 },
  findColdSeconds: { atMost: 0.6 },
  findAgainSeconds: { atMost: 0.4 },
  findHotSeconds: { atMost: 0.25 },
  readAllColdSeconds: { atMost: 7 },
  readAllAgainSeconds: { atMost: 3 },
  readAllHotSeconds: { atMost: 1.5 },
  random10000ColdSeconds: { atMost: 2.5 },
  random10000AgainSeconds: { atMost: 0.8 },
  random10000HotSeconds: { atMost: 0.4 },
  largeFileShareOfItsDisk: { atLeast: 0.8 },
  largeFilePassthroughShare: { atLeast: 0.95 },
};

const FQRN = 'client.example.org';
const RANDOM_READS = 10_000;
/** The size of most files; larger ones are not small. */
const SMALL_BYTES = 64 * 1024;
const LARGE_BYTES = 1024 ** 3;
const ROUNDS = 3;
const MAX_LOOKS = 20;

const launcher = new URL('../thimble', import.meta.url).pathname;

/** The figures of the sections that are asked for. */
export async function run(chosen: ReadonlySet<string>): Promise<Figures> {
  return {
    ...(LOCAL_SECTIONS.some((section) => chosen.has(section)) ? await runLocal(chosen) : {}),
    ...(chosen.has('million') ? await runMillion() : {}),
    ...(chosen.has('profile') ? await runProfile() : {}),
    ...(chosen.has('soak') ? await soakFigures(DEFAULT_SOAK) : {}),
  };
}

async function runLocal(chosen: ReadonlySet<string>): Promise<Figures> {
  // In memory, so that no disk is measured.
  const folder = mkdtempSync('/dev/shm/thimble-bench-');
  const stop: (() => unknown)[] = [];
  try {
    const bench = new ClientBench(folder);
    const storage = bench.publish();
    const server = await startNginx({ after: (end) => void stop.push(end as () => unknown) }, FQRN, storage);
    bench.server = server;
    const rounds: Figures[] = [];
    for (let round = 0; round < ROUNDS; round++) rounds.push(bench.round(chosen));
    return medians(rounds);
  } finally {
    for (const end of stop) await end();
    rmSync(folder, { recursive: true });
  }
}

class ClientBench {
  server = '';
  readonly #folder: string;
  readonly #mountpoint: string;
  readonly #cache: string;
  readonly #list: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#mountpoint = join(folder, 'mnt');
    this.#cache = join(folder, 'cache');
    this.#list = join(folder, 'small-files');
    mkdirSync(this.#mountpoint);
  }

  /** Answers with the storage folder. */
  publish(): string {
    const tree = join(this.#folder, 'tree');
    const files = makeClientTree(join(tree, 'files'));
    const small = spawnSync('find', ['files', '-type', 'f', '-size', `-${SMALL_BYTES / 1024}k`], {
      cwd: tree,
      encoding: 'utf8',
      maxBuffer: 1e9,
    }).stdout.trim();
    if (small.split('\n').length < files.length / 2) throw new Error('most files are to be small');
    writeFileSync(this.#list, small);
    makeLarge(join(tree, 'large'));
    const storage = join(this.#folder, FQRN);
    this.#thimble(['repo', 'create', FQRN, '--storage', storage]);
    this.#thimble(['publish', FQRN, tree]);
    rmSync(tree, { recursive: true });
    return storage;
  }

  round(chosen: ReadonlySet<string>): Figures {
    const find = () => seconds('find', [join(this.#mountpoint, 'files'), '-ls']);
    const readAll = () =>
      seconds('sh', ['-c', `find ${this.#mountpoint}/files -type f -exec cat {} + > /dev/null`]);
    const random = () => this.#randomReads();
    const ready: number[] = [];
    const measure = (name: string, action: () => number): Record<string, number> => {
      rmSync(this.#cache, { recursive: true, force: true });
      ready.push(this.#mount());
      const cold = action();
      const hot = action();
      this.#unmount();
      ready.push(this.#mount());
      const again = action();
      this.#unmount();
      return { [`${name}ColdSeconds`]: cold, [`${name}AgainSeconds`]: again, [`${name}HotSeconds`]: hot };
    };
    const figures = {
      ...(chosen.has('find') || chosen.has('mount') ? measure('find', find) : {}),
      ...(chosen.has('read') ? measure('readAll', readAll) : {}),
      ...(chosen.has('random') ? measure('random10000', random) : {}),
      ...(chosen.has('large') ? this.#readLarge() : {}),
    };
    return { ...(ready.length > 0 ? { mountReadySeconds: median(ready) } : {}), ...figures };
  }

  /** A file in the cache, read through the mount and from where the cache has it. */
  #readLarge(): Record<string, number> {
    const read = (path: string) => seconds('dd', [`if=${path}`, 'of=/dev/null', 'bs=1M', 'status=none']);
    const file = join(this.#mountpoint, 'large');
    this.#mount();
    read(file);
    this.#unmount();
    this.#mount();
    const mounted = read(file);
    const pid = Number(JSON.parse(this.#thimble(['status', this.#mountpoint, '--json'])).mounts?.[0]?.pid);
    const memory = Number.isNaN(pid) ? {} : { residentBytes: residentBytes(pid) };
    this.#unmount();
    const passed = this.#readPassedThrough(read, file);
    // The same bytes in one file on the same file system.
    const plain = join(this.#folder, 'plain');
    makeLarge(plain);
    const disk = median([read(plain), read(plain), read(plain)]);
    rmSync(plain);
    return {
      largeFileMBps: LARGE_BYTES / 1e6 / mounted,
      largeFileShareOfItsDisk: disk / mounted,
      largeFilePassthroughShare: disk / passed,
      ...memory,
    };
  }

  /** From the third reading on, the kernel reads the file itself: its pieces were put together behind the second. */
  #readPassedThrough(read: (path: string) => number, file: string): number {
    this.#mount(['--passthrough', '16M']);
    const wholeFiles = () =>
      JSON.parse(this.#thimble(['status', this.#mountpoint, '--json'])).status.parts.passthrough.wholeFiles;
    for (let looks = 0; wholeFiles() === 0; looks++) {
      if (looks === MAX_LOOKS) throw new Error('the large file was not put together');
      read(file);
    }
    const passed = median([read(file), read(file), read(file)]);
    this.#unmount();
    return passed;
  }

  #randomReads(): number {
    const script = new URL('random-reads.ts', import.meta.url).pathname;
    const result = spawnSync(process.execPath, [script, this.#mountpoint, this.#list, String(RANDOM_READS)], {
      encoding: 'utf8',
    });
    if (result.status !== 0) throw new Error(result.stderr);
    return Number(result.stdout);
  }

  #mount(options: readonly string[] = []): number {
    const key = join(this.#folder, 'config', 'repositories', FQRN, `${FQRN}.pub`);
    const startedMs = performance.now();
    const where = ['--key', key, '--cache', this.#cache];
    this.#thimble(['mount', this.server, this.#mountpoint, ...where, ...options]);
    return (performance.now() - startedMs) / 1000;
  }

  #unmount(): void {
    this.#thimble(['umount', this.#mountpoint]);
  }

  #thimble(args: readonly string[]): string {
    const env = {
      ...process.env,
      THIMBLE_STATE: join(this.#folder, 'state'),
      THIMBLE_DATA: join(this.#folder, 'data'),
    };
    const result = spawnSync(launcher, ['--config', join(this.#folder, 'config'), ...args], {
      encoding: 'utf8',
      env,
    });
    if (result.status !== 0) throw new Error(`thimble ${args.join(' ')}: ${result.stderr}`);
    return result.stdout;
  }
}

/** Incompressible, of chunks that differ. */
function makeLarge(path: string): void {
  const result = spawnSync('dd', [
    'if=/dev/urandom',
    `of=${path}`,
    'bs=1M',
    `count=${LARGE_BYTES / 1024 ** 2}`,
  ]);
  if (result.status !== 0) throw new Error(String(result.stderr));
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

function seconds(program: string, args: readonly string[]): number {
  const startedMs = performance.now();
  // Without TZ, `find -ls` asks for /etc/localtime with every file, which is half of its time and none of ours.
  const env = { ...process.env, TZ: 'UTC0' };
  const result = spawnSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'], env });
  if (result.status !== 0) throw new Error(`${program} ended with status ${result.status}`);
  return (performance.now() - startedMs) / 1000;
}

function medians(rounds: readonly Figures[]): Figures {
  return Object.fromEntries(
    Object.keys(rounds[0]!).map((name) => [name, median(rounds.map((figures) => figures[name]!))]),
  );
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
