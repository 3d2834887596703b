/**
 * Content-defined chunking as the reference publisher does it ("xor32", docs/format.md#chunking), so that chunks
 * deduplicate against repositories written by either.
 */

export interface ChunkSizes {
  /** Files up to this are stored whole. */
  readonly minBytes: number;
  readonly averageBytes: number;
  readonly maxBytes: number;
}

const WINDOW_BYTES = 32;
const CENTRE = 0x7fff_ffff;

/**
 * Where the chunk that starts at 0 ends, looking at `filled` bytes. Answers `filled` if there is no cut before: then the
 * chunk ends with the file, or more bytes are needed. At `maxBytes` there is always a cut.
 */
export function findCut(bytes: Uint8Array, filled: number, sizes: ChunkSizes): number {
  const { minBytes, maxBytes } = sizes;
  if (filled <= minBytes) return filled;
  const threshold = Math.floor(0xffff_ffff / sizes.averageBytes);
  const end = Math.min(filled, maxBytes);
  let x = 0;
  for (let i = minBytes - WINDOW_BYTES; i < minBytes; i++) x = (x << 1) ^ bytes[i]!;
  for (let i = minBytes; i < end; i++) {
    x = (x << 1) ^ bytes[i]!;
    // A mark is a value near 2^31 - 1 on the 32-bit ring. The distance is taken with wrapping arithmetic, in which the
    // distance -2^31 has no positive counterpart and counts as near: hence one more mark, 0xffffffff.
    const distance = (x - CENTRE) | 0;
    if ((distance < 0 ? -distance | 0 : distance) < threshold) return i;
  }
  return end;
}
