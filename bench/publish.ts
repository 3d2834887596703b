/**
 * Publishing. About 30,000 files and 600 MB, copied from this machine's /usr. Then a tree of 100,000 files, 400 MB and 50
 * nested catalogs: the first time, unchanged, and with one file changed, in the folder and in a transaction.
 */

import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ChildFigures, measureChild } from './measure-child.ts';
import type { Bar, Figures } from './report.ts';

export const bars: Readonly<Record<string, Bar>> = {
  publishSeconds: { atMost: 10 },
  peakMemoryMB: { atMost: 400 },
  manyPublishSeconds: { atMost: 20 },
  manyPeakMemoryMB: { atMost: 400 },
  manyUnchangedSeconds: { atMost: 3 },
  manyOneChangedSeconds: { atMost: 0.6 },
};

const WANTED_FILES = 30_000;
const WANTED_BYTES = 600e6;
const SOURCES = ['/usr/bin', '/usr/share', '/usr/lib', '/usr/include', '/usr/sbin', '/usr/local'];

const launcher = new URL('../thimble', import.meta.url).pathname;

const NAME = 'bench.example.org';

export async function run(): Promise<Figures> {
  return { ...(await publishUsr()), ...(await publishMany()) };
}

async function publishUsr(): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-bench-'));
  try {
    const copied = copyTree(join(folder, 'usr'));
    const { publish, storage } = createRepository(folder);
    // Read once, so that the first figure is not that of the disk.
    spawnSync('sh', ['-c', `tar -C ${join(folder, 'usr')} -cf - . | cat > /dev/null`]);
    const first = await measured([...publish, join(folder, 'usr')]);
    const stored = Number(spawnSync('du', ['-sb', storage], { encoding: 'utf8' }).stdout.split('\t')[0]);
    return {
      files: copied.files,
      megabytes: copied.bytes / 1e6,
      publishSeconds: first.seconds,
      cpuSeconds: first.cpuSeconds,
      peakMemoryMB: first.peakBytes / 1e6,
      storedMB: stored / 1e6,
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function createRepository(folder: string): { readonly publish: readonly string[]; readonly storage: string } {
  const config = join(folder, 'config');
  const storage = join(folder, NAME);
  thimble(['--config', config, 'repo', 'create', NAME, '--storage', storage]);
  return { publish: ['--config', config, '--json', 'publish', NAME], storage };
}

const PACKAGES = 50;
const DIRECTORIES = 20;
const FILES = 100;
const ROUNDS = 5;

async function publishMany(): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-bench-'));
  const mountpoint = join(folder, 'mnt');
  try {
    const tree = join(folder, 'tree');
    const megabytes = makeMany(tree) / 1e6;
    const { publish } = createRepository(folder);
    const first = await measured([...publish, tree]);
    const unchanged: Measured[] = [];
    const changed: Measured[] = [];
    for (let round = 0; round < ROUNDS; round++) unchanged.push(await measured([...publish, tree]));
    for (let round = 0; round < ROUNDS; round++) {
      appendFileSync(join(tree, 'package-07/directory-03/file-05'), 'x');
      changed.push(await measured([...publish, tree]));
    }
    return {
      manyFiles: PACKAGES * DIRECTORIES * FILES,
      manyMegabytes: megabytes,
      manyPublishSeconds: first.seconds,
      manyCpuSeconds: first.cpuSeconds,
      manyPeakMemoryMB: first.peakBytes / 1e6,
      manyUnchangedSeconds: median(unchanged),
      manyOneChangedInFolderSeconds: median(changed),
      ...(await publishTransactions(publish.slice(0, 2), mountpoint)),
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** One file changed in a transaction, from the command to the signed manifest. */
async function publishTransactions(
  config: readonly string[],
  mountpoint: string,
): Promise<Record<'manyOneChangedSeconds', number>> {
  const changed: Measured[] = [];
  // In memory: the file system of this folder may itself be an overlay, which cannot be the upper of another.
  const scratch = mkdtempSync('/dev/shm/thimble-bench-');
  try {
    for (let round = 0; round < ROUNDS; round++) {
      thimble([...config, 'transaction', NAME, '--at', mountpoint, '--scratch', scratch]);
      appendFileSync(join(mountpoint, 'package-07/directory-03/file-05'), 'x');
      changed.push(await measured([...config, '--json', 'publish', NAME]));
    }
  } finally {
    spawnSync(launcher, [...config, 'abort', NAME, '--force']);
    rmSync(scratch, { recursive: true });
  }
  return { manyOneChangedSeconds: median(changed) };
}

function median(rounds: readonly Measured[]): number {
  return rounds.map(({ seconds }) => seconds).sort((a, b) => a - b)[Math.floor(rounds.length / 2)]!;
}

/** Each package has a catalog; one file in a hundred is large, and no two are the same. Returns their bytes. */
function makeMany(tree: string): number {
  const text = noiseText(1024 * 1024);
  let bytes = 0;
  for (let p = 0; p < PACKAGES; p++) {
    const folder = join(tree, `package-${String(p).padStart(2, '0')}`);
    for (let d = 0; d < DIRECTORIES; d++) {
      const directory = join(folder, `directory-${String(d).padStart(2, '0')}`);
      mkdirSync(directory, { recursive: true });
      for (let f = 0; f < FILES; f++) {
        const start = (bytes * 7) % (text.length / 2);
        const content = `${p} ${d} ${f} ${text.slice(start, start + (f === 0 ? 100_000 : 3030))}`;
        writeFileSync(join(directory, `file-${String(f).padStart(2, '0')}`), content);
        bytes += content.length;
      }
    }
    writeFileSync(join(folder, '.cvmfscatalog'), '');
  }
  return bytes;
}

/** Compresses to three quarters, the same in each run. */
function noiseText(length: number): string {
  let state = 1;
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    bytes[i] = 0x20 + ((state >> 16) & 0x3f);
  }
  return bytes.toString('latin1');
}

/** Whole directories until there are enough files, then large ones that were left out until there are enough bytes. */
function copyTree(target: string): { files: number; bytes: number } {
  let files = 0;
  let bytes = 0;
  const large: { source: string; target: string; size: number }[] = [];
  const copy = (from: string, to: string) => {
    mkdirSync(to, { recursive: true });
    for (const entry of readdirSync(from, { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      if (files >= WANTED_FILES) return;
      const source = join(from, entry.name);
      if (entry.isDirectory()) copy(source, join(to, entry.name));
      else if (entry.isFile() || entry.isSymbolicLink()) {
        const { size } = lstatSync(source);
        // Large ones only as long as the average stays near what it should be.
        const allowed = Math.min(WANTED_BYTES, 100e6 + files * (WANTED_BYTES / WANTED_FILES));
        if (bytes + size > allowed) {
          large.push({ source, target: join(to, entry.name), size });
          continue;
        }
        if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), join(to, entry.name));
        else copyFileSync(source, join(to, entry.name));
        files++;
        bytes += size;
      }
    }
  };
  for (const source of SOURCES) copy(source, join(target, source.slice(5)));
  for (const one of large) {
    if (bytes + one.size > WANTED_BYTES) continue;
    copyFileSync(one.source, one.target);
    files++;
    bytes += one.size;
  }
  return { files, bytes };
}

function thimble(args: readonly string[]): void {
  const result = spawnSync(launcher, args, { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(result.stderr);
}

interface Measured extends ChildFigures {
  readonly newObjects: number;
}

async function measured(args: readonly string[]): Promise<Measured> {
  const { output, ...figures } = await measureChild(launcher, args);
  return { ...figures, newObjects: (JSON.parse(output) as { newObjects: number }).newObjects };
}
