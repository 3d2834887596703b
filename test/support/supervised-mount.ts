/** A mount with a supervisor, whose server can be killed, and readers that check what they get. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { STATE_FILES, stateFolderOf } from '../../src/mount/state-folder.ts';
import { CliRepository } from './cli-repository.ts';
import { memoryScratch, mountsBelow } from './scratch.ts';

const READER = fileURLToPath(new URL('./parallel-reader.ts', import.meta.url));
const LOOK_MS = 5;

/** What file `i` holds. */
export const contentOf = (i: number): string => `this is the content of file ${i}\n`.repeat(1 + (i % 300));
export const pathOf = (i: number): string => `folder-${Math.floor(i / 100)}/file-${i}`;

export interface ReaderResult {
  readonly read: number;
  readonly wrong: number;
  readonly errors: readonly string[];
}

export class SupervisedMount {
  readonly scratch: string;
  readonly mountpoint: string;
  readonly repository: CliRepository;
  readonly files: number;

  private constructor(scratch: string, repository: CliRepository, files: number) {
    this.scratch = scratch;
    this.mountpoint = join(scratch, 'mount');
    this.repository = repository;
    this.files = files;
  }

  /** Publishes `files` files; folders 3 and 5 are catalogs of their own. Nothing is mounted yet. */
  static async create(t: TestContext, files: number): Promise<SupervisedMount> {
    const scratch = memoryScratch(t);
    const repository = await CliRepository.create(scratch);
    const scene = new SupervisedMount(scratch, repository, files);
    const source = join(scratch, 'source');
    mkdirSync(scene.mountpoint);
    for (let i = 0; i < files; i++) {
      if (i % 100 === 0) mkdirSync(join(source, `folder-${i / 100}`), { recursive: true });
      writeFileSync(join(source, pathOf(i)), contentOf(i));
    }
    for (const folder of [3, 5]) {
      if (files > 100 * folder) writeFileSync(join(source, `folder-${folder}`, '.cvmfscatalog'), '');
    }
    await repository.publish(source);
    t.after(() => scene.#end());
    return scene;
  }

  get stateFolder(): string {
    return stateFolderOf(this.mountpoint);
  }

  get log(): string {
    return readFileSync(join(this.repository.cache, 'thimble.log'), 'utf8');
  }

  /** The process that serves it; 0 while there is none. */
  get serverPid(): number {
    const file = join(this.stateFolder, STATE_FILES.served);
    return existsSync(file) ? Number(readFileSync(file, 'latin1')) : 0;
  }

  /** Kills the server, and waits for the next one. */
  async replaceServer(): Promise<void> {
    const before = this.serverPid;
    process.kill(before, 'SIGKILL');
    await until(() => ![0, before].includes(this.serverPid));
  }

  /** Reads files `from` to `to`, `parallel` at the same time, each in a thread that blocks. */
  startReader(
    from: number,
    to: number,
    parallel: number,
  ): { child: ChildProcess; result: Promise<ReaderResult> } {
    const args = [READER, this.mountpoint, String(from), String(to)];
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_OPTIONS: '', UV_THREADPOOL_SIZE: String(parallel) },
    });
    const result = new Promise<ReaderResult>((resolve, reject) => {
      let output = '';
      child.stdout!.on('data', (chunk: Buffer) => {
        output += String(chunk);
      });
      child.once('close', (status) => {
        if (status === 0) resolve(JSON.parse(output) as ReaderResult);
        else reject(new Error(`the reader ended with ${status}`));
      });
    });
    return { child, result };
  }

  #end(): void {
    for (const mountpoint of mountsBelow(this.scratch)) spawnSync('umount', ['-l', mountpoint]);
  }
}

/** Waits for something that another process does; the runner's time limit ends it. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
}
