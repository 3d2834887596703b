/** Writes a tree out in one of the formats, whole or not at all. */

import { createWriteStream } from 'node:fs';
import { chmod } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { type Loss, Losses } from './losses.ts';
import { newFile, newFolder } from './new-output.ts';
import { writeFolder } from './write-folder.ts';
import { writeErofs, writeSquashfs } from './write-image.ts';
import { type OciImage, writeOci } from './write-oci.ts';
import { tarOf } from './write-tar.ts';

export const EXPORT_FORMATS = ['dir', 'tar', 'oci', 'squashfs', 'erofs'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export interface ExportProgress {
  readonly entries: number;
  /** Content of files, each counted once. */
  readonly bytes: number;
}

export interface ExportTreeOptions {
  readonly format: ExportFormat;
  /** A path, or for tar a stream. */
  readonly output: string | Writable;
  readonly fqrn: string;
  readonly rootHash: string;
  /** What is exported of the snapshot. */
  readonly path: string;
  /** Name of the OCI image. */
  readonly ref?: string | undefined;
  /** `os/arch` or `os/arch/variant` of the OCI image; that of this machine where it is missing. */
  readonly platform?: string | undefined;
  readonly onProgress?: (progress: ExportProgress) => void;
}

export interface ExportReport extends ExportProgress, Partial<OciImage> {
  readonly losses: readonly Loss[];
}

const NEW_FOLDER_MODE = 0o777;
/** As OCI names the architectures of Node. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64', ia32: '386' };

/** Throws USAGE, CONFLICT, FORMAT, STORAGE, NOT_FOUND, UNSUPPORTED, and what the tree throws. */
export async function exportTree(tree: Tree, options: ExportTreeOptions): Promise<ExportReport> {
  const losses = new Losses();
  const progress = { entries: 0, bytes: 0 };
  const watched = watch(tree, progress, options.onProgress ?? (() => {}));
  const image = await writeFormat(watched, options, losses);
  return { ...progress, ...image, losses: losses.list() };
}

async function writeFormat(
  tree: Tree,
  options: ExportTreeOptions,
  losses: Losses,
): Promise<OciImage | undefined> {
  const { format, output, rootHash, path } = options;
  if (typeof output !== 'string') {
    await pipeline(tarOf(tree, losses), output, { end: false });
    return undefined;
  }
  switch (format) {
    case 'dir':
      await newFolder(output, (folder) => writeFolder(tree, folder, losses));
      return undefined;
    case 'tar':
      await newFile(output, (file) => writeArchive(tree, file, losses));
      return undefined;
    case 'oci':
      return newFolder(output, async (folder) => {
        const image = await writeOci(tree, folder, ociOptions(options), losses);
        await chmod(folder, NEW_FOLDER_MODE & ~process.umask());
        return image;
      });
    case 'squashfs':
      await newFile(output, (file) => writeSquashfs(tree, file, losses));
      return undefined;
    case 'erofs':
      await newFile(output, (file, scratch) =>
        writeErofs(tree, file, scratch, `${rootHash} ${path}`, losses),
      );
      return undefined;
  }
}

async function writeArchive(tree: Tree, file: string, losses: Losses): Promise<void> {
  try {
    await pipeline(tarOf(tree, losses), createWriteStream(file, { flags: 'wx' }));
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('STORAGE', 'Cannot write the archive', { cause: error });
  }
}

/** Throws USAGE. */
function ociOptions({ fqrn, rootHash, ref, platform }: ExportTreeOptions): Parameters<typeof writeOci>[2] {
  const given = platform ?? `linux/${ARCHITECTURES[process.arch] ?? process.arch}`;
  const [os = '', architecture = '', variant, ...more] = given.split('/');
  if (os === '' || architecture === '' || variant === '' || more.length > 0) {
    throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(given)} as a platform`, {
      hint: 'platforms look like linux/amd64 or linux/arm/v7',
    });
  }
  return {
    // The grammar of names in a layout allows these, and colons would be taken for something else.
    ref: ref !== undefined && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(ref) ? ref : 'latest',
    os,
    architecture,
    variant,
    annotations: { 'org.opencontainers.image.title': fqrn, 'org.opencontainers.image.revision': rootHash },
  };
}

/** The same tree, with a count of what has passed. */
function watch(
  tree: Tree,
  progress: { entries: number; bytes: number },
  onProgress: (progress: ExportProgress) => void,
): Tree {
  const counted = async function* (chunks: AsyncIterable<Bytes>): AsyncGenerator<Bytes> {
    for await (const bytes of chunks) {
      progress.bytes += bytes.length;
      onProgress(progress);
      yield bytes;
    }
  };
  const watched = (entry: TreeEntry): TreeEntry =>
    entry.content?.kind === 'stream'
      ? { ...entry, content: { ...entry.content, chunks: counted(entry.content.chunks) } }
      : entry;
  return {
    name: tree.name,
    async *entries() {
      for await (const entry of tree.entries()) {
        progress.entries++;
        onProgress(progress);
        yield watched(entry);
      }
    },
  };
}
