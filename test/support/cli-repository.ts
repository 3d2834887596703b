/**
 * A repository made, published, served and mounted through the command line, as users do, each command a process of its
 * own: for tests of the whole, as slow as that is. For tests of the publisher alone there is `publisher-repository.ts`,
 * for those of clients `client-repository.ts`.
 */

import { join } from 'node:path';
import type { PublishResult } from '../../src/publish/publisher.ts';
import { startThimble, thimble, thimbleJson } from './thimble.ts';

export class CliRepository {
  static readonly FQRN = 'test.example.org';
  readonly #scratch: string;

  private constructor(scratch: string) {
    this.#scratch = scratch;
  }

  /** `options` go to `thimble repo create`. */
  static async create(scratch: string, options: readonly string[] = []): Promise<CliRepository> {
    const repository = new CliRepository(scratch);
    const { FQRN } = CliRepository;
    await repository.json(['repo', 'create', FQRN, '--storage', repository.storage, ...options]);
    return repository;
  }

  get storage(): string {
    return join(this.#scratch, 'cvmfs', CliRepository.FQRN);
  }

  get cache(): string {
    return join(this.#scratch, 'cache');
  }

  get key(): string {
    return join(this.#scratch, 'config', 'repositories', CliRepository.FQRN, `${CliRepository.FQRN}.pub`);
  }

  json<T>(args: readonly string[]): Promise<T> {
    return thimbleJson<T>(['--config', join(this.#scratch, 'config'), ...args]);
  }

  publish(source: string, options: readonly string[] = []): Promise<PublishResult> {
    return this.json<PublishResult>(['publish', CliRepository.FQRN, source, ...options]);
  }

  /** Mounts in the background; whoever calls unmounts, or `scratchFolder` does. */
  async mount(
    folder: string,
    options: readonly string[] = [],
    source = this.storage,
  ): Promise<{ pid: number }> {
    return this.json<{ pid: number }>([
      'mount',
      source,
      folder,
      '--key',
      this.key,
      '--cache',
      this.cache,
      ...options,
    ]);
  }

  /** Serves it on a free port until `stop` is called. */
  async serve(): Promise<{
    readonly url: string;
    readonly pid: number;
    stop(signal?: NodeJS.Signals): Promise<void>;
  }> {
    const child = startThimble(['serve', this.storage, '--host', '127.0.0.1', '--port', '0', '--quiet']);
    const address = await new Promise<string>((resolve, reject) => {
      let text = '';
      const look = (part: Buffer) => {
        text += part.toString();
        const found = /http:\/\/127\.0\.0\.1:\d+/.exec(text);
        if (found !== null) resolve(found[0]);
      };
      child.stdout!.on('data', look);
      child.stderr!.on('data', look);
      child.once('exit', () => reject(new Error(`serve ended: ${text}`)));
    });
    const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill(signal);
      await ended;
    };
    return { url: `${address}/cvmfs/${CliRepository.FQRN}`, pid: child.pid!, stop };
  }

  async unmount(folder: string): Promise<void> {
    const { status, stderr } = await thimble(['umount', folder]);
    if (status !== 0) throw new Error(stderr);
  }
}
