/**
 * Extended attribute blobs (docs/format.md#extended-attributes):
 *
 *   u8 version = 1 · u8 count · count times: u8 key length · u8 value length · key · value
 *
 * Keys ascend in byte order when written; any order is read.
 */

import { type ByteString, type Bytes, compareByteStrings } from '../bytes/byte-string.ts';
import { ByteReader } from '../bytes/reader.ts';
import { ByteWriter } from '../bytes/writer.ts';
import { ThimbleError } from '../errors.ts';

export type Xattrs = ReadonlyMap<ByteString, Bytes>;

export const MAX_XATTRS = 255;
export const MAX_XATTR_BYTES = 255;
const VERSION = 1;

/** Throws FORMAT. */
export function decodeXattrs(blob: Bytes): Map<ByteString, Bytes> {
  const reader = new ByteReader(blob, 'extended attributes');
  const version = reader.u8();
  if (version !== VERSION) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot decode extended attributes: version ${version}, ${VERSION} expected`,
    );
  }
  const xattrs = new Map<ByteString, Bytes>();
  for (let left = reader.u8(); left > 0; left--) {
    const keyLength = reader.u8();
    const valueLength = reader.u8();
    const key = reader.byteString(keyLength);
    if (keyLength === 0 || key.includes('\0')) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot decode extended attributes: ${JSON.stringify(key)} is not a name`,
      );
    }
    xattrs.set(key, reader.bytes(valueLength).slice());
  }
  reader.end();
  return xattrs;
}

/** `undefined` for no attributes. Throws LIMIT for names or values beyond 255 bytes, or more than 255 of them. */
export function encodeXattrs(xattrs: Xattrs): Bytes | undefined {
  if (xattrs.size === 0) return undefined;
  if (xattrs.size > MAX_XATTRS) {
    throw new ThimbleError(
      'LIMIT',
      `Cannot store ${xattrs.size} extended attributes: at most ${MAX_XATTRS} fit`,
    );
  }
  const writer = new ByteWriter().u8(VERSION).u8(xattrs.size);
  for (const [key, value] of [...xattrs].sort(([a], [b]) => compareByteStrings(a, b))) {
    if (key.length === 0 || key.includes('\0')) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot store extended attribute ${JSON.stringify(key)}: it is not a name`,
      );
    }
    if (key.length > MAX_XATTR_BYTES || value.length > MAX_XATTR_BYTES) {
      throw new ThimbleError(
        'LIMIT',
        `Cannot store extended attribute ${JSON.stringify(key)}: name and value may have ${MAX_XATTR_BYTES} bytes each, ` +
          `they have ${key.length} and ${value.length}`,
      );
    }
    writer.u8(key.length).u8(value.length).byteString(key).bytes(value);
  }
  return writer.finish().slice();
}
