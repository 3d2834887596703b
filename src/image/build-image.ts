/** From a snapshot to a boot image. */

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import { SnapshotReader } from '../client/snapshot-reader.ts';
import { type Bytes, concatBytes } from '../core/bytes/byte-string.ts';
import { encodeUtf8 } from '../core/bytes/utf8.ts';
import { bundleGuest } from './guest-bundle.ts';
import { buildInitrd, compressArchive } from './initrd.ts';
import { writeIso } from './iso.ts';
import { newestKernel } from './kernel-modules.ts';
import { guestRuntime } from './runtime.ts';

export interface ImageOptions {
  readonly fqrn: string;
  /** As the machine reaches them. */
  readonly servers: readonly string[];
  readonly proxies: readonly string[];
  /** What the machine boots; the newest snapshot unless something is given. */
  readonly tag?: string | undefined;
  readonly rootHash?: string | undefined;
  /** The profile that the machine streams while it boots. */
  readonly profile?: string | undefined;
  /** The machine refuses older states of the repository. */
  readonly minimumRevision?: number | undefined;
  /** PEM of the repository's public keys. */
  readonly keys: readonly Bytes[];
  /** Certificates and revisions that the machine refuses. */
  readonly blacklists?: readonly Bytes[];
  readonly output: string;
  /** Compressed engines are kept here: the same one goes into every image, and takes most of the time. */
  readonly cacheFolder?: string | undefined;
  readonly onProgress?: (what: string) => void;
}

export interface ImageParts {
  readonly kernelVersion: string;
  readonly kernelBytes: number;
  readonly initrdBytes: number;
  readonly modules: number;
  readonly engine: string;
}

/**
 * The last `console` is where the boot speaks: a serial line that every hypervisor has. `systemd.ssh_auto` keeps systemd
 * 256 and later from complaining about machines without vsock.
 */
const COMMAND_LINE = 'console=tty0 console=ttyS0,115200 systemd.ssh_auto=no';

/** Builds an ISO out of the kernel and the programs of a snapshot. Throws NOT_FOUND, STORAGE. */
export async function buildIso(mounted: MountedSnapshot, options: ImageOptions): Promise<ImageParts> {
  const say = options.onProgress ?? (() => {});
  const snapshot = new SnapshotReader(mounted);
  say('reading the kernel');
  const kernelVersion = newestKernel(await snapshot.list('/boot'));
  const kernel = await snapshot.readFile(`/boot/vmlinuz-${kernelVersion}`);
  const runtime = guestRuntime();
  // No clock: the image is as old as the tree it was made from.
  const { mtimeSeconds } = snapshot.root.attributes;
  say('packing the initrd');
  const initrd = await buildInitrd(
    {
      snapshot,
      kernelVersion,
      engine: runtime.binary,
      guest: await bundleGuest(),
      files: settingsFiles(options),
      mtimeSeconds,
    },
    (archive) => compressOnce(archive, options.cacheFolder),
  );
  say('writing the image');
  writeIso(
    { kernel, initrd: initrd.bytes, title: options.fqrn, commandLine: COMMAND_LINE, mtimeSeconds },
    options.output,
  );
  return {
    kernelVersion,
    kernelBytes: kernel.length,
    initrdBytes: initrd.bytes.length,
    modules: initrd.modules,
    engine: runtime.name,
  };
}

function settingsFiles({
  fqrn,
  servers,
  proxies,
  tag,
  rootHash,
  profile,
  minimumRevision,
  keys,
  blacklists = [],
}: ImageOptions): Map<string, Bytes> {
  const settings = { fqrn, servers, proxies, tag, rootHash, profile, minimumRevision };
  const files = new Map([['/etc/thimble.json', encodeUtf8(`${JSON.stringify(settings, undefined, 2)}\n`)]]);
  for (const [index, key] of keys.entries()) files.set(`/etc/keys/${index + 1}.pub`, key);
  if (blacklists.length > 0) {
    const end = encodeUtf8('\n');
    files.set('/etc/blacklist', concatBytes(blacklists.flatMap((list) => [list, end])));
  }
  return files;
}

/** Compresses, or takes what the same archive was compressed to before. */
function compressOnce(archive: Bytes, cacheFolder: string | undefined): Bytes {
  if (cacheFolder === undefined) return compressArchive(archive);
  const path = join(cacheFolder, `${createHash('sha256').update(archive).digest('hex')}.zst`);
  try {
    return readFileSync(path);
  } catch {
    const compressed = compressArchive(archive);
    mkdirSync(cacheFolder, { recursive: true });
    writeFileSync(`${path}.${process.pid}`, compressed);
    renameSync(`${path}.${process.pid}`, path);
    return compressed;
  }
}
