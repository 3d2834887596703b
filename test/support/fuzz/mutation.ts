/**
 * Inputs for decoders: random bytes, and valid samples with a few things wrong. All comes from a seed and a number, so one
 * input out of a million can be had again without the others.
 */

import { ascii, type Bytes, bytesOf, concatBytes } from '../../../src/core/bytes/byte-string.ts';

/** Small random numbers of 32 bits (mulberry32), for tests only. */
export class Dice {
  #state: number;

  constructor(seed: number, index: number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) | 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** At least 0, below `limit`; 0 for a limit of 0. */
  below(limit: number): number {
    return limit === 0 ? 0 : this.next() % limit;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

const BOUNDARY_BYTES = [0, 1, 2, 5, 0x0a, 0x0d, 0x20, 0x2f, 0x30, 0x7f, 0x80, 0xfe, 0xff];
const BOUNDARY_INTEGERS = [0n, 1n, -1n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0xffffn, 0x7fff_ffffn, 0x8000_0000n]
  .concat([0xffff_ffffn, 0x1_0000_0000n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n])
  .flatMap((value) => [value, value + 1n, value - 1n]);
const BOUNDARY_DIGITS = ['', '0', '-1', '00', '08', '255', '4294967295', '4294967296', '9007199254740993']
  .concat(['99999999999999999999', '0x10', '1e9', '1.5'])
  .map((text) => bytesOf(ascii(text)));
/** Nothing grows much beyond what it was made from. */
const MAX_GROWTH_BYTES = 8192;
const PAGE = 512;

/** Where a change strikes: anywhere, at the start, or at the start of a page, where headers are. */
function placeOf(dice: Dice, length: number): number {
  const where = dice.below(length);
  switch (dice.below(4)) {
    case 0:
      return Math.min(where, dice.below(128));
    case 1:
      return Math.min(length, where - (where % PAGE) + dice.below(16));
    default:
      return where;
  }
}

const splice = (bytes: Bytes, at: number, removed: number, inserted: Bytes): Bytes =>
  concatBytes([bytes.subarray(0, at), inserted, bytes.subarray(Math.min(bytes.length, at + removed))]);

function writeInteger(bytes: Bytes, at: number, dice: Dice): void {
  const width = dice.pick([1, 2, 3, 4, 8]);
  const fromLength = BigInt(bytes.length + dice.below(5) - 2);
  let value = BigInt.asUintN(64, dice.below(4) === 0 ? fromLength : dice.pick(BOUNDARY_INTEGERS));
  const isLittle = dice.below(2) === 0;
  for (let i = 0; i < width; i++, value >>= 8n) {
    const place = isLittle ? at + i : at + width - 1 - i;
    if (place < bytes.length) bytes[place] = Number(value & 0xffn);
  }
}

/** The number written in digits at or behind a place becomes another one. */
function replaceDigits(bytes: Bytes, at: number, dice: Dice): Bytes {
  const isDigit = (byte: number | undefined) => byte !== undefined && byte >= 0x30 && byte <= 0x39;
  let start = at;
  while (start < bytes.length && !isDigit(bytes[start])) start++;
  let end = start;
  while (isDigit(bytes[end])) end++;
  return end === start ? bytes : splice(bytes, start, end - start, dice.pick(BOUNDARY_DIGITS));
}

function repeatBlock(bytes: Bytes, at: number, dice: Dice): Bytes {
  const block = bytes.subarray(at, at + 1 + dice.below(dice.pick([8, 64, PAGE])));
  const most = Math.max(1, Math.floor(MAX_GROWTH_BYTES / 4 / Math.max(1, block.length)));
  return splice(bytes, at, 0, concatBytes(Array.from({ length: 1 + dice.below(most) }, () => block)));
}

type Mutation = (bytes: Bytes, at: number, dice: Dice, samples: readonly Bytes[]) => Bytes;

function inPlace(change: (bytes: Bytes, at: number, dice: Dice) => void): Mutation {
  return (bytes, at, dice) => {
    if (bytes.length > 0) change(bytes, Math.min(at, bytes.length - 1), dice);
    return bytes;
  };
}

const flip = inPlace((bytes, at, dice) => {
  bytes[at]! ^= 1 << dice.below(8);
});
const set = inPlace((bytes, at, dice) => {
  bytes[at] = dice.below(2) === 0 ? dice.pick(BOUNDARY_BYTES) : dice.below(256);
});
const integer = inPlace(writeInteger);
const copy = inPlace((bytes, at, dice) => {
  const from = dice.below(bytes.length);
  bytes.copyWithin(at, from, from + 1 + dice.below(64));
});

/** Bytes are changed far more often than lengths, which most decoders refuse at once. */
const MUTATIONS: readonly Mutation[] = [
  ...[flip, flip, flip, set, set, set, set, integer, integer, integer, copy],
  replaceDigits,
  (bytes, at) => new Uint8Array(bytes.subarray(0, at)),
  (bytes, at, dice) => splice(bytes, at, 1 + dice.below(64), new Uint8Array(0)),
  (bytes, at, dice) => splice(bytes, at, 0, randomBytes(dice, 1 + dice.below(16))),
  repeatBlock,
  (bytes, at, dice, samples) => {
    const other = dice.pick(samples);
    return concatBytes([bytes.subarray(0, at), other.subarray(placeOf(dice, other.length))]);
  },
];

function randomBytes(dice: Dice, length: number): Bytes {
  const isText = dice.below(2) === 0;
  return Uint8Array.from({ length }, () => (isText ? 0x20 + dice.below(0x5f) : dice.below(256)));
}

/** The input with a number: one of eight is random, the others are samples with up to 16 changes. */
export function inputOf(samples: readonly Bytes[], seed: number, index: number): Bytes {
  const dice = new Dice(seed, index);
  if (dice.below(8) === 0) return randomBytes(dice, dice.below(dice.pick([16, 64, 600])));
  const sample = dice.pick(samples);
  // Not `slice`: that of a Buffer is no copy.
  let bytes: Bytes = new Uint8Array(sample);
  for (let left = 1 + dice.below(dice.pick([2, 4, 16])); left > 0; left--) {
    const changed = dice.pick(MUTATIONS)(bytes, placeOf(dice, bytes.length), dice, samples);
    if (changed.length <= sample.length + MAX_GROWTH_BYTES) bytes = changed;
  }
  return bytes;
}
