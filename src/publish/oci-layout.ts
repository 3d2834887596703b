/**
 * OCI image layouts (OCI image specification 1.1, image-layout.md), in a folder or in a tar archive of one: blobs by digest,
 * each verified against its descriptor before anything in it is believed.
 */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { readTar } from '../archive/tar.ts';
import { type Bytes, concatBytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import { absolutePath } from './tar-tree.ts';

/** Manifests, indexes and configurations; registries allow 4 MiB. */
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;

export const descriptorSchema = z.object({
  mediaType: z.string(),
  digest: z.string(),
  size: z.int().min(0),
  platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() }).optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});
export type Descriptor = z.infer<typeof descriptorSchema>;

const layoutSchema = z.object({ imageLayoutVersion: z.literal('1.0.0') });

interface Place {
  readonly file: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

type Locate = (name: string) => Promise<Place | undefined>;

export class OciLayout {
  /** For messages. */
  readonly name: string;
  readonly #locate: Locate;

  private constructor(name: string, locate: Locate) {
    this.name = name;
    this.#locate = locate;
  }

  /** Throws NOT_FOUND, FORMAT, STORAGE. */
  static async open(path: string): Promise<OciLayout> {
    const stats = await stat(path).catch((error: unknown) => {
      throw new ThimbleError('NOT_FOUND', `Cannot read ${path}`, { cause: error });
    });
    const layout = new OciLayout(path, stats.isDirectory() ? inFolder(path) : await inArchive(path));
    await layout.readFile('oci-layout', layoutSchema);
    return layout;
  }

  /** A document of the layout itself: `index.json`, `oci-layout`. Throws NOT_FOUND, FORMAT, LIMIT. */
  async readFile<T>(name: string, schema: z.ZodType<T>): Promise<T> {
    const place = await this.#place(name);
    return parseJson(await this.#whole(name, place), schema, `${name} of ${this.name}`);
  }

  /** A verified document. Throws NOT_FOUND, INTEGRITY, FORMAT, LIMIT, UNSUPPORTED. */
  async readDocument<T>(descriptor: Descriptor, schema: z.ZodType<T>): Promise<T> {
    const place = await this.#blob(descriptor);
    const bytes = await this.#whole(descriptor.digest, place);
    verifyDigest(createHash(algorithmOf(descriptor)).update(bytes).digest('hex'), descriptor);
    return parseJson(bytes, schema, `${descriptor.digest} of ${this.name}`);
  }

  /** Reads a blob to its end. Throws NOT_FOUND, INTEGRITY, UNSUPPORTED, STORAGE. */
  async verifyBlob(descriptor: Descriptor): Promise<void> {
    const hash = createHash(algorithmOf(descriptor));
    for await (const bytes of this.#read(await this.#blob(descriptor))) hash.update(bytes);
    verifyDigest(hash.digest('hex'), descriptor);
  }

  /** The bytes of a blob, as they are. Throws NOT_FOUND, INTEGRITY, STORAGE. */
  async *readBlob(descriptor: Descriptor): AsyncGenerator<Bytes> {
    yield* this.#read(await this.#blob(descriptor));
  }

  async #blob(descriptor: Descriptor): Promise<Place> {
    const algorithm = algorithmOf(descriptor);
    const place = await this.#place(`blobs/${algorithm}/${descriptor.digest.slice(algorithm.length + 1)}`);
    if (place.sizeBytes === descriptor.size) return place;
    throw new ThimbleError(
      'INTEGRITY',
      `Cannot use ${descriptor.digest} of ${this.name}: it has ${place.sizeBytes} bytes, ${descriptor.size} expected`,
    );
  }

  async #place(name: string): Promise<Place> {
    const place = await this.#locate(name);
    if (place !== undefined) return place;
    throw new ThimbleError('NOT_FOUND', `Cannot find ${name} in ${this.name}`, {
      hint: 'an OCI image layout has oci-layout, index.json and blobs; skopeo copies images into one: skopeo copy docker://IMAGE oci:FOLDER:TAG',
    });
  }

  async #whole(name: string, place: Place): Promise<Bytes> {
    if (place.sizeBytes > MAX_DOCUMENT_BYTES) {
      throw new ThimbleError('LIMIT', `Cannot use ${name} of ${this.name}: it has ${place.sizeBytes} bytes`);
    }
    const parts: Bytes[] = [];
    for await (const bytes of this.#read(place)) parts.push(bytes);
    return concatBytes(parts);
  }

  async *#read({ file, offset, sizeBytes }: Place): AsyncGenerator<Bytes> {
    if (sizeBytes === 0) return;
    const end = offset + sizeBytes - 1;
    yield* readHostFile(file, { start: offset, end });
  }
}

function inFolder(folder: string): Locate {
  return async (name) => {
    const file = join(folder, name);
    const stats = await stat(file).catch(() => undefined);
    return stats?.isFile() ? { file, offset: 0, sizeBytes: stats.size } : undefined;
  };
}

/** Where the files of an archive are, found by reading it once. */
async function inArchive(archive: string): Promise<Locate> {
  const places = new Map<string, Place>();
  for await (const entry of readTar(readHostFile(archive, {}))) {
    if (entry.type !== 'file') continue;
    const { contentOffset: offset, sizeBytes } = entry;
    places.set(absolutePath(entry.path).slice(1), { file: archive, offset, sizeBytes });
  }
  return async (name) => places.get(name);
}

async function* readHostFile(path: string, range: { start?: number; end?: number }): AsyncGenerator<Bytes> {
  const stream = createReadStream(path, { highWaterMark: READ_BYTES, ...range });
  try {
    yield* stream;
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot read ${path}`, { cause: error });
  } finally {
    stream.destroy();
  }
}

/** Throws UNSUPPORTED. */
function algorithmOf({ digest }: Descriptor): 'sha256' | 'sha512' {
  if (/^sha256:[0-9a-f]{64}$/.test(digest)) return 'sha256';
  if (/^sha512:[0-9a-f]{128}$/.test(digest)) return 'sha512';
  throw new ThimbleError(
    'UNSUPPORTED',
    `Cannot use blob ${JSON.stringify(digest)}: it is named by no known hash`,
  );
}

function verifyDigest(actual: string, { digest }: Descriptor): void {
  if (digest.endsWith(`:${actual}`)) return;
  throw new ThimbleError('INTEGRITY', `Cannot use blob ${digest}: its content hashes to ${actual}`);
}

function parseJson<T>(bytes: Bytes, schema: z.ZodType<T>, what: string): T {
  try {
    return schema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error).replaceAll('\n', ' ') : undefined;
    throw new ThimbleError('FORMAT', `Cannot read ${what}${why === undefined ? '' : `: ${why}`}`, {
      ...(why === undefined ? { cause: error } : {}),
    });
  }
}
