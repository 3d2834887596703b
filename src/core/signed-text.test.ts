import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { nodeHashing } from '../node/hashing.ts';
import { ascii, byteStringOf, bytesOf } from './bytes/byte-string.ts';
import { HASH_ALGORITHMS, hashBytes } from './content-hash.ts';
import { formatSignedText, MAX_SIGNED_TEXT_BYTES, parseSignedText, signedBytes } from './signed-text.ts';

const parse = (text: string) => parseSignedText(nodeHashing, bytesOf(ascii(text)), 'sample');
/** The hash line that belongs to a text. */
const hashOf = (text: string) => hashBytes(nodeHashing, 'sha1', bytesOf(ascii(text)));

test('parseSignedText() reads back what formatSignedText() wrote', async () => {
  const line = fc
    .string({ unit: fc.constantFrom(...'Ca1-- #:'), maxLength: 20 })
    .filter((text) => text !== '--');
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...HASH_ALGORITHMS),
      fc.array(line, { minLength: 1, maxLength: 10 }),
      fc.uint8Array({ maxLength: 256 }),
      async (algorithm, lines, signature) => {
        let covered: Uint8Array | undefined;
        const bytes = await formatSignedText(nodeHashing, algorithm, lines, (hashText) => {
          covered = hashText;
          return signature;
        });
        const parsed = parseSignedText(nodeHashing, bytes, 'sample');
        assert.deepEqual(parsed.lines, lines);
        assert.deepEqual(parsed.signature, signature);
        assert.deepEqual(signedBytes(parsed.hash), covered);
      },
    ),
  );
});

test('parseSignedText() reads literal bytes: text, separator, hash, signature', () => {
  const text = 'Cabc\n-- no separator\nNa.b\n';
  const { lines, hash, signature } = parse(`${text}--\n${hashOf(text)}\n\x00\n--\n\xff`);
  assert.deepEqual(lines, ['Cabc', '-- no separator', 'Na.b']);
  assert.equal(hash, hashOf(text));
  assert.equal(byteStringOf(signature), '\x00\n--\n\xff', 'everything behind the hash is the signature');
});

test('signedBytes() are the characters of the hash, suffix included', () => {
  const hash = hashBytes(nodeHashing, 'shake128', new Uint8Array(0));
  assert.equal(byteStringOf(signedBytes(hash)), '7f9c2ba4e88f827d616045507605853ed73b8093-shake128');
});

for (const [why, code, text] of [
  ['no separator', 'FORMAT', 'Cabc\nNa.b\n'],
  ['nothing', 'FORMAT', ''],
  ['no text before its separator', 'FORMAT', `--\n${hashOf('')}\nsignature`],
  ['a separator before its text', 'FORMAT', `--\nCabc\n--\n${hashOf('--\nCabc\n')}\nsignature`],
  ['its end right behind the separator', 'FORMAT', 'Cabc\n--\n'],
  ['a hash without a line feed', 'FORMAT', `Cabc\n--\n${hashOf('Cabc\n')}`],
  ['a hash line that is no hash', 'FORMAT', 'Cabc\n--\nabc\nsignature'],
  ['another hash than that of its text', 'INTEGRITY', `Cabd\n--\n${hashOf('Cabc\n')}\nsignature`],
  ['a hash that leaves out the last line feed', 'INTEGRITY', `Cabc\n--\n${hashOf('Cabc')}\nsignature`],
  ['too many bytes', 'LIMIT', 'C'.repeat(MAX_SIGNED_TEXT_BYTES + 1)],
] as const) {
  test(`parseSignedText() refuses ${why} with ${code}`, () => {
    assert.throws(() => parse(text), { name: 'ThimbleError', code, message: /sample/ });
  });
}

test('parseSignedText() refuses every single changed byte of text and hash', () => {
  const text = 'Cabc\nNa.b\n';
  const bytes = bytesOf(ascii(`${text}--\n${hashOf(text)}\n`));
  for (let at = 0; at < bytes.length; at++) {
    for (const flip of [0x01, 0x20, 0x80]) {
      const changed = bytes.slice();
      changed[at]! ^= flip;
      assert.throws(() => parseSignedText(nodeHashing, changed, 'sample'), { name: 'ThimbleError' });
    }
  }
});
