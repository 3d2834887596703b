/** Unpacks the layers of images, of any number of gzip members or zstd frames. */

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import type { LayerCompression } from './oci-image.ts';

/** Throws FORMAT, and what the source throws. */
export async function* unpackLayer(
  source: AsyncIterable<Bytes>,
  compression: LayerCompression,
  digest: string,
): AsyncGenerator<Bytes> {
  try {
    if (compression === 'none') yield* source;
    else yield* compression === 'gzip' ? gunzip(source) : unzstd(source);
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('FORMAT', `Cannot use layer ${digest}: it is not ${compression} to its end`, {
      cause: error,
    });
  }
}

async function* gunzip(source: AsyncIterable<Bytes>): AsyncGenerator<Bytes> {
  const stream = createGunzip();
  const feeding = pipeline(Readable.from(source), stream);
  // Whoever reads the stream gets the failure.
  feeding.catch(() => {});
  try {
    yield* stream;
    await feeding;
  } finally {
    stream.destroy();
  }
}

/** Node's decompressor ends with a frame: the next one is for another. Layers that can be read in parts have many. */
async function* unzstd(source: AsyncIterable<Bytes>): AsyncGenerator<Bytes> {
  const input = source[Symbol.asyncIterator]();
  const next = async (): Promise<Bytes | undefined> => (await input.next()).value;
  let rest = await next();
  while (rest !== undefined) {
    const stream = createZstdDecompress();
    const feed = async () => {
      for (; rest !== undefined; rest = await next()) {
        const before = stream.bytesWritten;
        await written(stream, rest);
        rest = rest.subarray(stream.bytesWritten - before);
        if (rest.length > 0) return;
      }
      stream.end();
    };
    const feeding = feed();
    feeding.catch((error: Error) => stream.destroy(error));
    try {
      yield* stream;
      await feeding;
    } finally {
      stream.destroy();
    }
  }
}

/** Returns when the bytes are unpacked, as far as they are of this frame. */
function written(stream: ReturnType<typeof createZstdDecompress>, bytes: Bytes): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
