/**
 * Reads tar archives: ustar, GNU (long names, base-256 numbers) and PAX (POSIX.1-2001, with the xattr keywords of GNU tar
 * and libarchive). Big numbers, names and attributes come out as bytes and exact numbers; unknown entry types are refused.
 *
 * Header, 512 bytes: name[100] mode[8] uid[8] gid[8] size[12] mtime[12] checksum[8] type[1] link[100] magic[6] version[2]
 * uname[32] gname[32] major[8] minor[8] prefix[155] pad[12]; numbers are octal text or, with the top bit set, base-256.
 */

import {
  type ByteString,
  type Bytes,
  byteStringOf,
  bytesOf,
  concatBytes,
} from '../core/bytes/byte-string.ts';
import { decodeBase64 } from '../core/bytes/hex.ts';
import { toSafeNumber } from '../core/bytes/integer.ts';
import { ThimbleError } from '../core/errors.ts';

const BLOCK = 512;
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
        extensions = new Map([...extensions, ...parsePax(await readExtension(input, header.size))]);
        continue;
      case 'g':
        globals = new Map([...globals, ...parsePax(await readExtension(input, header.size))]);
        continue;
      case 'L':
        extensions.set('path', cutAtNul(byteStringOf(await readExtension(input, header.size))));
        continue;
      case 'K':
        extensions.set('linkpath', cutAtNul(byteStringOf(await readExtension(input, header.size))));
        continue;
    }
    const entry = mergeEntry(header, new Map([...globals, ...extensions]));
    extensions = new Map();
    const body = new BodyReader(input, entry.type === 'file' ? entry.sizeBytes : 0);
    yield { ...entry, content: body };
    await body.finish();
  }
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
  let sum = 8 * 0x20;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += block[i]!;
  if (sum !== decodeNumber(block, 148, 8, 'checksum')) throw damaged('a header does not match its checksum');
  const text = (at: number, length: number) => cutAtNul(byteStringOf(block, at, at + length));
  const unsigned = (at: number, length: number, what: string) => {
    const value = decodeNumber(block, at, length, what);
    if (value < 0) throw damaged(`${what} ${value} is negative`);
    return value;
  };
  // The prefix belongs to ustar; GNU archives keep other things there.
  const isUstar = byteStringOf(block, 257, 263) === 'ustar\0';
  const prefix = isUstar ? text(345, 155) : '';
  const name = text(0, 100);
  return {
    path: (prefix === '' ? name : `${prefix}/${name}`) as ByteString,
    mode: unsigned(100, 8, 'mode'),
    uid: unsigned(108, 8, 'uid'),
    gid: unsigned(116, 8, 'gid'),
    size: unsigned(124, 12, 'size'),
    mtime: decodeNumber(block, 136, 12, 'mtime'),
    type: String.fromCharCode(block[156]!),
    link: text(157, 100),
    major: unsigned(329, 8, 'major'),
    minor: unsigned(337, 8, 'minor'),
  };
}

function decodeNumber(block: Bytes, at: number, length: number, what: string): number {
  if ((block[at]! & 0x80) !== 0) {
    // Base-256, two's complement; the top bit only marks the encoding.
    let value = BigInt(block[at]! & 0x7f);
    if ((block[at]! & 0x40) !== 0) value -= 0x80n;
    for (let i = 1; i < length; i++) value = (value << 8n) | BigInt(block[at + i]!);
    return toSafeNumber(value, `${what} of a tar entry`);
  }
  const text = cutAtNul(byteStringOf(block, at, at + length)).trim();
  if (text === '') return 0;
  if (!/^[0-7]+$/.test(text)) throw damaged(`${what} ${JSON.stringify(text)} is not octal`);
  return Number.parseInt(text, 8);
}

/** PAX records: `<length> <key>=<value>\n`, the length counting itself. */
function parsePax(bytes: Bytes): Map<string, ByteString> {
  const text = byteStringOf(bytes);
  const records = new Map<string, ByteString>();
  for (let at = 0; at < text.length; ) {
    const space = text.indexOf(' ', at);
    const digits = text.slice(at, space);
    const length = /^[0-9]{1,16}$/.test(digits) ? Number(digits) : Number.NaN;
    const end = at + length;
    const equals = text.indexOf('=', space);
    if (
      space < 0 ||
      !Number.isSafeInteger(length) ||
      length < 5 ||
      end > text.length ||
      text[end - 1] !== '\n'
    ) {
      throw damaged('an extended header is malformed');
    }
    if (equals < 0 || equals >= end) throw damaged('an extended header has no value');
    records.set(text.slice(space + 1, equals), text.slice(equals + 1, end - 1) as ByteString);
    at = end;
  }
  return records;
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
};

function mergeEntry(header: Header, pax: ReadonlyMap<string, ByteString>): Omit<TarEntry, 'content'> {
  const path = pax.get('path') ?? header.path;
  const bare = path.replace(/\/+$/, '') as ByteString;
  for (const key of pax.keys()) {
    if (key.startsWith('GNU.sparse.')) {
      throw new ThimbleError(
        'UNSUPPORTED',
        `Cannot read tar entry ${path}: sparse entries are not supported`,
        {
          hint: 'write the archive without --sparse; holes are found again when it is published',
        },
      );
    }
  }
  // Before POSIX.1-1988, a trailing slash made a file a directory.
  const type = header.type === '\0' && bare !== path ? 'directory' : TYPES[header.type];
  if (type === undefined) {
    throw new ThimbleError(
      'UNSUPPORTED',
      `Cannot read tar entry ${path}: type ${JSON.stringify(header.type)} is not known`,
    );
  }
  const [mtimeSeconds, mtimeNs] = paxTime(pax.get('mtime')) ?? [header.mtime, 0];
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

function paxNumber(pax: ReadonlyMap<string, ByteString>, key: string): number | undefined {
  const text = pax.get(key);
  if (text === undefined) return undefined;
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw damaged(`${key} ${JSON.stringify(text)} is not a number`);
  return value;
}

/** Decimal seconds with a fraction: `-1.25` is a second and a quarter before 1970. */
function paxTime(text: string | undefined): [seconds: number, nanoseconds: number] | undefined {
  if (text === undefined) return undefined;
  const parts = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(text);
  if (parts === null) throw damaged(`mtime ${JSON.stringify(text)} is not a time`);
  const seconds = Number(parts[2]);
  const nanoseconds = Number((parts[3] ?? '').padEnd(9, '0').slice(0, 9));
  if (parts[1] === '') return [seconds, nanoseconds];
  return nanoseconds === 0 ? [-seconds, 0] : [-seconds - 1, 1_000_000_000 - nanoseconds];
}

function paxXattrs(pax: ReadonlyMap<string, ByteString>): Map<ByteString, Bytes> {
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

function cutAtNul(text: ByteString): ByteString {
  const end = text.indexOf('\0');
  return (end < 0 ? text : text.slice(0, end)) as ByteString;
}

async function readExtension(input: BlockInput, size: number): Promise<Bytes> {
  if (size > MAX_EXTENSION_BYTES) {
    throw new ThimbleError('LIMIT', `Cannot read tar archive: an extended header has ${size} bytes`);
  }
  const bytes = await input.take(padded(size));
  if (bytes === undefined) throw damaged('it ends within an extended header');
  return bytes.subarray(0, size);
}

function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}

function damaged(why: string): ThimbleError {
  return new ThimbleError('FORMAT', `Cannot read tar archive: ${why}`);
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
    return this.#piece.subarray(start, this.#at);
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
