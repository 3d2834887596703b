/**
 * What a check that goes on for many nights has found to be sound, so that the next night begins with the rest. Objects never
 * change under their hash; so they, and whole trees of catalogs, stay verified until the state is too old.
 *
 * The file: one line `thimble check state 1`, one line of JSON, and 8 bytes for each object (object-table.ts).
 */

import { type Bytes, byteStringOf, concatBytes } from '../core/bytes/byte-string.ts';
import { encodeHex } from '../core/bytes/hex.ts';
import { encodeUtf8 } from '../core/bytes/utf8.ts';
import { type ContentHash, contentHashOf } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Hashing } from '../core/ports.ts';
import { ObjectTable } from './object-table.ts';

const MAGIC = 'thimble check state 1\n';
/** No head that this wrote is longer. */
const MAX_HEAD_BYTES = 4096;
const ENTRY_BYTES = 8;

/** What was checked; a state of another kind of check says nothing about this one. */
export interface CheckKind {
  readonly fqrn: string;
  /** Every byte was read, not only looked whether it is there. */
  readonly data: boolean;
}

interface StateHead extends CheckKind {
  readonly startedSeconds: number;
  readonly completedSeconds?: number;
  readonly count: number;
  /** Of the entries: SHA-1, in hexadecimal. */
  readonly checksum: string;
}

export class CheckState {
  readonly kind: CheckKind;
  /** When the first of its entries was verified, or a little before. */
  readonly startedSeconds: number;
  /** When a check with this state came to its end for the first time. */
  completedSeconds: number | undefined;
  readonly #verified: ObjectTable;
  readonly #hashing: Hashing;

  constructor(
    kind: CheckKind,
    startedSeconds: number,
    hashing: Hashing,
    verified = new ObjectTable({ sizes: false }),
  ) {
    this.kind = kind;
    this.startedSeconds = startedSeconds;
    this.#hashing = hashing;
    this.#verified = verified;
  }

  /** Throws FORMAT for bytes that `encode` did not write, USAGE for the state of another check. */
  static decode(bytes: Bytes, kind: CheckKind, hashing: Hashing): CheckState {
    const { head, entries } = splitFile(bytes);
    if (head.fqrn !== kind.fqrn || head.data !== kind.data) {
      const what = `${head.fqrn} ${head.data ? 'with' : 'without'} --data`;
      throw new ThimbleError('USAGE', `Cannot go on with this state: it is of a check of ${what}`, {
        hint: 'name another file for this check',
      });
    }
    if (entries.length !== head.count * ENTRY_BYTES || checksumOf(hashing, entries) !== head.checksum) {
      throw damaged();
    }
    const state = new CheckState(kind, head.startedSeconds, hashing, ObjectTable.decode(entries));
    state.completedSeconds = head.completedSeconds;
    return state;
  }

  encode(): Bytes {
    const entries = this.#verified.encode();
    const head: StateHead = {
      ...this.kind,
      startedSeconds: this.startedSeconds,
      ...(this.completedSeconds === undefined ? {} : { completedSeconds: this.completedSeconds }),
      count: this.#verified.count,
      checksum: checksumOf(this.#hashing, entries),
    };
    return concatBytes([encodeUtf8(`${MAGIC}${JSON.stringify(head)}\n`), entries]);
  }

  /**
   * True when everything has to be looked at anew: it is that old, and one check at least came to its end with it. One that
   * never did would begin again and again.
   */
  isOlderThan(ageSeconds: number, nowSeconds: number): boolean {
    return this.completedSeconds !== undefined && nowSeconds - this.startedSeconds > ageSeconds;
  }

  get count(): number {
    return this.#verified.count;
  }

  isVerified(hash: ContentHash, kind: string): boolean {
    return this.#verified.has(hash, kind);
  }

  add(hash: ContentHash, kind: string): void {
    this.#verified.add(hash, kind);
  }

  isTreeVerified(catalog: ContentHash, mountpoint: string): boolean {
    return this.isVerified(this.#treeId(catalog, mountpoint), 'tree');
  }

  /** A catalog, the objects in it, and all catalogs below it. */
  addTree(catalog: ContentHash, mountpoint: string): void {
    this.add(this.#treeId(catalog, mountpoint), 'tree');
  }

  /** The same catalog would be wrong in another place. */
  #treeId(catalog: ContentHash, mountpoint: string): ContentHash {
    return contentHashOf('sha1', this.#hashing.digest('sha1', encodeUtf8(`${catalog} ${mountpoint}`)));
  }
}

function splitFile(bytes: Bytes): { head: StateHead; entries: Bytes } {
  const start = byteStringOf(bytes, 0, Math.min(bytes.length, MAX_HEAD_BYTES));
  const end = start.indexOf('\n', MAGIC.length);
  if (!start.startsWith(MAGIC) || end < 0) throw damaged();
  let head: Readonly<Record<string, unknown>>;
  try {
    head = (JSON.parse(start.slice(MAGIC.length, end)) ?? {}) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw damaged(error);
  }
  const { fqrn, data, startedSeconds, completedSeconds, count, checksum } = head;
  const isTime = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
  if (typeof fqrn !== 'string' || typeof data !== 'boolean' || typeof checksum !== 'string') throw damaged();
  if (!isTime(startedSeconds) || !isTime(count)) throw damaged();
  if (completedSeconds !== undefined && !isTime(completedSeconds)) throw damaged();
  return {
    head: {
      fqrn,
      data,
      startedSeconds,
      count,
      checksum,
      ...(completedSeconds === undefined ? {} : { completedSeconds }),
    },
    entries: bytes.subarray(end + 1),
  };
}

function checksumOf(hashing: Hashing, entries: Bytes): string {
  return encodeHex(hashing.digest('sha1', entries));
}

function damaged(cause?: unknown): ThimbleError {
  return new ThimbleError('FORMAT', 'Cannot go on with this state: it is damaged', {
    hint: 'remove it to check everything anew',
    cause,
  });
}
