/**
 * Profiles: a workload that reads 3,500 files with 1 GB, as a software stack has them, over a line of 14 and of 84 ms round trip and
 * 1 Gbit/s: with nothing cached, with and without a profile, beside one plain download of the same packed bytes.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Profile } from '../src/core/profile-index.ts';
import { DelayedLink } from './delayed-link.ts';
import type { Bar, Figures } from './report.ts';

export const bars: Readonly<Record<string, Bar>> = {
  ratioTo14msDownload: { atMost: 1.4 },
  serialRoundTrips14ms: { atMost: 40 },
  ratioTo84msDownload: { atMost: 1.4 },
  serialRoundTrips84ms: { atMost: 40 },
};

const NAME = 'bench.example.org';
const PACKAGES = 50;
const FILES = 70;
const WANTED_BYTES = 1e9;
const ROUND_TRIPS_MS = [14, 84];
const BYTES_PER_SECOND = 125e6;

const launcher = new URL('../thimble', import.meta.url).pathname;

export async function run(): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-bench-'));
  const bench = new ProfileBench(folder);
  try {
    return await bench.run();
  } finally {
    await bench.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

class ProfileBench {
  readonly #folder: string;
  readonly #mountpoint: string;
  readonly #storage: string;
  readonly #config: readonly string[];
  readonly #list: string;
  #web: ChildProcess | undefined;
  #port = 0;

  constructor(folder: string) {
    this.#folder = folder;
    this.#mountpoint = join(folder, 'mnt');
    this.#storage = join(folder, 'cvmfs', NAME);
    this.#config = ['--config', join(folder, 'config')];
    this.#list = join(folder, 'list');
  }

  async run(): Promise<Figures> {
    mkdirSync(this.#mountpoint);
    const made = this.#publish();
    await this.#serve();
    const profile = await this.#record();
    const figures: Record<string, number> = {
      files: made.files,
      megabytes: made.bytes / 1e6,
      packedMegabytes: profile.storedBytes / 1e6,
      packs: profile.packs.length,
    };
    for (const roundTripMs of ROUND_TRIPS_MS) {
      const link = await DelayedLink.open({
        port: this.#port,
        roundTripMs,
        bytesPerSecond: BYTES_PER_SECOND,
      });
      try {
        Object.assign(figures, await this.#compare(link, profile, `${roundTripMs}ms`));
      } finally {
        link.close();
      }
    }
    return figures;
  }

  async close(): Promise<void> {
    spawnSync('umount', ['-l', this.#mountpoint], { stdio: 'ignore' });
    this.#web?.kill();
  }

  async #compare(link: DelayedLink, profile: Profile, suffix: string): Promise<Figures> {
    const download = await this.#download(link, profile);
    const streamed = await this.#workload(link, ['--profile', 'stack']);
    const plain = await this.#workload(link, []);
    return {
      [`download${suffix}Seconds`]: download,
      [`profile${suffix}Seconds`]: streamed.seconds,
      [`ratioTo${suffix}Download`]: streamed.seconds / download,
      [`requests${suffix}`]: streamed.requests,
      [`serialRoundTrips${suffix}`]: streamed.serialRoundTrips,
      [`fetched${suffix}Megabytes`]: streamed.bytes / 1e6,
      [`withoutProfile${suffix}Seconds`]: plain.seconds,
      [`withoutProfile${suffix}SerialRoundTrips`]: plain.serialRoundTrips,
    };
  }

  #publish(): { readonly files: number; readonly bytes: number } {
    const tree = join(this.#folder, 'tree');
    const made = makeStack(tree);
    thimble([...this.#config, 'repo', 'create', NAME, '--storage', this.#storage]);
    thimble([...this.#config, 'publish', NAME, tree]);
    rmSync(tree, { recursive: true });
    writeFileSync(this.#list, made.order.map((path) => `${join(this.#mountpoint, path)}\n`).join(''));
    return { files: made.order.length, bytes: made.bytes };
  }

  /** nginx: what is measured are the client and the line. */
  async #serve(): Promise<void> {
    const scratch = join(this.#folder, 'nginx');
    mkdirSync(scratch);
    this.#port = 20_000 + (process.pid % 20_000);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (kind) => `${kind}_temp_path ${scratch};`,
    );
    writeFileSync(
      join(scratch, 'nginx.conf'),
      `daemon off; user root; worker_processes 1; pid ${scratch}/pid; error_log stderr;
events {}
http { access_log off; sendfile on; keepalive_requests 100000; ${temporary.join(' ')}
  server { listen 127.0.0.1:${this.#port}; location /cvmfs/ { alias ${dirname(this.#storage)}/; } } }`,
    );
    const args = ['-p', scratch, '-c', join(scratch, 'nginx.conf'), '-e', 'stderr'];
    this.#web = spawn('/usr/sbin/nginx', args, { stdio: 'ignore' });
    for (let tries = 0; !(await canConnect(this.#port)); tries++) {
      if (tries === 100) throw new Error('nginx does not start');
      await sleep(50);
    }
  }

  async #record(): Promise<Profile> {
    const recording = join(this.#folder, 'stack.rec');
    await this.#mounted(this.#port, [], async () => {
      const workload = ['sh', '-c', `xargs -a ${this.#list} cat > /dev/null`];
      await finished([launcher, 'record', this.#mountpoint, '--output', recording, '--', ...workload]);
    });
    const args = [...this.#config, '--json', 'profile', 'publish', NAME, 'stack', recording];
    return (JSON.parse(thimble(args)) as { profile: Profile }).profile;
  }

  /** One connection, one pack after the other. */
  async #download(link: DelayedLink, { packs }: Profile): Promise<number> {
    const urls = packs.map(
      ({ hash }) => `http://127.0.0.1:${link.port}/cvmfs/${NAME}/data/${hash.slice(0, 2)}/${hash.slice(2)}`,
    );
    const startedMs = performance.now();
    await finished(['sh', '-c', `curl --fail --silent ${urls.join(' ')} > /dev/null`]);
    return (performance.now() - startedMs) / 1000;
  }

  async #workload(link: DelayedLink, options: readonly string[]) {
    link.reset();
    const startedMs = performance.now();
    return this.#mounted(link.port, options, async () => {
      await finished(['sh', '-c', `xargs -a ${this.#list} cat > /dev/null`]);
      const seconds = (performance.now() - startedMs) / 1000;
      const { requests, serialRoundTrips, bytes } = link;
      return { seconds, requests, serialRoundTrips, bytes };
    });
  }

  async #mounted<T>(port: number, options: readonly string[], use: () => Promise<T>): Promise<T> {
    const cache = mkdtempSync(join(this.#folder, 'cache-'));
    const source = `http://127.0.0.1:${port}/cvmfs/${NAME}`;
    const key = join(this.#folder, 'config/repositories', NAME, `${NAME}.pub`);
    await finished([launcher, 'mount', source, this.#mountpoint, '--key', key, '--cache', cache, ...options]);
    try {
      return await use();
    } finally {
      await finished([launcher, 'umount', this.#mountpoint]);
      rmSync(cache, { recursive: true });
    }
  }
}

interface Stack {
  readonly bytes: number;
  /** Paths in the order in which the workload reads them. */
  readonly order: readonly string[];
}

/** Most files are small and most bytes are in large ones; a program starts with a few of each package. */
function makeStack(tree: string): Stack {
  const random = seeded(7);
  const sizes = Array.from({ length: PACKAGES * FILES }, () => Math.exp(9 + 2.3 * normal(random)));
  const scale = WANTED_BYTES / sizes.reduce((sum, size) => sum + size, 0);
  const text = compressible(random, 8 * 1024 * 1024);
  const order: string[] = [];
  let bytes = 0;
  for (let p = 0; p < PACKAGES; p++) {
    const paths: string[] = [];
    for (let f = 0; f < FILES; f++) {
      const path = `package-${p}/${['bin', 'lib', 'share/data'][f % 3]}/file-${f}`;
      const size = Math.max(100, Math.round(sizes[p * FILES + f]! * scale));
      mkdirSync(dirname(join(tree, path)), { recursive: true });
      const content = Buffer.alloc(size);
      for (let at = 0; at < size; at += 256 * 1024) {
        const from = Math.floor(random() * (text.length - 256 * 1024));
        text.copy(content, at, from, from + Math.min(256 * 1024, size - at));
      }
      writeFileSync(join(tree, path), content);
      bytes += size;
      paths.push(path);
    }
    writeFileSync(join(tree, `package-${p}/.cvmfscatalog`), '');
    order.push(...shuffled(paths, random));
  }
  return { bytes, order };
}

/** About a third of its size as zlib has it, as programs and libraries are. */
function compressible(random: () => number, length: number): Buffer {
  const words = Array.from({ length: 4000 }, () =>
    Buffer.from(Array.from({ length: 3 + Math.floor(random() * 9) }, () => Math.floor(random() * 256))),
  );
  const text = Buffer.alloc(length);
  for (let at = 0; at < length; ) at += words[Math.floor(random() ** 4 * words.length)]!.copy(text, at);
  return text;
}

function shuffled<T>(values: readonly T[], random: () => number): T[] {
  return values
    .map((value) => ({ value, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ value }) => value);
}

/** mulberry32. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Box and Muller. */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

async function canConnect(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function thimble(args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(launcher, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`thimble ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** The line is in this process: nothing may stop it. */
async function finished([program = '', ...args]: readonly string[]): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk: Buffer) => (stderr += String(chunk)));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0) throw new Error(`${program} ${args.join(' ').slice(0, 300)}: ${stderr}`);
  return stdout;
}
