/**
 * Fixed layouts as tables: the table is the documentation, the types follow from it. Little-endian, fields in order,
 * no hidden padding: a field that is not aligned to its own size is an error when the table is built.
 */

import { ThimbleError } from '../errors.ts';
import type { Bytes } from './byte-string.ts';

interface FieldType<T> {
  readonly size: number;
  get(view: DataView, offset: number): T;
  set(view: DataView, offset: number, value: T): void;
}

export const u8: FieldType<number> = {
  size: 1,
  get: (view, offset) => view.getUint8(offset),
  set: (view, offset, value) => view.setUint8(offset, value),
};

export const u16: FieldType<number> = {
  size: 2,
  get: (view, offset) => view.getUint16(offset, true),
  set: (view, offset, value) => view.setUint16(offset, value, true),
};

export const u32: FieldType<number> = {
  size: 4,
  get: (view, offset) => view.getUint32(offset, true),
  set: (view, offset, value) => view.setUint32(offset, value, true),
};

export const s32: FieldType<number> = {
  size: 4,
  get: (view, offset) => view.getInt32(offset, true),
  set: (view, offset, value) => view.setInt32(offset, value, true),
};

export const u64: FieldType<bigint> = {
  size: 8,
  get: (view, offset) => view.getBigUint64(offset, true),
  set: (view, offset, value) => view.setBigUint64(offset, value, true),
};

type Fields = Readonly<Record<string, FieldType<number> | FieldType<bigint>>>;
type ValueOf<T> = T extends FieldType<infer V> ? V : never;
export type StructValue<F extends Fields> = { -readonly [K in keyof F]: ValueOf<F[K]> };

export interface Struct<F extends Fields> {
  readonly name: string;
  readonly size: number;
  readonly offsets: { readonly [K in keyof F]: number };
  /** Throws FORMAT if fewer than `size` bytes are at `offset`. */
  decode(bytes: Bytes, offset?: number): StructValue<F>;
  /** Fields left out are zero. */
  encode(value: Partial<StructValue<F>>): Bytes;
}

export function struct<const F extends Fields>(name: string, fields: F): Struct<F> {
  const offsets: Record<string, number> = {};
  let size = 0;
  for (const [field, type] of Object.entries(fields)) {
    if (size % type.size !== 0) {
      throw new ThimbleError('INTERNAL', `Field ${name}.${field} is at ${size}, not aligned to ${type.size}`);
    }
    offsets[field] = size;
    size += type.size;
  }
  return {
    name,
    size,
    offsets: offsets as { readonly [K in keyof F]: number },
    decode(bytes, offset = 0) {
      if (bytes.length - offset < size) {
        throw new ThimbleError(
          'FORMAT',
          `Cannot decode ${name}: ${size} bytes expected, ${bytes.length - offset} given`,
        );
      }
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const value: Record<string, number | bigint> = {};
      for (const [field, type] of Object.entries(fields))
        value[field] = type.get(view, offset + offsets[field]!);
      return value as StructValue<F>;
    },
    encode(value) {
      const bytes = new Uint8Array(size);
      const view = new DataView(bytes.buffer);
      for (const [field, given] of Object.entries(value)) {
        const type = fields[field] as FieldType<unknown>;
        type.set(view, offsets[field]!, given);
      }
      return bytes;
    },
  };
}
