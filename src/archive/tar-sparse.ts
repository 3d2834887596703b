/**
 * Sparse files in tar archives, as GNU tar writes them (its manual, "Sparse Formats"): the stored bytes are the pieces that
 * are no holes, one after the other, and a map says where they belong.
 *
 * Old GNU, type `S`: header[386] has 4 pairs offset[12] length[12], then more[1] realsize[12]; while `more` is set, another
 * block of 21 pairs follows, its own `more` at 504. A pair without a length ends the map.
 * PAX 0.0 and 0.1: records GNU.sparse.size and GNU.sparse.map, `offset,length,offset,length...`; 0.1 has GNU.sparse.name too.
 * PAX 1.0: records GNU.sparse.major, minor, name and realsize; the content begins with the map, decimal numbers that end
 * with a newline, the count of pairs first, padded to whole blocks.
 */

import { type ByteString, type Bytes, byteStringOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { BLOCK, damaged, decodeUnsigned, type PaxRecords } from './tar-fields.ts';

/** The map is held in memory. */
export const MAX_SPARSE_PIECES = 1024 * 1024;
/** The largest file of ext4. A few bytes of archive become this many. */
export const MAX_SPARSE_BYTES = 16 * 1024 ** 4;

const PAIR = 24;
const HEADER_PAIRS_AT = 386;
const HEADER_PAIRS = 4;
const HEADER_MORE_AT = 482;
const REAL_SIZE_AT = 483;
const MORE_PAIRS = 21;
const ZEROS = new Uint8Array(64 * 1024);

export interface SparseMap {
  /** With holes. */
  readonly sizeBytes: number;
  /** Offset and length of each piece in turn. */
  readonly pairs: readonly number[];
}

type NextBlock = () => Promise<Bytes>;

/** True if the records belong to a sparse file. */
export function isSparse(records: PaxRecords): boolean {
  return records.has('GNU.sparse.major') || records.has('GNU.sparse.map') || records.has('GNU.sparse.size');
}

/** The map that begins in a header of type `S`; `next` reads the block behind. Throws FORMAT, LIMIT. */
export async function readOldSparseMap(header: Bytes, next: NextBlock): Promise<SparseMap> {
  const pairs: number[] = [];
  const collect = (block: Bytes, at: number, count: number) => {
    for (let end = at + count * PAIR; at < end && block[at + 12] !== 0; at += PAIR) {
      if (pairs.length >= 2 * MAX_SPARSE_PIECES) throw tooManyPieces();
      pairs.push(decodeUnsigned(block, at, 12, 'offset'), decodeUnsigned(block, at + 12, 12, 'length'));
    }
  };
  collect(header, HEADER_PAIRS_AT, HEADER_PAIRS);
  let hasMore = header[HEADER_MORE_AT] !== 0;
  while (hasMore) {
    const block = await next();
    collect(block, 0, MORE_PAIRS);
    hasMore = block[MORE_PAIRS * PAIR] !== 0;
  }
  return { sizeBytes: decodeUnsigned(header, REAL_SIZE_AT, 12, 'real size'), pairs };
}

/** The map that PAX records say or announce; `next` reads a block of the content. Throws FORMAT, LIMIT, UNSUPPORTED. */
export async function readPaxSparseMap(records: PaxRecords, next: NextBlock): Promise<SparseMap> {
  const version = `${records.get('GNU.sparse.major') ?? 0}.${records.get('GNU.sparse.minor') ?? 0}`;
  switch (version) {
    case '0.0':
    case '0.1': {
      const numbers = records.get('GNU.sparse.map')?.split(',') ?? [];
      if (numbers.length > 2 * MAX_SPARSE_PIECES) throw tooManyPieces();
      const count = records.get('GNU.sparse.numblocks');
      if (count !== undefined && 2 * decimal(count) !== numbers.length) {
        throw damaged(`a sparse map has ${numbers.length} numbers for ${count} pieces`);
      }
      return { sizeBytes: decimal(records.get('GNU.sparse.size') ?? ''), pairs: numbers.map(decimal) };
    }
    case '1.0':
      return {
        sizeBytes: decimal(records.get('GNU.sparse.realsize') ?? ''),
        pairs: await readMapOfContent(next),
      };
    default:
      throw new ThimbleError(
        'UNSUPPORTED',
        `Cannot read tar archive: sparse format ${displayBytes(version)} is not known`,
      );
  }
}

async function readMapOfContent(next: NextBlock): Promise<number[]> {
  let text = '';
  const number = async () => {
    for (;;) {
      const end = text.indexOf('\n');
      if (end >= 0) {
        const value = decimal(text.slice(0, end));
        text = text.slice(end + 1);
        return value;
      }
      if (text.length > BLOCK) throw damaged('a sparse map is malformed');
      text += byteStringOf(await next());
    }
  };
  const count = await number();
  if (count > MAX_SPARSE_PIECES) throw tooManyPieces();
  const pairs: number[] = [];
  while (pairs.length < 2 * count) pairs.push(await number());
  return pairs;
}

/** Pieces ascend, do not overlap, end within the file, and are as long as what is stored. Throws FORMAT, LIMIT. */
export function verifySparseMap(
  { sizeBytes, pairs }: SparseMap,
  storedBytes: number,
  path: ByteString,
): void {
  const complain = (why: string) => damaged(`the map of sparse file ${displayBytes(path)} ${why}`);
  if (sizeBytes > MAX_SPARSE_BYTES) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot read tar archive: sparse file ${displayBytes(path)} has ${sizeBytes} bytes`,
    );
  }
  if (pairs.length % 2 !== 0) throw complain('ends within a pair');
  let end = 0;
  let stored = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    const [offset = 0, length = 0] = [pairs[i], pairs[i + 1]];
    if (offset < end) throw complain(`goes back to ${offset}`);
    end = offset + length;
    stored += length;
    if (end > sizeBytes) throw complain(`reaches ${end}, the file ends at ${sizeBytes}`);
  }
  if (stored !== storedBytes) throw complain(`has ${stored} bytes, ${storedBytes} are stored`);
}

/** The whole file from its stored bytes; the map has been verified. What comes out is not to be changed. */
export async function* fillHoles(
  stored: AsyncIterable<Bytes>,
  { sizeBytes, pairs }: SparseMap,
): AsyncGenerator<Bytes> {
  let position = 0;
  let index = 0;
  let used = 0;
  for await (const bytes of stored) {
    for (let at = 0; at < bytes.length; ) {
      while (used === pairs[index + 1]!) {
        index += 2;
        used = 0;
      }
      yield* zeros(pairs[index]! + used - position);
      const part = bytes.subarray(at, at + pairs[index + 1]! - used);
      yield part;
      at += part.length;
      used += part.length;
      position = pairs[index]! + used;
    }
  }
  yield* zeros(sizeBytes - position);
}

function* zeros(count: number): Generator<Bytes> {
  for (let left = count; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, left);
}

function decimal(text: string): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw damaged(`${JSON.stringify(text)} in a sparse map is not a number`);
  return value;
}

function tooManyPieces(): ThimbleError {
  return new ThimbleError(
    'LIMIT',
    `Cannot read tar archive: a sparse file has more than ${MAX_SPARSE_PIECES} pieces`,
  );
}
