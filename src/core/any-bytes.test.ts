/** Whatever bytes a decoder gets, it decodes them or refuses them with a code: no other error, and no endless loop. */

import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DECODERS, type Decoder } from '../../test/support/fuzz/decoders.ts';
import { failureOf, findFailure, minimised } from '../../test/support/fuzz/fuzzing.ts';
import { inputOf } from '../../test/support/fuzz/mutation.ts';
import { text } from '../../test/support/fuzz/samples.ts';
import { ThimbleError } from './errors.ts';

const SEED = 20_260_101;
/** `npm run bench -- fuzz` takes a million. */
const INPUTS = 2000;
const MALFORMED = fileURLToPath(new URL('../../test/malformed/', import.meta.url));

describe('any bytes are decoded or refused', () => {
  for (const [name, decoder] of Object.entries(DECODERS)) {
    test(`by ${name}`, async () => {
      for (const sample of decoder.samples) await decoder.decode(new Uint8Array(sample));
      const inputs = decoder.testInputs ?? INPUTS;
      const finding = await findFailure(decoder, { seed: SEED, inputs });
      assert.ifError(finding?.error);
    });
  }

  for (const file of globSync('*/*.bin', { cwd: MALFORMED })) {
    test(`also ${file}, which once was not`, async () => {
      const decoder = DECODERS[dirname(file)];
      assert.ok(decoder !== undefined, 'the folder has the name of a decoder');
      assert.ifError(await failureOf(decoder, new Uint8Array(readFileSync(join(MALFORMED, file)))));
    });
  }
});

/** Fails on an A before a Z. */
const FAULTY: Decoder = {
  decode: (bytes) => {
    const [at, behind] = [bytes.indexOf(0x41), bytes.lastIndexOf(0x5a)];
    if (at >= 0 && at < behind) throw new TypeError('A before Z');
    throw new ThimbleError('FORMAT', 'nothing else is known');
  },
  samples: [text('xxxxxxxxxxxxxxxxxxxxxxZ'), text('xxxxxA')],
};

describe('the search for bytes that are not', () => {
  test('finds them, from the same seed the same ones, and makes them small', async () => {
    const finding = await findFailure(FAULTY, { seed: SEED, inputs: INPUTS });
    assert.ok(finding !== undefined);
    assert.deepEqual(finding.input, inputOf(FAULTY.samples, SEED, finding.index));
    assert.match(String(finding.error), /TypeError: A before Z/);
    assert.deepEqual(await minimised(FAULTY, finding), text('AZ'));
  });

  test('takes a code that a decoder does not have for a failure', async () => {
    const decode = () => {
      throw new ThimbleError('USAGE', 'not this one');
    };
    const samples = [text('x')];
    assert.notEqual(await failureOf({ decode, samples }, text('x')), undefined);
    assert.equal(await failureOf({ decode, samples, alsoRefuses: ['USAGE'] }, text('x')), undefined);
  });

  test('waits for decoders that answer later', async () => {
    const decode = () => Promise.reject(new RangeError('later'));
    assert.match(String(await failureOf({ decode, samples: [] }, text('x'))), /RangeError: later/);
  });

  test('never makes the same input of two numbers or seeds, as a rule', () => {
    const inputs = new Set<string>();
    for (const seed of [1, 2]) {
      for (let index = 0; index < 500; index++) {
        inputs.add(Buffer.from(inputOf([text('a sample of some length')], seed, index)).toString('hex'));
      }
    }
    assert.ok(inputs.size > 900, String(inputs.size));
  });
});
