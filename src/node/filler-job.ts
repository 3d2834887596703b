/** What the main thread of a mount asks of the thread that fills caches, as a record of a `SharedQueue`. */

import { type Bytes, byteStringOf } from '../core/bytes/byte-string.ts';
import type { ContentHash } from '../core/content-hash.ts';
import type { NodeId } from '../core/vfs.ts';

export interface FillerJob {
  readonly number: number;
  readonly hash: ContentHash;
  readonly isPlain: boolean;
  /** Goes first when something is dropped. */
  readonly isVolatile: boolean;
  /** Inflated. */
  readonly sizeBytes: number;
  /** The file that this is all of, if the kernel is to get it. */
  readonly node: NodeId | undefined;
  /** As a server sent it; none for content that is in the cache. */
  readonly stored: Bytes | undefined;
}

/** Words of 32 bits, then a 64-bit float for the node (0 for none), the hash, and what was sent. */
const NUMBER = 0;
const FLAGS = 1;
const SIZE = 2;
const HASH_LENGTH = 3;
const NODE_AT = 16;
const HASH_AT = 24;
const PLAIN = 1;
const VOLATILE = 2;
const HAS_STORED = 4;

export function jobLength({ hash, stored }: FillerJob): number {
  return HASH_AT + hash.length + (stored?.length ?? 0);
}

/** `record` is as long as `jobLength` says, at a multiple of 8. */
export function writeJob(job: FillerJob, record: Bytes): void {
  const { number, hash, isPlain, isVolatile, sizeBytes, node = 0, stored } = job;
  const words = new Uint32Array(record.buffer, record.byteOffset, HASH_AT / 4);
  words[NUMBER] = number;
  words[FLAGS] = (isPlain ? PLAIN : 0) | (isVolatile ? VOLATILE : 0) | (stored ? HAS_STORED : 0);
  words[SIZE] = sizeBytes;
  words[HASH_LENGTH] = hash.length;
  new Float64Array(record.buffer, record.byteOffset + NODE_AT, 1)[0] = node;
  for (let i = 0; i < hash.length; i++) record[HASH_AT + i] = hash.charCodeAt(i);
  if (stored !== undefined) record.set(stored, HASH_AT + hash.length);
}

/** `stored` is a part of the record. */
export function readJob(record: Bytes): FillerJob {
  const words = new Uint32Array(record.buffer, record.byteOffset, HASH_AT / 4);
  const flags = words[FLAGS]!;
  const node = new Float64Array(record.buffer, record.byteOffset + NODE_AT, 1)[0]!;
  const storedAt = HASH_AT + words[HASH_LENGTH]!;
  return {
    number: words[NUMBER]!,
    hash: byteStringOf(record, HASH_AT, storedAt) as string as ContentHash,
    isPlain: (flags & PLAIN) !== 0,
    isVolatile: (flags & VOLATILE) !== 0,
    sizeBytes: words[SIZE]!,
    node: node === 0 ? undefined : (node as NodeId),
    stored: (flags & HAS_STORED) === 0 ? undefined : record.subarray(storedAt),
  };
}
