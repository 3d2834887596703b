/**
 * Very many object names, compactly: digests lie side by side in one typed array, found by open addressing. Ten million
 * take 400 MB (as strings in a `Set` they would take four times that).
 */

import {
  algorithmOf,
  contentHashOf,
  DIGEST_BYTES,
  digestOf,
  HASH_ALGORITHMS,
  type HashAlgorithm,
  type ObjectType,
  objectPath,
  parseContentHash,
} from '../core/content-hash.ts';

/** A digest of five words, and one for what it is of; a slot where that is 0 is free. */
const WORDS = 6;
const KIND = WORDS - 1;
/** Only ever appended to: the position is part of the kind. */
const TYPES: readonly ObjectType[] = ['', 'C', 'H', 'X', 'M', 'P'];
const FIRST_SLOTS = 1024;
const MAX_LOAD = 0.7;

export interface ObjectName {
  readonly digest: Uint8Array;
  readonly algorithm: HashAlgorithm;
  readonly type: ObjectType;
}

const PATH = /^data\/([0-9a-f]{2})\/([0-9a-f]{38}(?:-rmd160|-shake128)?)([CHXMP]?)$/;

/** The object that is kept at a path below the repository; `undefined` for paths of anything else. */
export function parseObjectPath(path: string): ObjectName | undefined {
  const [, shard, rest, type] = PATH.exec(path) ?? [];
  if (shard === undefined || rest === undefined) return undefined;
  const hash = parseContentHash(shard + rest);
  return { digest: digestOf(hash), algorithm: algorithmOf(hash), type: type as ObjectType };
}

export class ObjectSet {
  #slots = FIRST_SLOTS;
  #words = new Uint32Array(FIRST_SLOTS * WORDS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Answers whether it was new. */
  add(digest: Uint8Array, algorithm: HashAlgorithm, type: ObjectType): boolean {
    const kind = kindOf(algorithm, type);
    const at = this.#find(digest, kind);
    if (this.#words[at + KIND] !== 0) return false;
    for (let word = 0; word < KIND; word++) this.#words[at + word] = wordOf(digest, word);
    this.#words[at + KIND] = kind;
    if (++this.#size > this.#slots * MAX_LOAD) this.#grow();
    return true;
  }

  has(digest: Uint8Array, algorithm: HashAlgorithm, type: ObjectType): boolean {
    return this.#words[this.#find(digest, kindOf(algorithm, type)) + KIND] !== 0;
  }

  /** Paths below the repository, in no order. Nothing may be added meanwhile. */
  *paths(): Generator<string> {
    const digest = new Uint8Array(DIGEST_BYTES);
    const view = new DataView(digest.buffer);
    for (let at = 0; at < this.#words.length; at += WORDS) {
      const kind = this.#words[at + KIND]!;
      if (kind === 0) continue;
      for (let word = 0; word < KIND; word++) view.setUint32(word * 4, this.#words[at + word]!);
      const algorithm = HASH_ALGORITHMS[(kind - 1) % HASH_ALGORITHMS.length]!;
      const type = TYPES[Math.floor((kind - 1) / HASH_ALGORITHMS.length)]!;
      yield objectPath(contentHashOf(algorithm, digest), type);
    }
  }

  /** Where it is, or where it would be put. Digests are random already: their first word says where to look. */
  #find(digest: Uint8Array, kind: number): number {
    const words = this.#words;
    const mask = this.#slots - 1;
    for (let slot = wordOf(digest, 0) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * WORDS;
      const found = words[at + KIND];
      if (found === 0) return at;
      if (found === kind && hasDigest(words, at, digest)) return at;
    }
  }

  #grow(): void {
    const old = this.#words;
    this.#slots *= 2;
    const words = new Uint32Array(this.#slots * WORDS);
    const mask = this.#slots - 1;
    for (let from = 0; from < old.length; from += WORDS) {
      if (old[from + KIND] === 0) continue;
      let slot = old[from]! & mask;
      while (words[slot * WORDS + KIND] !== 0) slot = (slot + 1) & mask;
      for (let word = 0; word < WORDS; word++) words[slot * WORDS + word] = old[from + word]!;
    }
    this.#words = words;
  }
}

function kindOf(algorithm: HashAlgorithm, type: ObjectType): number {
  return 1 + TYPES.indexOf(type) * HASH_ALGORITHMS.length + HASH_ALGORITHMS.indexOf(algorithm);
}

function hasDigest(words: Uint32Array, at: number, digest: Uint8Array): boolean {
  for (let word = 0; word < KIND; word++) if (words[at + word] !== wordOf(digest, word)) return false;
  return true;
}

/** Big-endian. */
function wordOf(digest: Uint8Array, word: number): number {
  const at = word * 4;
  return ((digest[at]! << 24) | (digest[at + 1]! << 16) | (digest[at + 2]! << 8) | digest[at + 3]!) >>> 0;
}
