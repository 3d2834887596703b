/**
 * Reads tar archives: ustar, GNU (long names, base-256 numbers) and PAX (POSIX.1-2001, with the xattr keywords of GNU tar
 * and libarchive). Big numbers, names and attributes come out as bytes and exact numbers, sparse files whole; unknown entry
 * types are refused.
 *
 * Header, 512 bytes: name[100] mode[8] uid[8] gid[8] size[12] mtime[12] checksum[8] type[1] link[100] magic[6] version[2]
 * uname[32] gname[32] major[8] minor[8] prefix[155] pad[12].
 */

import {
  type ByteString,
  type Bytes,
  byteStringOf,
  bytesOf,
  concatBytes,
} from '../core/bytes/byte-string.ts';
import { decodeBase64 } from '../core/bytes/hex.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import {
  BLOCK,
  checksumOf,
  cutAtNul,
  damaged,
  decodeNumber,
  decodePax,
  decodeUnsigned,
  type PaxRecords,
  padded,
  parsePaxTime,
} from './tar-fields.ts';
import {
  fillHoles,
  isSparse,
  readOldSparseMap,
  readPaxSparseMap,
  type SparseMap,
  verifySparseMap,
} from './tar-sparse.ts';

/** Extended headers and long names are held in memory. */
const MAX_EXTENSION_BYTES = 16 * 1024 * 1024;

export type TarType = 'file' | 'hardlink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

export interface TarEntry {
  /** As in the archive, without trailing slashes. */
  readonly path: ByteString;
  readonly type: TarType;
  /** Permission bits, without the file type. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly mtimeNs: number;
  /** Target of a symlink or hard link. */
  readonly link: ByteString;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: ReadonlyMap<ByteString, Bytes>;
  /** Where the stored content begins in the archive. */
  readonly contentOffset: number;
  /** Content of a file. What is not read is skipped. */
  readonly content: AsyncIterable<Bytes>;
}

/** Entries in archive order. Throws FORMAT, LIMIT, UNSUPPORTED. */
export async function* readTar(source: AsyncIterable<Bytes>): AsyncGenerator<TarEntry> {
  const input = new BlockInput(source);
  let globals = new Map<string, ByteString>();
  let extensions = new Map<string, ByteString>();
  for (;;) {
    const block = await input.take(BLOCK);
    if (block === undefined) throw damaged('it ends without its end marker');
    if (block.every((byte) => byte === 0)) return;
    const header = decodeHeader(block);
    switch (header.type) {
      case 'x':
        extensions = new Map([...extensions, ...decodePax(await readExtension(input, header.size))]);
        continue;
      case 'g':
        globals = new Map([...globals, ...decodePax(await readExtension(input, header.size))]);
        continue;
      case 'L':
        extensions.set('path', cutAtNul(byteStringOf(await readExtension(input, header.size))));
        continue;
      case 'K':
        extensions.set('linkpath', cutAtNul(byteStringOf(await readExtension(input, header.size))));
        continue;
    }
    const records = new Map([...globals, ...extensions]);
    extensions = new Map();
    const entry = mergeEntry(header, records);
    const oldMap = header.type === 'S' ? await readOldSparseMap(block, () => input.block()) : undefined;
    const body = new BodyReader(input, entry.type === 'file' ? entry.sizeBytes : 0);
    const map =
      oldMap ?? (isSparse(records) ? await readPaxSparseMap(records, () => body.block()) : undefined);
    const placed = { ...entry, contentOffset: input.position };
    yield map === undefined ? { ...placed, content: body } : sparseEntry(placed, records, map, body);
    await body.finish();
  }
}

function sparseEntry(
  entry: Omit<TarEntry, 'content'>,
  records: PaxRecords,
  map: SparseMap,
  body: BodyReader,
): TarEntry {
  const path = records.get('GNU.sparse.name') ?? entry.path;
  if (entry.type !== 'file') throw damaged(`${displayBytes(path)} is sparse and a ${entry.type}`);
  verifySparseMap(map, body.left, path);
  return { ...entry, path, sizeBytes: map.sizeBytes, content: fillHoles(body, map) };
}

interface Header {
  readonly path: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly type: string;
  readonly link: ByteString;
  readonly major: number;
  readonly minor: number;
}

function decodeHeader(block: Bytes): Header {
  if (checksumOf(block) !== decodeNumber(block, 148, 8, 'checksum')) {
    throw damaged('a header does not match its checksum');
  }
  const text = (at: number, length: number) => cutAtNul(byteStringOf(block, at, at + length));
  // The prefix belongs to ustar; GNU archives keep other things there.
  const isUstar = byteStringOf(block, 257, 263) === 'ustar\0';
  const prefix = isUstar ? text(345, 155) : '';
  const name = text(0, 100);
  return {
    path: (prefix === '' ? name : `${prefix}/${name}`) as ByteString,
    mode: decodeUnsigned(block, 100, 8, 'mode'),
    uid: decodeUnsigned(block, 108, 8, 'uid'),
    gid: decodeUnsigned(block, 116, 8, 'gid'),
    size: decodeUnsigned(block, 124, 12, 'size'),
    mtime: decodeNumber(block, 136, 12, 'mtime'),
    type: String.fromCharCode(block[156]!),
    link: text(157, 100),
    major: decodeUnsigned(block, 329, 8, 'major'),
    minor: decodeUnsigned(block, 337, 8, 'minor'),
  };
}

