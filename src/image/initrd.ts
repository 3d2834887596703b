/**
 * Puts an initrd together, out of a snapshot (kernel modules, busybox, file system tools, libraries), the engine, and the
 * guest client. Everything comes from named inputs, in a fixed order, with one time: same inputs, same bytes.
 */

import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { constants, zstdCompressSync } from 'node:zlib';
import { CpioWriter } from '../archive/cpio.ts';
import type { SnapshotReader } from '../client/snapshot-reader.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { encodeUtf8 } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { elfNeeds, isElf } from './elf.ts';
import { DHCP_SCRIPT, INIT_SCRIPT, MODULES_SCRIPT, SHUTDOWN_SCRIPT } from './initrd-scripts.ts';
import { BOOT_MODULES, selectModules, uncompressedName } from './kernel-modules.ts';

/** Programs from the tree: path there, path in the initrd. */
const PROGRAMS: readonly (readonly [string, string])[] = [
  ['/usr/bin/busybox', '/bin/busybox'],
  ['/usr/sbin/mke2fs', '/bin/mke2fs'],
  ['/usr/sbin/e2fsck', '/bin/e2fsck'],
];

/** Directories that are there before anything is mounted on them. */
const OUTER_DIRECTORIES = ['dev', 'initramfs', 'newroot', 'proc', 'sys'];
const INNER_DIRECTORIES = [
  ...[
    'dev',
    'etc/keys',
    'handover',
    'lib/modules',
    'newroot',
    'proc',
    'ro',
    'rw',
    'sys',
    'tmp',
    'var/leases',
  ],
  // At shutdown this is the root: systemd moves its mounts here, and the old root to `oldroot`.
  ...['o', 'oldroot', 'run'],
];

const PREFIX = 'initramfs';
/** Unpacked in a few seconds under emulation, where xz takes twenty. */
const ZSTD_LEVEL = 19;

export interface InitrdInputs {
  readonly snapshot: SnapshotReader;
  readonly kernelVersion: string;
  readonly engine: Bytes;
  readonly guest: Bytes;
  /** Files of the image's own, by path in the chroot: settings and keys. */
  readonly files: ReadonlyMap<string, Bytes>;
  readonly mtimeSeconds: number;
}

export interface Initrd {
  /** Two archives, one behind the other: the engine, which is always the same, and the rest. */
  readonly bytes: Bytes;
  readonly modules: number;
}

/** `compress` may remember what it has compressed before. */
export async function buildInitrd(
  inputs: InitrdInputs,
  compress: (archive: Bytes) => Bytes = compressArchive,
): Promise<Initrd> {
  const libraries = new LibraryCollector(inputs.snapshot);
  await libraries.add(inputs.engine);
  const engine = new CpioWriter(inputs.mtimeSeconds);
  engine.file(`${PREFIX}/bin/node`, inputs.engine, 0o755);

  const archive = new CpioWriter(inputs.mtimeSeconds);
  for (const name of OUTER_DIRECTORIES) archive.directory(name);
  for (const name of INNER_DIRECTORIES) archive.directory(`${PREFIX}/${name}`);
  archive.characterDevice('dev/console', 5, 1);
  archive.file('init', encodeUtf8(INIT_SCRIPT), 0o755);
  archive.file(`${PREFIX}/shutdown`, encodeUtf8(SHUTDOWN_SCRIPT), 0o755);
  archive.file(`${PREFIX}/bin/load-modules`, encodeUtf8(MODULES_SCRIPT), 0o755);
  archive.file(`${PREFIX}/bin/dhcp-script`, encodeUtf8(DHCP_SCRIPT), 0o755);
  archive.file(`${PREFIX}/guest.js`, inputs.guest);
  for (const [path, name] of PROGRAMS) {
    const program = await readProgram(inputs.snapshot, path);
    await libraries.add(program);
    archive.file(PREFIX + name, program, 0o755);
  }
  for (const [path, library] of [...libraries.files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    archive.file(PREFIX + path, library, 0o755);
  }
  for (const [path, content] of [...inputs.files].sort(([a], [b]) => (a < b ? -1 : 1)))
    archive.file(PREFIX + path, content);
  const modules = await addModules(archive, inputs.snapshot, inputs.kernelVersion);
  const parts = [compress(engine.finish()), compress(archive.finish())];
  return { bytes: Buffer.concat(parts), modules };
}

export function compressArchive(archive: Bytes): Bytes {
  // The result is the same for any number of workers but none.
  const workers = Math.max(availableParallelism(), 1);
  return zstdCompressSync(archive, {
    params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL, [constants.ZSTD_c_nbWorkers]: workers },
  });
}

