/** 64-bit integers of the outside world, narrowed once. */

import { ThimbleError } from '../errors.ts';

/** Throws LIMIT if `value` cannot be held exactly by a JavaScript number. */
export function toSafeNumber(value: bigint, what: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) {
    throw new ThimbleError('LIMIT', `Cannot use ${what}: ${value} is beyond 2^53`, { details: { value } });
  }
  return number;
}

/** The value of a signed 64-bit integer given as halves. Throws LIMIT beyond 2^53. */
export function safeNumberOfHalves(high: number, low: number, what: string): number {
  const number = high * 0x1_0000_0000 + (low >>> 0);
  if (!Number.isSafeInteger(number)) {
    throw new ThimbleError('LIMIT', `Cannot use ${what}: it is beyond 2^53`, { details: { high, low } });
  }
  return number;
}

/** Parses an unsigned decimal of at most 2^53. Throws FORMAT otherwise. */
export function parseUnsigned(text: string, what: string): number {
  const value = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) {
    throw new ThimbleError('FORMAT', `Cannot read ${what}: ${JSON.stringify(text)} is not a decimal number`);
  }
  return value;
}