const TYPES: Readonly<Record<string, TarType>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  // Sparse, in the old GNU format.
  S: 'file',
};

function mergeEntry(header: Header, pax: PaxRecords): Omit<TarEntry, 'content' | 'contentOffset'> {
  const path = pax.get('path') ?? header.path;
  const bare = path.replace(/\/+$/, '') as ByteString;
  // Before POSIX.1-1988, a trailing slash made a file a directory.
  const type = header.type === '\0' && bare !== path ? 'directory' : TYPES[header.type];
  if (type === undefined) {
    throw new ThimbleError(
      'UNSUPPORTED',
      `Cannot read tar entry ${path}: type ${JSON.stringify(header.type)} is not known`,
    );
  }
  const mtime = pax.get('mtime');
  const [mtimeSeconds, mtimeNs] = mtime === undefined ? [header.mtime, 0] : parsePaxTime(mtime);
  return {
    path: bare,
    type,
    mode: header.mode & 0o7777,
    uid: paxNumber(pax, 'uid') ?? header.uid,
    gid: paxNumber(pax, 'gid') ?? header.gid,
    sizeBytes: paxNumber(pax, 'size') ?? header.size,
    mtimeSeconds,
    mtimeNs,
    link: pax.get('linkpath') ?? header.link,
    major: header.major,
    minor: header.minor,
    xattrs: paxXattrs(pax),
  };
}

function paxNumber(pax: PaxRecords, key: string): number | undefined {
  const text = pax.get(key);
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw damaged(`${key} ${JSON.stringify(text)} is not a number`);
  return value;
}

function paxXattrs(pax: PaxRecords): Map<ByteString, Bytes> {
  const xattrs = new Map<ByteString, Bytes>();
  for (const [key, value] of pax) {
    if (key.startsWith('LIBARCHIVE.xattr.')) {
      xattrs.set(percentDecoded(key.slice('LIBARCHIVE.xattr.'.length)), decodeBase64(value));
    }
  }
  // GNU tar and star write raw values; where both are given these are exact.
  for (const [key, value] of pax) {
    if (key.startsWith('SCHILY.xattr.')) {
      // GNU tar writes `=` and `%` of names as these two; star writes names as they are.
      const name = key
        .slice('SCHILY.xattr.'.length)
        .replace(/%(?:3D|25)/g, (code) => (code === '%3D' ? '=' : '%'));
      xattrs.set(name as ByteString, bytesOf(value));
    }
  }
  return xattrs;
}

function percentDecoded(text: string): ByteString {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  ) as ByteString;
}

async function readExtension(input: BlockInput, size: number): Promise<Bytes> {
  if (size > MAX_EXTENSION_BYTES) {
    throw new ThimbleError('LIMIT', `Cannot read tar archive: an extended header has ${size} bytes`);
  }
  const bytes = await input.take(padded(size));
  if (bytes === undefined) throw damaged('it ends within an extended header');
  return bytes.subarray(0, size);
}

/** The bytes of one entry. */
class BodyReader implements AsyncIterable<Bytes> {
  readonly #input: BlockInput;
  #left: number;
  #padding: number;

  constructor(input: BlockInput, size: number) {
    this.#input = input;
    this.#left = size;
    this.#padding = padded(size) - size;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Bytes> {
    while (this.#left > 0) {
      const piece = await this.#input.some(this.#left);
      if (piece === undefined) throw damaged('it ends within a file');
      this.#left -= piece.length;
      yield piece;
    }
  }

  /** Bytes that are still to come. */
  get left(): number {
    return this.#left;
  }

  /** A whole block of the content. */
  async block(): Promise<Bytes> {
    if (this.#left < BLOCK) throw damaged('a sparse map is longer than its file');
    this.#left -= BLOCK;
    return this.#input.block();
  }

  /** Skips what was not read. */
  async finish(): Promise<void> {
    let skip = this.#left + this.#padding;
    this.#left = 0;
    this.#padding = 0;
    while (skip > 0) {
      const piece = await this.#input.some(skip);
      if (piece === undefined) throw damaged('it ends within a file');
      skip -= piece.length;
    }
  }
}

/** Takes exact amounts from a stream of pieces of any size. */
class BlockInput {
  readonly #source: AsyncIterator<Bytes>;
  /** Bytes taken so far. */
  position = 0;
  #piece: Bytes = new Uint8Array(0);
  #at = 0;

  constructor(source: AsyncIterable<Bytes>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Between 1 and `limit` bytes; `undefined` at the end. */
  async some(limit: number): Promise<Bytes | undefined> {
    while (this.#at === this.#piece.length) {
      const next = await this.#source.next();
      if (next.done) return undefined;
      this.#piece = next.value;
      this.#at = 0;
    }
    const start = this.#at;
    this.#at = Math.min(this.#piece.length, start + limit);
    this.position += this.#at - start;
    return this.#piece.subarray(start, this.#at);
  }

  /** The next block. */
  async block(): Promise<Bytes> {
    const block = await this.take(BLOCK);
    if (block === undefined) throw damaged('it ends within a sparse map');
    return block;
  }

  /** Exactly `count` bytes; `undefined` if there are fewer. */
  async take(count: number): Promise<Bytes | undefined> {
    const parts: Bytes[] = [];
    for (let left = count; left > 0; ) {
      const part = await this.some(left);
      if (part === undefined) return undefined;
      parts.push(part);
      left -= part.length;
    }
    return parts.length === 1 ? parts[0] : concatBytes(parts);
  }
}
