/** OCI image layouts as tests want them, also wrong ones. */

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type TarMember, writeTar } from '../../src/archive/tar-writer.ts';
import type { ByteString } from '../../src/core/bytes/byte-string.ts';

/** What is not given is usual: `root` owns it, the time is one, files have the content. */
export type MemberValues = Partial<Omit<TarMember, 'path' | 'link' | 'content'>> & {
  readonly link?: string;
  readonly content?: string;
};

/** An entry of a layer: a directory if the path ends with a slash, a symlink or hard link by `type`, else a file. */
export function member(path: string, { content = '', link = '', ...values }: MemberValues = {}): TarMember {
  const isDirectory = path.endsWith('/');
  const bytes = Buffer.from(content);
  return {
    path: path.replace(/\/+$/, '') as ByteString,
    type: isDirectory ? 'directory' : 'file',
    mode: isDirectory ? 0o755 : 0o644,
    ...{
      uid: 0,
      gid: 0,
      sizeBytes: bytes.length,
      mtimeSeconds: 1_700_000_000,
      mtimeNs: 0,
      major: 0,
      minor: 0,
    },
    xattrs: new Map(),
    link: link as ByteString,
    content: {
      async *[Symbol.asyncIterator]() {
        yield bytes;
      },
    },
    ...values,
  };
}

export async function layerOf(members: readonly TarMember[]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  const source = async function* () {
    yield* members;
  };
  for await (const part of writeTar(source())) parts.push(part);
  return Buffer.concat(parts);
}

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly [more: string]: unknown;
}

export const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const INDEX = 'application/vnd.oci.image.index.v1+json';
export const LAYER = 'application/vnd.oci.image.layer.v1.tar';
const CONFIG = 'application/vnd.oci.image.config.v1+json';

export interface ImageValues {
  /** Media types of the layers; how they are packed follows from the end of it. */
  readonly layerType?: string;
  readonly manifestType?: string;
  readonly configType?: string;
  readonly architecture?: string;
  readonly variant?: string | undefined;
  /** In place of what they are. */
  readonly diffIds?: readonly string[];
}

/** A layout being made in a folder. */
export class LayoutBuilder {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
    writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  }

  blob(mediaType: string, bytes: Uint8Array): Descriptor {
    const hex = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(this.pathOf(`sha256:${hex}`), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  }

  json(mediaType: string, value: unknown): Descriptor {
    return this.blob(mediaType, Buffer.from(JSON.stringify(value)));
  }

  /** The manifest of an image with these archives as layers. */
  image(layers: readonly Uint8Array[], values: ImageValues = {}): Descriptor {
    const { layerType = `${LAYER}+gzip`, manifestType = MANIFEST, configType = CONFIG } = values;
    const { architecture = 'amd64' } = values;
    const diffIds = layers.map((layer) => `sha256:${createHash('sha256').update(layer).digest('hex')}`);
    const config = {
      architecture,
      variant: values.variant,
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: values.diffIds ?? diffIds },
    };
    return this.json(manifestType, {
      schemaVersion: 2,
      mediaType: manifestType,
      config: this.json(configType, config),
      layers: layers.map((layer) => this.blob(layerType, packed(layer, layerType))),
    });
  }

  index(manifests: readonly Descriptor[]): this {
    writeFileSync(join(this.folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
    return this;
  }

  pathOf(digest: string): string {
    return join(this.folder, 'blobs', digest.replace(':', '/'));
  }
}

function packed(layer: Uint8Array, mediaType: string): Uint8Array {
  if (mediaType.endsWith('gzip')) return gzipSync(layer);
  return mediaType.endsWith('zstd') ? zstdCompressSync(layer) : layer;
}

/** The name of an image in its layout. */
export function named(descriptor: Descriptor, name: string): Descriptor {
  return { ...descriptor, annotations: { 'org.opencontainers.image.ref.name': name } };
}

export function forPlatform(descriptor: Descriptor, architecture: string, variant?: string): Descriptor {
  return {
    ...descriptor,
    platform: { os: 'linux', architecture, ...(variant === undefined ? {} : { variant }) },
  };
}
