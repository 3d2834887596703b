/** A supervised mount of the soak's tree: what serves it, what that takes, and how it is killed. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { STATE_FILES } from '../src/mount/state-folder.ts';
import { peakMemoryBytes } from './report.ts';

export interface Sample {
  readonly ms: number;
  readonly pid: number;
  readonly residentBytes: number;
  /** Without pages of files, such as the program itself, that the system can drop. */
  readonly ownBytes: number;
  readonly descriptors: number;
}

const launcher = new URL('../thimble', import.meta.url).pathname;
const LOOK_MS = 5;

export class MountUnderTest {
  readonly mountpoint: string;
  readonly #folder: string;
  readonly #environment: NodeJS.ProcessEnv;

  /** Everything of it is below `folder`; the registry of repositories is `config` there. */
  constructor(folder: string) {
    this.#folder = folder;
    this.mountpoint = join(folder, 'mnt');
    mkdirSync(this.mountpoint, { recursive: true });
    this.#environment = {
      ...process.env,
      THIMBLE_STATE: join(folder, 'state'),
      THIMBLE_DATA: join(folder, 'data'),
    };
  }

  /** Runs a command of Thimble; answers with its output. */
  async thimble(args: readonly string[]): Promise<string> {
    return run(launcher, ['--config', join(this.#folder, 'config'), ...args], this.#environment);
  }

  mount(source: string, options: readonly string[] = []): Promise<string> {
    return this.thimble(['mount', source, this.mountpoint, ...options]);
  }

  async unmount(): Promise<void> {
    await this.thimble(['umount', this.mountpoint]);
  }

  /** Lists everything once, with all attributes; answers how many entries there are. */
  async list(): Promise<number> {
    // Without TZ, `find -ls` asks for /etc/localtime with every file.
    const environment = { ...process.env, TZ: 'UTC0' };
    return Number(await run('sh', ['-c', `find '${this.mountpoint}' -ls | wc -l`], environment));
  }

  /** The process that answers the kernel; 0 between two. */
  serverPid(): number {
    try {
      const root = join(this.#folder, 'state');
      return Number(readFileSync(join(root, readdirSync(root)[0]!, STATE_FILES.served), 'latin1'));
    } catch {
      return 0;
    }
  }

  sample(): Sample {
    const pid = this.serverPid();
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const bytes = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
    return {
      ms: performance.now(),
      pid,
      residentBytes: bytes('VmRSS'),
      ownBytes: bytes('RssAnon'),
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
    };
  }

  peakBytes(): number {
    return peakMemoryBytes(this.serverPid());
  }

  /** Kills the server; answers after how many milliseconds the next one answers the kernel. Throws if none does. */
  async killServer(): Promise<number> {
    const pid = this.serverPid();
    const startedMs = performance.now();
    process.kill(pid, 'SIGKILL');
    while (this.serverPid() === pid || this.serverPid() === 0) {
      if (performance.now() - startedMs > 60_000) throw new Error('no server has taken over');
      await sleep(LOOK_MS);
    }
    return performance.now() - startedMs;
  }
}

/** The output of a program; other work of this process goes on. Throws if it fails. */
async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += String(chunk)));
  child.stderr.on('data', (chunk: Buffer) => (errors += String(chunk)));
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${status}: ${errors}`);
  return output;
}
