import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { fixturePath } from '../../../test/support/fixtures.ts';
import { HASH_ALGORITHMS } from '../content-hash.ts';
import * as flags from './flags.ts';

const vectors = JSON.parse(readFileSync(fixturePath('format-vectors/vectors.json'), 'utf8')) as {
  flags: Readonly<Record<string, number>>;
};

const { FLAG_BIND_MOUNTPOINT, FLAG_CHUNKED, FLAG_DIRECTORY, FLAG_EXTERNAL, FLAG_FILE, FLAG_HIDDEN } = flags;
const { FLAG_NESTED_MOUNTPOINT, FLAG_NESTED_ROOT, FLAG_SPECIAL, FLAG_SYMLINK } = flags;
const { compressionFlags, compressionOfFlags, hashAlgorithmFlags, hashAlgorithmOfFlags } = flags;

const COMPOSED: Readonly<Record<string, number>> = {
  dir: FLAG_DIRECTORY,
  transition: FLAG_DIRECTORY | FLAG_NESTED_MOUNTPOINT,
  nested_root: FLAG_DIRECTORY | FLAG_NESTED_ROOT,
  bind_mountpoint: FLAG_DIRECTORY | FLAG_BIND_MOUNTPOINT,
  hidden_transition: FLAG_DIRECTORY | FLAG_NESTED_MOUNTPOINT | FLAG_HIDDEN,
  hidden_nested_root: FLAG_DIRECTORY | FLAG_NESTED_ROOT | FLAG_HIDDEN,
  file: FLAG_FILE,
  file_none: FLAG_FILE | compressionFlags('none'),
  file_shake128: FLAG_FILE | hashAlgorithmFlags('shake128'),
  file_rmd160: FLAG_FILE | hashAlgorithmFlags('rmd160'),
  chunked: FLAG_FILE | FLAG_CHUNKED,
  chunked_shake128: FLAG_FILE | FLAG_CHUNKED | hashAlgorithmFlags('shake128'),
  chunked_none_external: FLAG_FILE | FLAG_CHUNKED | FLAG_EXTERNAL | compressionFlags('none'),
  symlink: FLAG_FILE | FLAG_SYMLINK,
  special: FLAG_FILE | FLAG_SPECIAL,
};

test('the flags compose to the values of the format vectors', () =>
  assert.deepEqual(COMPOSED, vectors.flags));

test('hash algorithm and compression are read back from among all other flags', () => {
  for (const algorithm of HASH_ALGORITHMS) {
    for (const compression of ['zlib', 'none'] as const) {
      const all = hashAlgorithmFlags(algorithm) | compressionFlags(compression);
      for (const other of [0, 0xff, 0x3_c000, ~0x3f00]) {
        assert.equal(hashAlgorithmOfFlags(all | other), algorithm);
        assert.equal(compressionOfFlags(all | other), compression);
      }
    }
  }
});

test('hash algorithms and compressions that are not known are refused', () => {
  for (let id = 3; id < 8; id++) {
    assert.throws(() => hashAlgorithmOfFlags(id << 8), { name: 'ThimbleError', code: 'UNSUPPORTED' });
  }
  for (let id = 2; id < 8; id++) {
    assert.throws(() => compressionOfFlags(id << 11), { name: 'ThimbleError', code: 'UNSUPPORTED' });
  }
});
