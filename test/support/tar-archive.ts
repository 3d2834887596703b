/** Tar archives written block by block, also wrong ones, and reading them to their end. */

import assert from 'node:assert/strict';
import { readTar, type TarEntry } from '../../src/archive/tar.ts';
import { ascii, type Bytes, bytesOf, concatBytes } from '../../src/core/bytes/byte-string.ts';

export const BLOCK = 512;
export const END = new Uint8Array(2 * BLOCK);

interface HeaderFields {
  readonly name?: string;
  readonly mode?: string;
  readonly uid?: string;
  readonly gid?: string;
  readonly size?: string;
  readonly mtime?: string;
  readonly type?: string;
  readonly link?: string;
  readonly magic?: string;
  readonly major?: string;
  readonly minor?: string;
  readonly prefix?: string;
}

/** A header as the tar specification lays it out; numbers are given as they are written. */
export function header(fields: HeaderFields): Bytes {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string | undefined) => block.set(bytesOf(ascii(text ?? '')), at);
  put(0, fields.name ?? 'a');
  put(100, fields.mode ?? '0000644\0');
  put(108, fields.uid ?? '0000000\0');
  put(116, fields.gid ?? '0000000\0');
  put(124, fields.size ?? '00000000000\0');
  put(136, fields.mtime ?? '00000000000\0');
  put(156, fields.type ?? '0');
  put(157, fields.link);
  put(257, fields.magic ?? 'ustar\x0000');
  put(329, fields.major);
  put(337, fields.minor);
  put(345, fields.prefix);
  return withChecksum(block);
}

export function withChecksum(block: Bytes): Bytes {
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.set(bytesOf(ascii(`${sum.toString(8).padStart(6, '0')}\0 `)), 148);
  return block;
}

/** A header and its content, padded to whole blocks. */
export function member(fields: HeaderFields, content: string | Bytes = ''): Bytes {
  const bytes = typeof content === 'string' ? bytesOf(ascii(content)) : content;
  const body = new Uint8Array(Math.ceil(bytes.length / BLOCK) * BLOCK);
  body.set(bytes);
  return concatBytes([header({ size: octal(bytes.length, 12), ...fields }), body]);
}

export function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`;
}

/** Base-256, two's complement, the top bit set. */
export function base256(value: bigint, width: number): string {
  const bits = BigInt(width * 8 - 1);
  let rest = BigInt.asUintN(Number(bits), value) | (1n << bits);
  let text = '';
  for (let i = 0; i < width; i++, rest >>= 8n) text = String.fromCharCode(Number(rest & 0xffn)) + text;
  return text;
}

function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return length + rest;
}

export function pax(records: Readonly<Record<string, string>>, type = 'x'): Bytes {
  const text = Object.entries(records)
    .map(([key, value]) => paxRecord(key, value))
    .join('');
  return member({ name: 'PaxHeaders/a', type }, text);
}

/** A source that gives the archive in pieces of these sizes, round and round. */
export async function* pieces(
  archive: Bytes,
  sizes: readonly number[] = [archive.length || 1],
): AsyncGenerator<Bytes> {
  for (let at = 0, i = 0; at < archive.length; i++) {
    const size = sizes[i % sizes.length]!;
    yield archive.subarray(at, at + size);
    at += size;
  }
}

type ReadEntry = Omit<TarEntry, 'content'> & { readonly content: Bytes };

export async function readAll(source: AsyncIterable<Bytes>): Promise<ReadEntry[]> {
  const entries: ReadEntry[] = [];
  for await (const { content, ...entry } of readTar(source)) {
    const parts: Bytes[] = [];
    for await (const part of content) parts.push(part);
    entries.push({ ...entry, content: concatBytes(parts) });
  }
  return entries;
}

export const read = (...parts: Bytes[]) => readAll(pieces(concatBytes([...parts, END])));

export async function readOne(...parts: Bytes[]): Promise<ReadEntry> {
  const entries = await read(...parts);
  assert.equal(entries.length, 1);
  return entries[0]!;
}
