/**
 * What a folder was when it was last published: for each entry its inode and the time of its last change (`st_ctime`, which
 * nobody can set). An entry for which both are as they were has not changed, and need not be read again; one that is missing
 * has been removed. One file per repository, of the folder that was published last:
 *
 *   a line of JSON · i64 inode and i64 ctime in nanoseconds, little-endian, per entry · the paths, ended by zero bytes
 */

import { closeSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { type ByteString, byteStringOf } from '../core/bytes/byte-string.ts';
import { type ContentHash, isContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { parentPath } from '../core/path-key.ts';

const VERSION = 1;
const WORDS_PER_ENTRY = 2;

const headerSchema = z.strictObject({
  version: z.literal(VERSION),
  folder: z.string(),
  into: z.string(),
  snapshot: z.string().refine(isContentHash),
  entries: z.int().min(0),
});

export interface FolderPlace {
  /** Absolute, without symlinks. */
  readonly folder: string;
  /** The directory of the repository that it was published as. */
  readonly into: string;
  readonly snapshot: ContentHash;
}

/** What tells that an entry is the one it was. */
export interface EntryStamp {
  readonly ino: bigint;
  readonly ctimeNs: bigint;
}

/** The entries of a folder as they were. */
export class RememberedFolder {
  readonly #stamps: BigInt64Array;
  readonly #paths: readonly ByteString[];
  readonly #positions = new Map<ByteString, number>();
  readonly #isThere: Uint8Array;

  constructor(stamps: BigInt64Array, paths: readonly ByteString[]) {
    this.#stamps = stamps;
    this.#paths = paths;
    this.#isThere = new Uint8Array(paths.length);
    for (const [position, path] of paths.entries()) this.#positions.set(path, position);
  }

  /** Says that an entry is there now. True if it has not changed. */
  isUnchanged(path: ByteString, { ino, ctimeNs }: EntryStamp): boolean {
    const position = this.#positions.get(path);
    if (position === undefined) return false;
    this.#isThere[position] = 1;
    const at = position * WORDS_PER_ENTRY;
    return this.#stamps[at] === BigInt.asIntN(64, ino) && this.#stamps[at + 1] === ctimeNs;
  }

  /** Entries of which nobody has said that they are there; of a directory that is gone, only the directory. */
  *gone(): Generator<ByteString> {
    for (const [position, path] of this.#paths.entries()) {
      if (this.#isThere[position] === 1) continue;
      const parent = this.#positions.get(parentPath(path));
      if (parent !== undefined && this.#isThere[parent] === 1) yield path;
    }
  }
}

const UNKNOWN: EntryStamp = { ino: -1n, ctimeNs: -1n };

/** Collects the stamps of a folder while it is read. */
export class FolderStamps {
  #words = new BigInt64Array(1024);
  readonly #paths: ByteString[] = [];

  /** Without a stamp, an entry counts as changed the next time. */
  add(path: ByteString, { ino, ctimeNs }: EntryStamp = UNKNOWN): void {
    const at = this.#paths.length * WORDS_PER_ENTRY;
    if (at === this.#words.length) {
      const larger = new BigInt64Array(2 * at);
      larger.set(this.#words);
      this.#words = larger;
    }
    this.#words[at] = BigInt.asIntN(64, ino);
    this.#words[at + 1] = ctimeNs;
    this.#paths.push(path);
  }

  /** The parts of the file, in order. */
  encode(place: FolderPlace): Buffer[] {
    const entries = this.#paths.length;
    const header = JSON.stringify({ version: VERSION, ...place, entries });
    const words = Buffer.from(
      this.#words.buffer,
      0,
      entries * WORDS_PER_ENTRY * BigInt64Array.BYTES_PER_ELEMENT,
    );
    return [
      Buffer.from(`${header}\n`),
      words,
      Buffer.from(this.#paths.map((path) => `${path}\0`).join(''), 'latin1'),
    ];
  }
}

/** Where the memory of a repository's last source is kept. */
export class FolderMemory {
  readonly #path: string;
  readonly #into: string;

  constructor(path: string, into: string) {
    this.#path = path;
    this.#into = into;
  }

  /** `undefined` unless this folder was published there, as this snapshot. A file that cannot be read is as good as none. */
  read(folder: string, snapshot: ContentHash): RememberedFolder | undefined {
    try {
      return decode(readFileSync(this.#path), { folder, into: this.#into, snapshot });
    } catch {
      // It only saves time.
      return undefined;
    }
  }

  /** Throws STORAGE. */
  write(folder: string, snapshot: ContentHash, stamps: FolderStamps): void {
    const temporary = `${this.#path}.new`;
    try {
      const fd = openSync(temporary, 'w', 0o600);
      try {
        for (const part of stamps.encode({ folder, into: this.#into, snapshot })) {
          for (let at = 0; at < part.length; ) at += writeSync(fd, part, at);
        }
      } finally {
        closeSync(fd);
      }
      renameSync(temporary, this.#path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw new ThimbleError('STORAGE', `Cannot write ${this.#path}`, { cause: error });
    }
  }
}

function decode(file: Buffer, { folder, into, snapshot }: FolderPlace): RememberedFolder | undefined {
  const end = file.indexOf('\n');
  const header = headerSchema.parse(JSON.parse(file.toString('utf8', 0, end)));
  if (header.folder !== folder || header.into !== into || header.snapshot !== snapshot) return undefined;
  const wordsEnd = end + 1 + header.entries * WORDS_PER_ENTRY * BigInt64Array.BYTES_PER_ELEMENT;
  // A copy: numbers have to be aligned.
  const words = new Uint8Array(file.subarray(end + 1, wordsEnd));
  const paths = byteStringOf(file.subarray(wordsEnd)).split('\0').slice(0, -1) as ByteString[];
  if (paths.length !== header.entries) return undefined;
  return new RememberedFolder(new BigInt64Array(words.buffer), paths);
}
