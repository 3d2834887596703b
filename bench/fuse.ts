/**
 * The FUSE server alone: a tree of 100,000 files whose catalogs and contents are at hand, so that nothing is measured but
 * the way from the kernel to the catalog and back. `find -ls`, opening, and one large file from front to back.
 */

import { spawn, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { publisherPorts } from '../src/cli/publisher-ports.ts';
import type { ByteString } from '../src/core/bytes/byte-string.ts';
import { parseFqrn } from '../src/core/fqrn.ts';
import type { Tree, TreeEntry } from '../src/core/tree.ts';
import { S_IFDIR, S_IFREG } from '../src/core/vfs.ts';
import { createRepository } from '../src/publish/create-repository.ts';
import { loadKeys } from '../src/publish/keys.ts';
import { Publisher } from '../src/publish/publisher.ts';
import { defaultSettings, RepositoryRegistry } from '../src/publish/repository-settings.ts';
import type { Bar, Figures } from './report.ts';

export const bars: Readonly<Record<string, Bar>> = {
  findColdSeconds: { atMost: 0.6 },
  findWarmSeconds: { atMost: 0.35 },
  sequentialReadMBps: { atLeast: 2000 },
};

const DIRECTORIES = 1000;
const FILES_PER_DIRECTORY = 100;
const LARGE_BYTES = 1024 * 1024 * 1024;
const ROUNDS = 5;

const FQRN = parseFqrn('bench.example.org');

/** 100,000 small files of the same content, and one large one. */
class BenchTree implements Tree {
  readonly name = 'bench';
  readonly #file: string;
  readonly #large: string;

  constructor(file: string, large: string) {
    this.#file = file;
    this.#large = large;
  }

  async *entries(): AsyncGenerator<TreeEntry> {
    yield this.#entry('', S_IFDIR | 0o755, undefined, 0);
    yield this.#entry('/large', S_IFREG | 0o644, this.#large, LARGE_BYTES);
    for (let d = 0; d < DIRECTORIES; d++) {
      const directory = `/directory-${String(d).padStart(4, '0')}`;
      yield this.#entry(directory, S_IFDIR | 0o755, undefined, 0);
      for (let f = 0; f < FILES_PER_DIRECTORY; f++) {
        yield this.#entry(
          `${directory}/file-${String(f).padStart(4, '0')}.txt`,
          S_IFREG | 0o644,
          this.#file,
          10_000,
        );
      }
    }
  }

  #entry(path: string, mode: number, file: string | undefined, sizeBytes: number): TreeEntry {
    return {
      path: path as ByteString,
      mode,
      uid: 0,
      gid: 0,
      mtimeSeconds: 1_700_000_000,
      mtimeNs: 0,
      symlink: '' as ByteString,
      rdev: 0,
      xattrs: new Map(),
      linkKey: undefined,
      content: file === undefined ? undefined : { kind: 'file', hostPath: file as ByteString, sizeBytes },
    };
  }
}

export async function run(): Promise<Figures> {
  // In memory, so that no disk is measured.
  const folder = mkdtempSync('/dev/shm/thimble-bench-');
  const mountpoint = join(folder, 'mnt');
  mkdirSync(mountpoint);
  let server: Awaited<ReturnType<typeof mount>> | undefined;
  try {
    const native = measureNative(folder);
    await publishTree(folder);
    const find: number[] = [];
    const findWarm: number[] = [];
    const read: number[] = [];
    const openCold: number[] = [];
    const openWarm: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      server = await mount(folder, mountpoint);
      find.push(seconds('find', [mountpoint, '-ls']));
      findWarm.push(seconds('find', [mountpoint, '-ls']));
      openCold.push(seconds('sh', ['-c', `cat ${mountpoint}/directory-00[0-9]*/* > /dev/null`]));
      openWarm.push(seconds('sh', ['-c', `cat ${mountpoint}/directory-00[0-9]*/* > /dev/null`]));
      // The first reading fetches the chunks, the second finds them in the kernel: the third is the one to measure.
      seconds('dd', [`if=${mountpoint}/large`, 'of=/dev/null', 'bs=1M', 'status=none']);
      await server.unmount();
      server = await mount(folder, mountpoint);
      read.push(
        LARGE_BYTES / 1e6 / seconds('dd', [`if=${mountpoint}/large`, 'of=/dev/null', 'bs=1M', 'status=none']),
      );
      await server.unmount();
      server = undefined;
    }
    return {
      files: DIRECTORIES * FILES_PER_DIRECTORY,
      findColdSeconds: median(find),
      findWarmSeconds: median(findWarm),
      open10000ColdSeconds: median(openCold),
      open10000WarmSeconds: median(openWarm),
      sequentialReadMBps: median(read),
      ...native,
    };
  } finally {
    await server?.unmount();
    rmSync(folder, { recursive: true });
  }
}

