/**
 * Grafts: a file `.cvmfsgraft-NAME` says what the content of NAME is, so that it need not be here (docs/format.md#grafts).
 * Lines are `key=value`; empty ones and those that begin with `#` are comments.
 */

import { createReadStream } from 'node:fs';
import { type ByteString, byteStringOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { Chunk } from '../core/catalog/catalog-reader.ts';
import type { Compression } from '../core/catalog/flags.ts';
import { algorithmOf, parseContentHash } from '../core/content-hash.ts';
import { messageOf, ThimbleError } from '../core/errors.ts';
import { baseName, parentPath } from '../core/path-key.ts';
import type { TreeContent, TreeEntry } from '../core/tree.ts';
import { S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { StoredContent } from './content-store.ts';

export type Graft = StoredContent;

export const GRAFT_PREFIX = '.cvmfsgraft-';
/** Enough for the chunks of a file of some terabytes. */
const MAX_GRAFT_BYTES = 64 * 1024 * 1024;

const COMPRESSIONS: Readonly<Record<string, Compression>> = { none: 'none', zlib: 'zlib', default: 'zlib' };

/** The file that an entry is the graft of; `undefined` for all other entries. */
export function graftedPath({ path, mode }: TreeEntry): ByteString | undefined {
  const name = baseName(path);
  if (!name.startsWith(GRAFT_PREFIX) || (mode & S_IFMT) !== S_IFREG) return undefined;
  return `${parentPath(path)}/${name.slice(GRAFT_PREFIX.length)}` as ByteString;
}

/** Throws FORMAT, LIMIT, STORAGE. */
export async function readGraft({ path, content }: TreeEntry): Promise<Graft> {
  if (content === undefined) {
    throw new ThimbleError('FORMAT', `Cannot use graft ${displayBytes(path)}: it is a hard link`);
  }
  if (content.sizeBytes > MAX_GRAFT_BYTES) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot use graft ${displayBytes(path)}: it has ${content.sizeBytes} bytes, at most ${MAX_GRAFT_BYTES} are read`,
    );
  }
  const text = await readText(content);
  try {
    return parseGraft(text);
  } catch (error) {
    throw new ThimbleError('FORMAT', `Cannot use graft ${displayBytes(path)}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Throws FORMAT. */
export function parseGraft(text: ByteString): Graft {
  const values = new Map<string, string>();
  for (const line of text.split('\n').map((one) => one.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const divides = line.indexOf('=');
    if (divides <= 0)
      throw new ThimbleError('FORMAT', `${JSON.stringify(line.slice(0, 80))} is not key=value`);
    values.set(line.slice(0, divides), line.slice(divides + 1));
  }
  const sizeBytes = wholeNumber(values.get('size'), 'size');
  const compression = COMPRESSIONS[values.get('compression') ?? 'none'];
  if (compression === undefined) {
    throw new ThimbleError('FORMAT', `compression ${JSON.stringify(values.get('compression'))} is not known`);
  }
  const chunks = parseChunks(values, sizeBytes);
  const checksum = values.get('checksum');
  if (checksum === undefined && chunks.length === 0) throw new ThimbleError('FORMAT', 'it has no checksum');
  const hash =
    checksum === undefined || chunks.length > 0 ? undefined : parseContentHash(checksum, 'checksum');
  return { sizeBytes, hash, chunks, compression, isExternal: false };
}

/** Without gap, from 0 to the end: readers rely on it. */
function parseChunks(values: ReadonlyMap<string, string>, sizeBytes: number): Chunk[] {
  const offsets = list(values.get('chunk_offsets')).map((text) => wholeNumber(text, 'chunk offset'));
  const hashes = list(values.get('chunk_checksums')).map((text) => parseContentHash(text, 'chunk checksum'));
  if (offsets.length !== hashes.length) {
    throw new ThimbleError('FORMAT', `it has ${offsets.length} chunk offsets and ${hashes.length} checksums`);
  }
  const chunks = offsets.map((offset, i) => {
    const end = offsets[i + 1] ?? sizeBytes;
    return { offset, sizeBytes: end - offset, hash: hashes[i]! };
  });
  const [first] = chunks;
  if (first === undefined) return chunks;
  if (first.offset !== 0 || chunks.some((chunk) => chunk.sizeBytes <= 0)) {
    throw new ThimbleError('FORMAT', 'its chunks do not cover the file from 0 to its size, in order');
  }
  if (chunks.some(({ hash }) => algorithmOf(hash) !== algorithmOf(first.hash))) {
    throw new ThimbleError('FORMAT', 'its chunks have hashes of different algorithms');
  }
  return chunks;
}

function list(text = ''): string[] {
  return text === '' ? [] : text.split(',').map((one) => one.trim());
}

function wholeNumber(text: string | undefined, what: string): number {
  const number = /^\d{1,16}$/.test(text ?? '') ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(number)) return number;
  throw new ThimbleError('FORMAT', `${what} ${JSON.stringify(text ?? '')} is not a number of bytes`);
}

async function readText(content: TreeContent): Promise<ByteString> {
  const source =
    content.kind === 'stream' ? content.chunks : createReadStream(Buffer.from(content.hostPath, 'latin1'));
  let text = '';
  for await (const chunk of source) text += byteStringOf(chunk as Uint8Array);
  return text as ByteString;
}
