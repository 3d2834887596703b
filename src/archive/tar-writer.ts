/**
 * Writes tar archives in the PAX format (POSIX.1-2001): what a ustar header cannot hold stands in an extended header before
 * it, extended attributes as `SCHILY.xattr.NAME`. Same entries, same bytes: nothing depends on time, place or user.
 *
 * Names are written as they are, UTF-8 or not, as GNU tar does: readers that want text are told by no keyword of PAX which
 * bytes were meant.
 */

import {
  type ByteString,
  type Bytes,
  byteStringOf,
  bytesOf,
  compareByteStrings,
} from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import type { TarEntry, TarType } from './tar.ts';
import { BLOCK, checksumOf, encodeOctal, encodePax, formatPaxTime, padded } from './tar-fields.ts';

/** The path `` is the root of the tree. Only regular files have content. */
export type TarMember = Omit<TarEntry, 'contentOffset'>;

const TYPES: Readonly<Record<TarType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};
const NAME_BYTES = 100;
const LAST_OCTAL_11 = 8 ** 11 - 1;

/** Two blocks of zeros end an archive. */
export const TAR_END: Bytes = new Uint8Array(2 * BLOCK);

/** A whole archive. Throws FORMAT for what a tar entry cannot say, and for content that is not as long as announced. */
export async function* writeTar(members: AsyncIterable<TarMember>): AsyncGenerator<Bytes> {
  for await (const member of members) {
    yield encodeTarHeader(member);
    const { sizeBytes } = member;
    let written = 0;
    if (member.type === 'file') {
      for await (const bytes of member.content) {
        written += bytes.length;
        yield bytes;
      }
    }
    if (written !== sizeBytes) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot write tar entry ${displayBytes(member.path)}: it has ${written} bytes, ${sizeBytes} expected`,
      );
    }
    if (padded(sizeBytes) > sizeBytes) yield TAR_END.subarray(0, padded(sizeBytes) - sizeBytes);
  }
  yield TAR_END;
}

/** The blocks before the content of an entry. Throws FORMAT. */
export function encodeTarHeader(member: Omit<TarMember, 'content'>): Bytes {
  const { path, link, type } = member;
  if (path.includes('\0') || link.includes('\0')) throw impossible(member, 'its name has a zero byte');
  const records = new Map<string, ByteString>();
  const name = nameOf(path, type);
  const fields: [at: number, value: Bytes][] = [];
  const put = (at: number, length: number, text: ByteString, key: string) => {
    if (text.length > length) records.set(key, text);
    fields.push([at, bytesOf(text.slice(0, length) as ByteString)]);
  };
  const putNumber = (at: number, length: number, value: number, key: string) => {
    const octal = encodeOctal(value, length);
    if (octal === undefined) records.set(key, String(value) as ByteString);
    fields.push([at, octal ?? encodeOctal(0, length)!]);
  };
  put(0, NAME_BYTES, name, 'path');
  fields.push([100, encodeOctal(member.mode & 0o7777, 8)!]);
  putNumber(108, 8, member.uid, 'uid');
  putNumber(116, 8, member.gid, 'gid');
  putNumber(124, 12, member.sizeBytes, 'size');
  const { mtimeSeconds, mtimeNs } = member;
  if (mtimeNs !== 0 || mtimeSeconds < 0 || mtimeSeconds > LAST_OCTAL_11) {
    records.set('mtime', formatPaxTime(mtimeSeconds, mtimeNs));
  }
  fields.push([136, encodeOctal(Math.min(Math.max(mtimeSeconds, 0), LAST_OCTAL_11), 12)!]);
  put(157, NAME_BYTES, type === 'hardlink' ? nameOf(link, 'file') : link, 'linkpath');
  fields.push([329, deviceNumber(member, member.major)], [337, deviceNumber(member, member.minor)]);
  addXattrs(member, records);
  const header = headerOf(TYPES[type], fields);
  return records.size === 0 ? header : withExtension(header, name, encodePax(records));
}

/** Relative, as all tars have it; the root is a folder that needs a name. */
function nameOf(path: ByteString, type: TarType): ByteString {
  const bare = path.replace(/^\/+/, '');
  return (type !== 'directory' ? bare : bare === '' ? './' : `${bare}/`) as ByteString;
}

function deviceNumber(member: Omit<TarMember, 'content'>, value: number): Bytes {
  const octal = encodeOctal(value, 8);
  if (octal === undefined) throw impossible(member, `device number ${value} is too large`);
  return octal;
}

/** `=` ends a key; GNU tar has escapes for it. */
function addXattrs(member: Omit<TarMember, 'content'>, records: Map<string, ByteString>): void {
  for (const [name, value] of [...member.xattrs].sort(([a], [b]) => compareByteStrings(a, b))) {
    if (name.includes('\0') || name === '') throw impossible(member, 'an attribute has no proper name');
    const key = name.replaceAll('%', '%25').replaceAll('=', '%3D');
    records.set(`SCHILY.xattr.${key}`, byteStringOf(value));
  }
}

function headerOf(type: string, fields: readonly [at: number, value: Bytes][]): Bytes {
  const block = new Uint8Array(BLOCK);
  for (const [at, value] of fields) block.set(value, at);
  block[156] = type.charCodeAt(0);
  block.set(bytesOf('ustar\x0000' as ByteString), 257);
  block.set(bytesOf(`${checksumOf(block).toString(8).padStart(6, '0')}\0 ` as ByteString), 148);
  return block;
}

function withExtension(header: Bytes, name: ByteString, records: Bytes): Bytes {
  const last = name.replace(/\/+$/, '').split('/').at(-1) ?? '';
  const title = `PaxHeaders/${last}`.slice(0, NAME_BYTES) as ByteString;
  const extension = headerOf('x', [
    [0, bytesOf(title)],
    ...[100, 108, 116, 329, 337].map((at): [number, Bytes] => [at, encodeOctal(at === 100 ? 0o644 : 0, 8)!]),
    [124, encodeOctal(records.length, 12)!],
    [136, encodeOctal(0, 12)!],
  ]);
  const whole = new Uint8Array(BLOCK + padded(records.length) + BLOCK);
  whole.set(extension);
  whole.set(records, BLOCK);
  whole.set(header, whole.length - BLOCK);
  return whole;
}

function impossible({ path }: Omit<TarMember, 'content'>, why: string): ThimbleError {
  return new ThimbleError('FORMAT', `Cannot write tar entry ${displayBytes(path)}: ${why}`);
}