async function readProgram(snapshot: SnapshotReader, path: string): Promise<Bytes> {
  try {
    return await snapshot.readFile(path);
  } catch (error) {
    if (!(error instanceof ThimbleError) || error.code !== 'NOT_FOUND') throw error;
    throw new ThimbleError('NOT_FOUND', `Cannot build image: the snapshot has no ${path}`, {
      hint: 'the tree needs the packages busybox-static and e2fsprogs',
      cause: error,
    });
  }
}

async function addModules(archive: CpioWriter, snapshot: SnapshotReader, version: string): Promise<number> {
  const folder = `/usr/lib/modules/${version}`;
  const dep = await snapshot.readText(`${folder}/modules.dep`);
  const alias = await snapshot.readText(`${folder}/modules.alias`);
  const { paths, dependencies, aliases } = selectModules(dep, alias, BOOT_MODULES);
  const target = `${PREFIX}/lib/modules/${version}`;
  for (const path of paths) {
    // Compressed once, with everything else.
    archive.file(
      `${target}/${uncompressedName(path)}`,
      unpackModule(path, await snapshot.readFile(`${folder}/${path}`)),
    );
  }
  archive.file(`${target}/modules.dep`, encodeUtf8(dependencies));
  archive.file(`${target}/modules.alias`, encodeUtf8(aliases));
  // Modules that are built in are asked for too, and must not count as missing.
  archive.file(`${target}/modules.builtin`, await snapshot.readFile(`${folder}/modules.builtin`));
  return paths.length;
}

/** A kernel module without the compression that its name tells; Node knows no xz. */
export function unpackModule(path: string, content: Bytes): Bytes {
  const program = path.endsWith('.xz')
    ? 'xz'
    : path.endsWith('.zst')
      ? 'zstd'
      : path.endsWith('.gz')
        ? 'gzip'
        : undefined;
  if (program === undefined) return content;
  try {
    return execFileSync(program, ['-dc'], {
      input: content,
      maxBuffer: 64 * 1024 * 1024,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot unpack ${path} with ${program}`, {
      hint: `is ${program} installed?`,
      cause: error,
    });
  }
}

/** The shared libraries of programs, found in a snapshot. */
class LibraryCollector {
  readonly #snapshot: SnapshotReader;
  /** By the path that the loader opens. */
  readonly files = new Map<string, Bytes>();

  constructor(snapshot: SnapshotReader) {
    this.#snapshot = snapshot;
  }

  async add(program: Bytes): Promise<void> {
    if (!isElf(program)) return;
    const { interpreter, libraries } = elfNeeds(program);
    if (interpreter !== undefined) await this.#take(interpreter, [interpreter]);
    for (const name of libraries) {
      // The loader's own search path: `/lib64` of the interpreter, and Debian's folders by architecture.
      await this.#take(
        `/lib/${name}`,
        LIBRARY_FOLDERS.map((folder) => `${folder}/${name}`),
      );
    }
  }

  async #take(target: string, candidates: readonly string[]): Promise<void> {
    if (this.files.has(target)) return;
    for (const path of candidates) {
      if ((await this.#snapshot.find(path)) === undefined) continue;
      const library = await this.#snapshot.readFile(path);
      this.files.set(target, library);
      await this.add(library);
      return;
    }
    throw new ThimbleError('NOT_FOUND', `Cannot build image: the snapshot has no ${candidates[0]}`, {
      hint: 'the tree needs the package libstdc++6',
    });
  }
}

const LIBRARY_FOLDERS = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib', '/usr/lib64'];
