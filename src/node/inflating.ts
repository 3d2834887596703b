import { constants, createInflate, inflateSync } from 'node:zlib';
import { type Bytes, concatBytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Inflating } from '../core/ports.ts';
import { reusedInflater } from './reused-inflater.ts';

/** Outputs up to this are inflated into one buffer of the right size. */
const ONE_BUFFER_BYTES = 16 * 1024 * 1024;
const MIN_CHUNK_BYTES = 64;

// The reference accepts a stream without its Adler-32 trailer; the content hash has covered every byte before.
const TOLERANT = { finishFlush: constants.Z_SYNC_FLUSH };

export const nodeInflating: Inflating = {
  inflate(data, limitBytes) {
    try {
      return inflateSync(data, {
        ...TOLERANT,
        // zlib refuses a limit of 0, and an empty file is a stream all the same.
        maxOutputLength: Math.max(limitBytes, 1),
        ...(limitBytes <= ONE_BUFFER_BYTES ? { chunkSize: Math.max(limitBytes, MIN_CHUNK_BYTES) } : {}),
      });
    } catch (error) {
      throw translated(error, limitBytes);
    }
  },

  inflateInto(data, into) {
    const inflated = reusedInflater?.inflate(data, into);
    if (inflated !== undefined) return inflated;
    const content = this.inflate(data, into.length);
    into.set(content);
    return content.length;
  },

  createInflater() {
    const stream = createInflate(TOLERANT);
    let output: Bytes[] = [];
    let failure: Error | undefined;
    let wake = () => {};
    stream.on('data', (chunk: Buffer) => output.push(chunk));
    // After an error, write callbacks may never come.
    stream.on('error', (error) => {
      failure = error;
      wake();
    });
    const waitFor = (start: (done: () => void) => void) =>
      new Promise<void>((resolve) => {
        wake = resolve;
        start(resolve);
      });
    const taken = () => {
      if (failure !== undefined) throw translated(failure, undefined);
      const bytes = output.length === 1 ? output[0]! : concatBytes(output);
      output = [];
      return bytes;
    };
    return {
      async push(chunk) {
        await waitFor((done) => stream.write(chunk, () => done()));
        return taken();
      },
      async end() {
        await waitFor((done) => stream.end(done));
        return taken();
      },
      close: () => void stream.destroy(),
    };
  },
};

function translated(error: unknown, limitBytes: number | undefined): ThimbleError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ERR_BUFFER_TOO_LARGE') {
    return new ThimbleError('LIMIT', `Cannot inflate: the content is longer than ${limitBytes} bytes`, {
      cause: error,
    });
  }
  return new ThimbleError('FORMAT', 'Cannot inflate: this is not a zlib stream', { cause: error });
}
