/** A mount with passthrough, its cache in memory: whatever the machine has as its disk, files there can be behind others. */

import { closeSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { STATE_FILES, stateFolderOf } from '../../src/mount/state-folder.ts';
import type { MountReport } from '../../src/mount/status-mounts.ts';
import type { PassthroughStatus } from '../../src/node/backed-files.ts';
import { CliRepository } from './cli-repository.ts';
import { randomNumbers } from './random-numbers.ts';
import { memoryScratch } from './scratch.ts';
import { until } from './supervised-mount.ts';
import { thimbleJson } from './thimble.ts';

/** `SINGLE` is one object, `PIECES` many. */
export const SINGLE_BYTES = 60_000;
export const PIECES_BYTES = 1_000_000;
const CHUNKS = ['--chunks', '64k,128k,256k'];
export const PASSTHROUGH = ['--passthrough', '32k'];

export function contentOf(sizeBytes: number, seed = 1): Buffer {
  const random = randomNumbers(seed);
  return Buffer.from(Uint8Array.from({ length: sizeBytes }, () => random(256)));
}

export class PassthroughScene {
  readonly scratch: string;
  readonly mountpoint: string;
  readonly repository: CliRepository;

  private constructor(scratch: string, repository: CliRepository) {
    this.scratch = scratch;
    this.mountpoint = join(scratch, 'mount');
    this.repository = repository;
  }

  /** Publishes `single`, `pieces`, `small` and a program `bash`; mounted with `options`. */
  static async mount(t: TestContext, options: readonly string[] = PASSTHROUGH): Promise<PassthroughScene> {
    const scene = await PassthroughScene.publish(t);
    await scene.repository.mount(scene.mountpoint, options);
    return scene;
  }

  /** Nothing is mounted yet. */
  static async publish(t: TestContext): Promise<PassthroughScene> {
    const scratch = memoryScratch(t);
    const scene = new PassthroughScene(scratch, await CliRepository.create(scratch, CHUNKS));
    mkdirSync(scene.mountpoint);
    mkdirSync(join(scratch, 'source'));
    scene.write('single', contentOf(SINGLE_BYTES));
    scene.write('pieces', contentOf(PIECES_BYTES));
    scene.write('small', Buffer.from('small'));
    writeFileSync(join(scratch, 'source', 'bash'), readFileSync('/bin/bash'), { mode: 0o755 });
    await scene.repository.publish(join(scratch, 'source'));
    return scene;
  }

  /** Into what is published next. */
  write(name: string, content: Uint8Array): void {
    writeFileSync(join(this.scratch, 'source', name), content);
  }

  async publishAgain(): Promise<void> {
    await this.repository.publish(join(this.scratch, 'source'));
    await thimbleJson(['remount', this.mountpoint]);
  }

  path(name: string): string {
    return join(this.mountpoint, name);
  }

  read(name: string): Buffer {
    return readFileSync(this.path(name));
  }

  /** Reads again and again, until the kernel reads by itself. */
  async readUntilBacked(name: string): Promise<void> {
    for (;;) {
      const { backedOpens } = await this.status();
      this.read(name);
      if ((await this.status()).backedOpens > backedOpens) return;
    }
  }

  async report(): Promise<MountReport> {
    for (;;) {
      const report = await thimbleJson<MountReport>(['status', this.mountpoint]);
      // One that has just begun may have no control socket yet.
      if (report.status !== undefined) return report;
    }
  }

  async status(): Promise<PassthroughStatus> {
    return (await this.report()).status!.parts['passthrough'] as unknown as PassthroughStatus;
  }

  /** Requests of one kind so far. */
  async requests(operation: string): Promise<number> {
    return (await this.report()).status!.kernel.operations[operation] ?? 0;
  }

  /** Kills the server, and waits for the next one. */
  async replaceServer(): Promise<void> {
    const file = join(stateFolderOf(this.mountpoint), STATE_FILES.served);
    const before = readFileSync(file, 'latin1');
    process.kill(Number(before), 'SIGKILL');
    await until(() => {
      try {
        return !['', before].includes(readFileSync(file, 'latin1'));
      } catch {
        // There is none at the moment.
        return false;
      }
    });
  }
}

/** A file that stays open, and is read in parts. */
export class OpenedFile {
  readonly #fd: number;

  constructor(t: TestContext, path: string) {
    this.#fd = openSync(path, 'r');
    let isOpen = true;
    this.close = () => {
      if (isOpen) closeSync(this.#fd);
      isOpen = false;
    };
    t.after(this.close);
  }

  readonly close: () => void;

  read(position: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(this.#fd, bytes, 0, length, position));
  }
}
