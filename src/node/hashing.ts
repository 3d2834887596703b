import { createHash, hash as hashOnce } from 'node:crypto';
import type { DigestAlgorithm, Hashing } from '../core/ports.ts';

/** OpenSSL's names; shake128 is squeezed to the 160 bits that repositories use. */
const OPENSSL: Record<DigestAlgorithm, string> = {
  md5: 'md5',
  sha1: 'sha1',
  rmd160: 'ripemd160',
  shake128: 'shake128',
};
const SHAKE_BYTES = 20;

export const nodeHashing: Hashing = {
  digest(algorithm, data) {
    if (algorithm === 'shake128') {
      return hashOnce('shake128', data, { outputEncoding: 'buffer', outputLength: SHAKE_BYTES });
    }
    return hashOnce(OPENSSL[algorithm], data, 'buffer');
  },
  createHasher(algorithm) {
    const hash =
      algorithm === 'shake128'
        ? createHash('shake128', { outputLength: SHAKE_BYTES })
        : createHash(OPENSSL[algorithm]);
    return { update: (chunk) => void hash.update(chunk), digest: () => hash.digest() };
  },
};
