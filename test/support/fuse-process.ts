/**
 * A mounted snapshot whose process a test can talk to and replace: the test holds the FUSE descriptor, as a supervisor
 * does, and children serve it one after the other.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { mountFuse } from '../../src/node/fuse-mount.ts';
import type { FuseServer, FuseServerOptions, FuseStatus } from '../../src/node/fuse-server.ts';

export interface FuseProcessOptions {
  /** Address or folder of the repository. */
  readonly server: string;
  readonly rootHash: string;
  /** In memory if `undefined`. */
  readonly cacheFolder?: string;
  readonly deadlineMs?: number;
  readonly fuse?: Partial<FuseServerOptions>;
}

type Method = {
  [K in keyof FuseServer]: FuseServer[K] extends (...args: never[]) => unknown ? K : never;
}[keyof FuseServer];

export interface FuseCommand {
  readonly id: number;
  readonly method: Method;
  /** Bytes as `{ latin1 }`. */
  readonly args: readonly unknown[];
}

/** A mount point whose descriptor is held until the end of the test. */
export function holdMount(t: TestContext, mountpoint: string): number {
  const fd = mountFuse({ mountpoint, name: 'test' });
  t.after(() => {
    spawnSync('umount', ['-l', mountpoint]);
    closeSync(fd);
  });
  return fd;
}

export class FuseProcess {
  readonly #child: ChildProcess;
  #lastId = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Resolves when the process serves. */
  static async start(t: TestContext, fd: number, options: FuseProcessOptions): Promise<FuseProcess> {
    const file = new URL('./fuse-child.ts', import.meta.url).pathname;
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', file, JSON.stringify(options)],
      { stdio: ['ignore', 'inherit', 'inherit', fd, 'ipc'] },
    );
    t.after(() => child.kill('SIGKILL'));
    await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => Promise.reject(new Error('The process that serves has ended'))),
    ]);
    return new FuseProcess(child);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Calls a method of the `FuseServer` there. */
  async call<T>(method: Method, ...args: readonly unknown[]): Promise<T> {
    const id = ++this.#lastId;
    const answered = new Promise<T>((resolve, reject) => {
      const onMessage = (message: { id: number; result?: T; error?: string }) => {
        if (message.id !== id) return;
        this.#child.off('message', onMessage);
        if (message.error === undefined) resolve(message.result as T);
        else reject(new Error(message.error));
      };
      this.#child.on('message', onMessage);
    });
    this.#child.send({ id, method, args } satisfies FuseCommand);
    return answered;
  }

  status(): Promise<FuseStatus> {
    return this.call<FuseStatus>('status');
  }

  async kill(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
