/**
 * Writes a tree as an OCI image layout (OCI image specification 1.1, image-layout.md): one layer, a configuration without a
 * command, a manifest, an index. Same tree and platform, same digests.
 */

import { createHash, type Hash } from 'node:crypto';
import { createWriteStream, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { baseName } from '../core/path-key.ts';
import type { Tree } from '../core/tree.ts';
import type { Losses } from './losses.ts';
import { tarOf } from './write-tar.ts';

const GZIP_LEVEL = 6;
/** The last second that a date of RFC 3339 can name. */
const LAST_SECOND = 253_402_300_799;

export interface OciOptions {
  /** Name of the image within the layout. */
  readonly ref: string;
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface OciImage {
  /** Of the manifest. */
  readonly digest: string;
  readonly layerBytes: number;
}

interface Blob {
  readonly digest: string;
  readonly size: number;
}

/** Fills `folder`, which exists and is empty. Throws UNSUPPORTED, FORMAT, STORAGE, and what the tree throws. */
export async function writeOci(
  tree: Tree,
  folder: string,
  options: OciOptions,
  losses: Losses,
): Promise<OciImage> {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  const { os, architecture, variant, annotations, ref } = options;
  const { blob: layer, diffId, newestSeconds } = await writeLayer(tree, folder, losses);
  const created = new Date(Math.min(newestSeconds, LAST_SECOND) * 1000).toISOString().replace('.000', '');
  const config = writeJson(folder, {
    created,
    architecture,
    os,
    ...(variant === undefined ? {} : { variant }),
    config: {},
    rootfs: { type: 'layers', diff_ids: [diffId] },
    history: [{ created, created_by: 'thimble export' }],
  });
  const manifest = writeJson(folder, {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', ...layer }],
    annotations,
  });
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [
      {
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        ...manifest,
        platform: { architecture, os, ...(variant === undefined ? {} : { variant }) },
        annotations: { 'org.opencontainers.image.ref.name': ref },
      },
    ],
  };
  writeFileSync(join(folder, 'index.json'), JSON.stringify(index));
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  return { digest: manifest.digest, layerBytes: layer.size };
}

async function writeLayer(
  tree: Tree,
  folder: string,
  losses: Losses,
): Promise<{ blob: Blob; diffId: string; newestSeconds: number }> {
  const temporary = join(folder, 'layer');
  const plain = createHash('sha256');
  const packed = createHash('sha256');
  let size = 0;
  let newestSeconds = 0;
  const checked: Tree = {
    name: tree.name,
    async *entries() {
      for await (const entry of tree.entries()) {
        // Who unpacks the layer would remove files instead.
        if (baseName(entry.path).startsWith('.wh.')) {
          throw new ThimbleError(
            'UNSUPPORTED',
            `Cannot write ${displayBytes(entry.path)} to an OCI image: names with .wh. at their start mean removed files there`,
          );
        }
        newestSeconds = Math.max(newestSeconds, entry.mtimeSeconds);
        yield entry;
      }
    },
  };
  await pipeline(
    hashed(tarOf(checked, losses), plain, () => {}),
    createGzip({ level: GZIP_LEVEL }),
    (source: AsyncIterable<Bytes>) => hashed(source, packed, (count) => void (size += count)),
    createWriteStream(temporary, { flags: 'wx' }),
  ).catch((error: unknown) => {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('STORAGE', 'Cannot write the layer of an OCI image', { cause: error });
  });
  const digest = digestOf(packed);
  renameSync(temporary, blobPath(folder, digest));
  return { blob: { digest, size }, diffId: digestOf(plain), newestSeconds };
}

async function* hashed(
  source: AsyncIterable<Bytes>,
  hash: Hash,
  count: (bytes: number) => void,
): AsyncGenerator<Bytes> {
  for await (const bytes of source) {
    hash.update(bytes);
    count(bytes.length);
    yield bytes;
  }
}

function writeJson(folder: string, value: unknown): Blob {
  const text = JSON.stringify(value);
  const digest = digestOf(createHash('sha256').update(text));
  writeFileSync(blobPath(folder, digest), text);
  return { digest, size: Buffer.byteLength(text) };
}

function digestOf(hash: Hash): string {
  return `sha256:${hash.digest('hex')}`;
}

function blobPath(folder: string, digest: string): string {
  return join(folder, 'blobs', digest.replace(':', '/'));
}
