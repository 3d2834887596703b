/** Runs a decoder over many inputs, and makes an input that it fails on as small as it gets. */

import type { Bytes } from '../../../src/core/bytes/byte-string.ts';
import { type Decoder, isRefusal } from './decoders.ts';
import { inputOf } from './mutation.ts';

export interface Finding {
  readonly index: number;
  readonly input: Bytes;
  readonly error: unknown;
}

export interface FuzzOptions {
  readonly seed: number;
  readonly inputs: number;
  /** Called before each input. */
  readonly onInput?: (index: number) => void;
}

const TURN_INPUTS = 64;

/** The first input that is neither decoded nor refused; `undefined` if there is none. */
export async function findFailure(
  decoder: Decoder,
  { seed, inputs, onInput }: FuzzOptions,
): Promise<Finding | undefined> {
  for (let index = 0; index < inputs; index++) {
    onInput?.(index);
    // What Node puts off until the current work is done would pile up.
    if (index % TURN_INPUTS === 0) await new Promise((resolve) => setImmediate(resolve));
    const input = inputOf(decoder.samples, seed, index);
    const error = await failureOf(decoder, input);
    if (error !== undefined) return { index, input: inputOf(decoder.samples, seed, index), error };
  }
  return undefined;
}

/** What a decoder throws, if it may not throw that. */
export async function failureOf(decoder: Decoder, input: Bytes): Promise<unknown> {
  try {
    const answer = decoder.decode(input);
    // Waiting for what is here already would take longer than most decoders.
    if (answer instanceof Promise) await answer;
    return undefined;
  } catch (error) {
    return isRefusal(error, decoder) ? undefined : (error ?? new Error('nothing was thrown'));
  }
}

/** Removes what does not matter from an input, as long as it fails with the same kind of error. */
export async function minimised(decoder: Decoder, { input, error }: Finding): Promise<Bytes> {
  const kind = kindOf(error);
  const stillFails = async (bytes: Bytes) => kindOf(await failureOf(decoder, new Uint8Array(bytes))) === kind;
  let smallest = input;
  for (let length = input.length >> 1; length > 0; length >>= 1) {
    for (let at = 0; at + length <= smallest.length; ) {
      const without = new Uint8Array(smallest.length - length);
      without.set(smallest.subarray(0, at));
      without.set(smallest.subarray(at + length), at);
      if (await stillFails(without)) smallest = without;
      else at += length;
    }
  }
  return smallest;
}

function kindOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const place = /\n\s+at [^\n]*/.exec(error.stack ?? '')?.[0] ?? '';
  return `${error.name} ${(error as NodeJS.ErrnoException).code ?? ''} ${place}`;
}
