/** As much of ELF as it takes to pack programs: which libraries they need, and what of their file is never loaded. */

import { type Bytes, byteStringOf } from '../core/bytes/byte-string.ts';
import { toSafeNumber } from '../core/bytes/integer.ts';
import { ByteReader } from '../core/bytes/reader.ts';
import { ThimbleError } from '../core/errors.ts';

// ELF-64 specification, version 1.5: header, program header, dynamic section.
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NULL = 0n;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const OFFSET_SECTION_HEADERS = 40;
const OFFSET_SECTION_COUNT = 60;
const OFFSET_SECTION_NAMES = 62;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly sizeBytes: number;
}

export interface ElfNeeds {
  /** Path of the dynamic loader; `undefined` for static programs and for libraries. */
  readonly interpreter: string | undefined;
  /** Names of libraries, as in `DT_NEEDED`. */
  readonly libraries: readonly string[];
}

export function isElf(file: Bytes): boolean {
  return file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
}

/** Throws FORMAT for anything but a little-endian 64-bit ELF file, LIMIT for offsets beyond 2^53. */
export function elfNeeds(file: Bytes): ElfNeeds {
  const segments = decodeSegments(file);
  const interpreter = segments.find(({ type }) => type === PT_INTERP);
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  return {
    interpreter: interpreter === undefined ? undefined : textAt(file, interpreter.offset),
    libraries: dynamic === undefined ? [] : decodeNeeded(file, segments, dynamic),
  };
}

/**
 * The file without what is behind its last loaded byte: symbol tables and section headers, which only debuggers read.
 * For programs that is what strip(1) does, without needing it. Throws FORMAT, LIMIT.
 */
export function stripElf(file: Bytes): Bytes {
  const loaded = decodeSegments(file).filter(({ type }) => type === PT_LOAD);
  const end = loaded.reduce((last, { offset, sizeBytes }) => Math.max(last, offset + sizeBytes), 0);
  if (end < HEADER_BYTES || end > file.length) {
    throw new ThimbleError('FORMAT', `Cannot strip program: ${end} of its ${file.length} bytes are loaded`);
  }
  const stripped = new Uint8Array(file.subarray(0, end));
  const view = new DataView(stripped.buffer);
  view.setBigUint64(OFFSET_SECTION_HEADERS, 0n, true);
  view.setUint16(OFFSET_SECTION_COUNT, 0, true);
  view.setUint16(OFFSET_SECTION_NAMES, 0, true);
  return stripped;
}

function decodeSegments(file: Bytes): Segment[] {
  const header = new ByteReader(file.subarray(0, HEADER_BYTES), 'ELF header');
  const ident = header.bytes(16);
  if (!isElf(ident) || ident[4] !== 2 || ident[5] !== 1) {
    throw new ThimbleError('FORMAT', 'Cannot read program: it is not a little-endian 64-bit ELF file');
  }
  header.skip(16); // type, machine, version, entry
  const tableOffset = toSafeNumber(header.u64le(), 'ELF program header offset');
  header.skip(8 + 4 + 2); // section headers, flags, header size
  const entryBytes = header.u16le();
  const count = header.u16le();
  if (entryBytes !== PROGRAM_HEADER_BYTES) {
    throw new ThimbleError('FORMAT', `Cannot read program: its program headers have ${entryBytes} bytes`);
  }
  const table = new ByteReader(
    file.subarray(tableOffset, tableOffset + count * entryBytes),
    'ELF program headers',
  );
  return Array.from({ length: count }, () => {
    const type = table.u32le();
    table.skip(4); // flags
    const offset = toSafeNumber(table.u64le(), 'ELF offset');
    const address = toSafeNumber(table.u64le(), 'ELF address');
    table.skip(8); // physical address
    const sizeBytes = toSafeNumber(table.u64le(), 'ELF size');
    table.skip(16); // size in memory, alignment
    return { type, offset, address, sizeBytes };
  });
}

function decodeNeeded(file: Bytes, segments: readonly Segment[], dynamic: Segment): string[] {
  const reader = new ByteReader(
    file.subarray(dynamic.offset, dynamic.offset + dynamic.sizeBytes),
    'ELF dynamic section',
  );
  const names: number[] = [];
  let strings: number | undefined;
  while (reader.remaining >= 16) {
    const tag = reader.u64le();
    const value = toSafeNumber(reader.u64le() & 0xffff_ffff_ffffn, 'ELF dynamic value');
    if (tag === DT_NULL) break;
    if (tag === DT_NEEDED) names.push(value);
    if (tag === DT_STRTAB) strings = fileOffset(segments, value);
  }
  if (strings === undefined) return [];
  const table = strings;
  return names.map((name) => textAt(file, table + name));
}

/** Where in the file the byte at a memory address is. */
function fileOffset(segments: readonly Segment[], address: number): number {
  const segment = segments.find(
    (candidate) =>
      candidate.type === PT_LOAD &&
      address >= candidate.address &&
      address < candidate.address + candidate.sizeBytes,
  );
  if (segment === undefined)
    throw new ThimbleError('FORMAT', 'Cannot read program: its string table is not loaded');
  return segment.offset + address - segment.address;
}

function textAt(file: Bytes, start: number): string {
  const end = file.indexOf(0, start);
  if (start < 0 || end < 0) throw new ThimbleError('FORMAT', 'Cannot read program: a name runs over its end');
  return byteStringOf(file, start, end);
}
