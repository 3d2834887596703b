import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContentHash } from './content-hash.ts';
import { type ErrorCode, ThimbleError } from './errors.ts';
import {
  decodeProfileIndex,
  encodeProfileIndex,
  isProfileName,
  MAX_PACK_BYTES,
  NO_PROFILES,
  objectsOfProfiles,
  type Profile,
  type ProfileIndex,
} from './profile-index.ts';

const hash = (digit: string) => `${digit.repeat(40)}-shake128` as ContentHash;

const PROFILE: Profile = {
  name: 'boot',
  rootCatalog: hash('a'),
  revision: 7,
  createdSeconds: 1_700_000_000,
  objects: 2,
  storedBytes: 30,
  sizeBytes: 90,
  table: hash('b'),
  packs: [{ hash: hash('c'), sizeBytes: 30 }],
};
const INDEX: ProfileIndex = { profiles: [PROFILE], retired: [{ hash: hash('d'), sinceSeconds: 5 }] };

test('an index reads back as it was written', () => {
  assert.deepEqual(decodeProfileIndex(encodeProfileIndex(INDEX)), INDEX);
  assert.deepEqual(decodeProfileIndex(encodeProfileIndex(NO_PROFILES)), NO_PROFILES);
});

test('an index leads to tables and packs', () => {
  assert.deepEqual([...objectsOfProfiles(INDEX)], [hash('b'), hash('c')]);
});

test('names of profiles can be used in commands and settings', () => {
  assert.deepEqual(['boot', 'a.b-c_2', '', '-x', 'a b', 'a/b', 'a'.repeat(65)].map(isProfileName), [
    true,
    true,
    false,
    false,
    false,
    false,
    false,
  ]);
});

const changed = (change: (index: Record<string, unknown>, profile: Record<string, unknown>) => void) => {
  const index = JSON.parse(Buffer.from(encodeProfileIndex(INDEX)).toString()) as Record<string, unknown>;
  change(index, (index['profiles'] as Record<string, unknown>[])[0]!);
  return Buffer.from(JSON.stringify(index));
};

const REFUSED: readonly [string, Uint8Array, ErrorCode][] = [
  ['no JSON', Buffer.from('{'), 'FORMAT'],
  ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'FORMAT'],
  ['a list', Buffer.from('[]'), 'FORMAT'],
  ['a later version', changed((index) => (index['version'] = 2)), 'UNSUPPORTED'],
  ['profiles that are no list', changed((index) => (index['profiles'] = {})), 'FORMAT'],
  ['a profile that is none', changed((index) => (index['profiles'] = [null])), 'FORMAT'],
  ['a name with a slash', changed((_, profile) => (profile['name'] = '../x')), 'FORMAT'],
  ['a name twice', changed((index) => (index['profiles'] = [PROFILE, PROFILE])), 'FORMAT'],
  ['a hash that is none', changed((_, profile) => (profile['table'] = 'b')), 'FORMAT'],
  ['a number that is none', changed((_, profile) => (profile['objects'] = -1)), 'FORMAT'],
  ['an empty pack', changed((_, p) => (p['packs'] = [{ hash: hash('c'), sizeBytes: 0 }])), 'LIMIT'],
  [
    'a pack that is too large',
    changed((_, p) => (p['packs'] = [{ hash: hash('c'), sizeBytes: MAX_PACK_BYTES + 1 }])),
    'LIMIT',
  ],
  ['very many profiles', changed((index) => (index['profiles'] = Array(300).fill(PROFILE))), 'LIMIT'],
  ['very many bytes', Buffer.alloc(5 * 1024 * 1024, ' '), 'LIMIT'],
];

for (const [what, bytes, code] of REFUSED) {
  test(`decodeProfileIndex() refuses ${what}`, () => {
    assert.throws(
      () => decodeProfileIndex(bytes),
      (error) => error instanceof ThimbleError && error.code === code,
    );
  });
}
