/**
 * A mount of a repository whose server a test can spoil, and readers of it: each a process of its own, since whoever tests
 * must not wait for the mount.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { PublishedRepository } from './client-repository.ts';
import { scratchFolder } from './scratch.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** A thread may wait for a disk now and then. */
const STUCK_MS = 10_000;

export interface Reading {
  readonly content: Buffer;
  /** What the reader was told; empty if all went well. */
  readonly error: string;
  readonly ms: number;
}

export interface FaultMountOptions {
  readonly deadlineSeconds?: number;
  /** A new one where this is missing. */
  readonly cache?: string;
  readonly args?: readonly string[];
  /** Before the command, for instance to run it in another network. */
  readonly prefix?: readonly string[];
}

export class FaultMount {
  readonly scratch: string;
  readonly mountpoint: string;
  readonly cache: string;
  readonly #pids: number[] = [];

  private constructor(scratch: string, cache = join(scratch, 'cache')) {
    this.scratch = scratch;
    this.mountpoint = join(scratch, 'mount');
    this.cache = cache;
  }

  static async create(
    t: TestContext,
    { publicKey }: Pick<PublishedRepository, 'publicKey'>,
    url: string,
    options: FaultMountOptions = {},
  ): Promise<FaultMount> {
    // Its processes end with the mount, and that is before its folder goes.
    t.after(() => mount.unmount().catch(() => {}));
    const mount = new FaultMount(scratchFolder(t), options.cache);
    mkdirSync(mount.mountpoint);
    writeFileSync(mount.#key, publicKey);
    await mount.mount(url, options);
    return mount;
  }

  get #key(): string {
    return join(this.scratch, 'key.pub');
  }

  get #environment(): NodeJS.ProcessEnv {
    return { ...process.env, NODE_OPTIONS: '', THIMBLE_STATE: join(this.scratch, 'state') };
  }

  /** Processes of the mount: the one that serves it, and its supervisor. */
  get pids(): readonly number[] {
    return this.#pids;
  }

  get log(): string {
    return readFileSync(join(this.scratch, 'mount.log'), 'utf8');
  }

  async mount(
    url: string,
    { deadlineSeconds = 1, args = [], prefix = [] }: Omit<FaultMountOptions, 'cache'> = {},
  ): Promise<void> {
    const where = ['mount', url, this.mountpoint, '--key', this.#key, '--cache', this.cache];
    const how = ['--deadline', String(deadlineSeconds), '--log', join(this.scratch, 'mount.log'), ...args];
    const { content, error } = await this.run([
      ...prefix,
      process.execPath,
      MAIN,
      ...where,
      ...how,
      '--json',
    ]);
    assert.equal(error, '');
    const { pid, serverPid } = JSON.parse(content.toString()) as { pid: number; serverPid?: number };
    this.#pids.push(pid, ...(serverPid === undefined ? [] : [serverPid]));
  }

  async unmount(): Promise<void> {
    const { error } = await this.run([process.execPath, MAIN, 'umount', this.mountpoint]);
    assert.equal(error, '');
  }

  /** What `thimble status DIR --json` says. */
  async status(): Promise<string> {
    const { content, error } = await this.run([process.execPath, MAIN, 'status', this.mountpoint, '--json']);
    assert.equal(error, '');
    return content.toString();
  }

  /** Reads a file to its end. */
  read(path: string): Promise<Reading> {
    return this.run(['cat', join(this.mountpoint, path)]);
  }

  /** Reads until somebody kills it with SIGKILL; answers how long that took. */
  async readAndKill(path: string, afterMs: number): Promise<number> {
    const reader = spawn('cat', [join(this.mountpoint, path)], { stdio: 'ignore' });
    const ended = new Promise((resolve) => reader.once('exit', (_, signal) => resolve(signal)));
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    const startedMs = performance.now();
    reader.kill('SIGKILL');
    assert.equal(await ended, 'SIGKILL', 'it was still waiting when it was killed');
    return performance.now() - startedMs;
  }

  /** No thread of the mount's processes stays in uninterruptible sleep, and nobody of those below this test. */
  async assertNobodyIsStuck(): Promise<void> {
    const untilMs = performance.now() + STUCK_MS;
    let stuck = this.#inUninterruptibleSleep();
    while (stuck.length > 0 && performance.now() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      const now = this.#inUninterruptibleSleep();
      stuck = stuck.filter((one) => now.includes(one));
    }
    assert.deepEqual(stuck, [], 'threads in state D');
  }

  #inUninterruptibleSleep(): string[] {
    return [...this.#pids, ...childrenOf(process.pid)].flatMap((pid) => threadsIn('D', pid));
  }

  /** What a program prints, and what it complains of. */
  async run([program = '', ...args]: readonly string[]): Promise<Reading> {
    const startedMs = performance.now();
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: this.#environment,
    });
    const parts: Buffer[] = [];
    let error = '';
    child.stdout.on('data', (part: Buffer) => void parts.push(part));
    child.stderr.on('data', (part: Buffer) => {
      error += part.toString();
    });
    const status = await new Promise((resolve) => child.once('close', resolve));
    if (status !== 0 && error === '') error = `${program} ended with ${status}`;
    return {
      content: Buffer.concat(parts),
      error: status === 0 ? '' : error,
      ms: performance.now() - startedMs,
    };
  }
}

/** Threads of a process that are in a state, with what they wait for; none of a process that has ended. */
export function threadsIn(state: string, pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
      const folder = `/proc/${pid}/task/${thread}`;
      const stat = readFileSync(`${folder}/stat`, 'latin1');
      const end = stat.lastIndexOf(')');
      const waitsFor = readFileSync(`${folder}/wchan`, 'latin1');
      return stat.slice(end + 2).startsWith(state) ? [`${stat.slice(0, end + 1)} ${waitsFor}`] : [];
    });
  } catch {
    return [];
  }
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number);
}
