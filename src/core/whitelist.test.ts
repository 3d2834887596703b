import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { nodeHashing } from '../node/hashing.ts';
import { contentHashOf, HASH_ALGORITHMS } from './content-hash.ts';
import { formatSignedText } from './signed-text.ts';
import { formatWhitelist, isExpired, parseWhitelist, type Whitelist } from './whitelist.ts';

const FINGERPRINT = '46:0C:B1:F6:F1:BE:1D:DD:F0:B1:55:60:7A:1A:66:7B:A8:02:A8:50';
const HASH = '460cb1f6f1be1dddf0b155607a1a667ba802a850';
const HEAD = ['20231114221320', 'E20991231235959', 'Na.example.org'];

async function parse(lines: readonly string[]): Promise<Whitelist> {
  const bytes = await formatSignedText(nodeHashing, 'sha1', lines, () => new Uint8Array(256));
  return parseWhitelist(nodeHashing, bytes).whitelist;
}

test('parseWhitelist() undoes formatWhitelist()', async () => {
  // From year 100 on: `Date.UTC` takes smaller ones for the twentieth century.
  const seconds = fc.integer({ min: Date.UTC(100, 0, 1) / 1000, max: Date.UTC(9999, 11, 31) / 1000 });
  const hash = fc
    .tuple(fc.constantFrom(...HASH_ALGORITHMS), fc.uint8Array({ minLength: 20, maxLength: 20 }))
    .map(([algorithm, digest]) => contentHashOf(algorithm, digest));
  const whitelist = fc.record({
    createdSeconds: seconds,
    expiresSeconds: seconds,
    fqrn: fc.constantFrom('a.example.org', 'sft.cern.ch'),
    fingerprints: fc.array(hash),
  });
  await fc.assert(
    fc.asyncProperty(whitelist, fc.constantFrom('', 'Vpkcs7', 'a # b'), async (value, comment) => {
      assert.deepEqual(await parse(formatWhitelist(value, comment)), { ...value });
    }),
  );
});

test('parseWhitelist() reads literal lines, empty ones and comments among them', async () => {
  const lines = [...HEAD, '', '# a comment', `${FINGERPRINT} # mine`, HASH];
  assert.deepEqual(await parse(lines), {
    createdSeconds: 1_700_000_000,
    expiresSeconds: Date.UTC(2099, 11, 31, 23, 59, 59) / 1000,
    fqrn: 'a.example.org',
    fingerprints: [HASH, HASH],
  });
});

for (const [why, code, lines] of [
  ['that has one line', 'FORMAT', [HEAD[0]!]],
  ['with its second and third line swapped', 'FORMAT', [HEAD[0]!, HEAD[2]!, HEAD[1]!]],
  ['without a name', 'FORMAT', [HEAD[0]!, HEAD[1]!, FINGERPRINT]],
  ['with a creation time that is too short', 'FORMAT', ['2023111422132', HEAD[1]!, HEAD[2]!]],
  ['with an expiry that is too long', 'FORMAT', [HEAD[0]!, `${HEAD[1]}0`, HEAD[2]!]],
  ['that expires in a thirteenth month', 'FORMAT', [HEAD[0]!, 'E20991301000000', HEAD[2]!]],
  ['that expires on February 31', 'FORMAT', [HEAD[0]!, 'E20990231000000', HEAD[2]!]],
  ['that expires at 24 hours', 'FORMAT', [HEAD[0]!, 'E20990228240000', HEAD[2]!]],
  ['with a line that is no fingerprint', 'FORMAT', [...HEAD, 'AB:CD']],
  ['that is authenticated by PKCS#7', 'UNSUPPORTED', [...HEAD, 'Vpkcs7', FINGERPRINT]],
  ['that asks for certification authorities', 'UNSUPPORTED', [...HEAD, 'Wcachain', FINGERPRINT]],
] as const) {
  test(`parseWhitelist() refuses a whitelist ${why} with ${code}`, async () => {
    await assert.rejects(parse(lines), { name: 'ThimbleError', code });
  });
}

for (const [now, expired] of [
  [Date.UTC(2030, 5, 15, 11, 59, 59), false],
  [Date.UTC(2030, 5, 15, 12, 0, 0), true],
  [Date.UTC(2030, 5, 15, 12, 29, 59), true],
  [Date.UTC(2030, 5, 15, 13, 0, 0), true],
  [Date.UTC(2030, 5, 16, 1, 0, 0), true],
  [Date.UTC(2029, 11, 31, 23, 0, 0), false],
] as const) {
  const when = new Date(now).toISOString();
  test(`isExpired() is ${expired} at ${when} for an expiry at 12:30, as the reference compares hours`, async () => {
    const whitelist = await parse([HEAD[0]!, 'E20300615123000', HEAD[2]!]);
    assert.equal(isExpired(whitelist, now / 1000), expired);
  });
}