/** The same two on the kernel's own file system in memory: what this machine can do at best, for scale. */
function measureNative(folder: string): { nativeFindSeconds: number; nativeReadMBps: number } {
  const tree = join(folder, 'native');
  for (let d = 0; d < DIRECTORIES; d++) {
    const directory = join(tree, `directory-${d}`);
    mkdirSync(directory, { recursive: true });
    for (let f = 0; f < FILES_PER_DIRECTORY; f++) writeFileSync(join(directory, `file-${f}.txt`), '');
  }
  const large = join(tree, 'large');
  for (let i = 0; i < 64; i++) writeFileSync(large, Buffer.alloc(LARGE_BYTES / 64, i), { flag: 'a' });
  const rounds = Array.from({ length: ROUNDS }, () => ({
    find: seconds('find', [tree, '-ls']),
    read: seconds('dd', [`if=${large}`, 'of=/dev/null', 'bs=1M', 'status=none']),
  }));
  rmSync(tree, { recursive: true });
  return {
    nativeFindSeconds: median(rounds.map(({ find }) => find)),
    nativeReadMBps: LARGE_BYTES / 1e6 / median(rounds.map(({ read }) => read)),
  };
}

async function publishTree(folder: string): Promise<void> {
  const registry = new RepositoryRegistry(join(folder, 'config'));
  const settings = {
    ...defaultSettings(FQRN, join(folder, FQRN)),
    catalogs: { maxEntries: 200_000, minEntries: 1000 },
  };
  await createRepository(registry, settings, publisherPorts);
  const content = Buffer.alloc(LARGE_BYTES / 64);
  randomFillSync(content);
  const large = join(folder, 'large');
  // Incompressible, and of few different chunks.
  for (let i = 0; i < 64; i++) writeFileSync(large, content, { flag: 'a' });
  writeFileSync(join(folder, 'small'), Buffer.alloc(10_000, 'x'));
  const keys = loadKeys(registry.folderOf(FQRN), FQRN);
  const publisher = new Publisher({ settings, keys, folder: registry.folderOf(FQRN) }, publisherPorts);
  await publisher.publish(new BenchTree(join(folder, 'small'), large));
  rmSync(large);
}

async function mount(folder: string, mountpoint: string): Promise<{ unmount(): Promise<void> }> {
  const main = new URL('../src/cli/main.ts', import.meta.url).pathname;
  const child = spawn(
    process.execPath,
    [
      main,
      '--config',
      join(folder, 'config'),
      'mount',
      FQRN,
      mountpoint,
      '--cache',
      join(folder, 'cache'),
      '--foreground',
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  await once(child.stdout, 'data');
  return {
    unmount: async () => {
      spawnSync('umount', [mountpoint]);
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

function seconds(program: string, args: readonly string[]): number {
  const startedMs = performance.now();
  // Without TZ, `find -ls` asks for /etc/localtime with every file, which is half of its time and none of ours.
  const env = { ...process.env, TZ: 'UTC0' };
  const result = spawnSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'], env });
  if (result.status !== 0) throw new Error(`${program} ended with status ${result.status}`);
  return (performance.now() - startedMs) / 1000;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
