import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { fileScope } from '../../test/support/file-scope.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { nodeHashing } from '../node/hashing.ts';
import { createKeys } from '../publish/keys.ts';
import {
  type Blacklist,
  EMPTY_BLACKLIST,
  parseBlacklists,
  verifyCertificateNotListed,
  verifyRevisionNotListed,
} from './blacklist.ts';
import { ascii, bytesOf } from './bytes/byte-string.ts';
import { decodePemCertificate } from './certificate.ts';
import { formatFingerprint, HASH_ALGORITHMS, hashBytes } from './content-hash.ts';
import type { Fqrn } from './fqrn.ts';

const FQRN = 'os.example.org' as Fqrn;
const scope = fileScope();
let certificate: Uint8Array;
let other: Uint8Array;

before(async () => {
  certificate = (await createKeys(`${scratchFolder(scope)}/a`, FQRN, 0)).certificate;
  other = (await createKeys(`${scratchFolder(scope)}/b`, FQRN, 0)).certificate;
});

const parse = (...files: readonly string[]): Blacklist =>
  parseBlacklists(files.map((file) => bytesOf(ascii(file))));

test('parseBlacklists() reads fingerprints, revisions, comments and empty lines', () => {
  const { fingerprints, firstRevisions } = parse(
    '# lost in March\n8B:A3:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:CE # laptop\n\n<os.example.org 17\n<b.example.org 0',
  );
  assert.deepEqual(fingerprints, ['8ba300112233445566778899aabbccddeeff00ce']);
  assert.deepEqual(
    [...firstRevisions],
    [
      ['os.example.org', 17],
      ['b.example.org', 0],
    ],
  );
});

test('parseBlacklists() takes several files as one, and of several numbers the greatest', () => {
  const { firstRevisions } = parse('<os.example.org 9\n<os.example.org 3\n', '<os.example.org 5\n<a.b 1');
  assert.deepEqual(
    [...firstRevisions],
    [
      ['os.example.org', 9],
      ['a.b', 1],
    ],
  );
  assert.deepEqual(parse(), EMPTY_BLACKLIST);
});

for (const line of [
  '<os.example.org',
  '<os.example.org  17',
  '<os.example.org 17 ',
  '<os.example.org 17 # why',
  '<os.example.org 17\r',
  '<os.example.org -1',
  '<os.example.org 0x11',
  '<os.example.org 99999999999999999',
  '< 17',
  '<example 17',
  ' <os.example.org 17',
  'os.example.org 17',
  '8B:A3',
  ' # indented',
  '\u00ff',
]) {
  test(`parseBlacklists() refuses the line ${JSON.stringify(line)} rather than pass over it`, () => {
    assert.throws(() => parse(`# first\n${line}\n`), {
      code: 'FORMAT',
      message: 'Cannot read line 2 of the blacklist',
    });
  });
}

test('parseBlacklists() reads any bytes or refuses them', () => {
  const line = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.constantFrom(...['<a.b 1', '#', '<', 'AB:']).map(Buffer.from),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 5 }), (lines) => {
      const file = Buffer.concat(lines.flatMap((one) => [one, Buffer.from('\n')]));
      try {
        parseBlacklists([file]);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'FORMAT');
      }
    }),
  );
});

for (const algorithm of HASH_ALGORITHMS) {
  test(`a certificate is refused by its fingerprint in ${algorithm}, and no other is`, () => {
    const hash = hashBytes(nodeHashing, algorithm, decodePemCertificate(certificate));
    const list = parse(`${formatFingerprint(hash)} # stolen`);
    assert.throws(() => verifyCertificateNotListed(nodeHashing, list, FQRN, certificate), {
      code: 'TRUST',
      message: `Cannot trust manifest of ${FQRN}: its certificate is on the blacklist`,
      details: { fingerprint: hash },
    });
    verifyCertificateNotListed(nodeHashing, list, FQRN, other);
    verifyCertificateNotListed(nodeHashing, EMPTY_BLACKLIST, FQRN, certificate);
  });
}

test('revisions below the number are refused, of that repository only', () => {
  const list = parse(`<${FQRN} 17`);
  assert.throws(() => verifyRevisionNotListed(list, FQRN, 16), {
    code: 'TRUST',
    message: `Cannot use revision 16 of ${FQRN}: the blacklist refuses those before 17`,
  });
  verifyRevisionNotListed(list, FQRN, 17);
  verifyRevisionNotListed(list, 'other.example.org', 1);
  verifyRevisionNotListed(EMPTY_BLACKLIST, FQRN, 0);
});
