import {
  constants,
  createPublicKey,
  type KeyObject,
  publicDecrypt,
  verify,
  X509Certificate,
} from 'node:crypto';
import { ThimbleError } from '../core/errors.ts';
import type { PublicKey, Signatures } from '../core/ports.ts';

const KINDS = { rsa: 'rsa-public-key', ed25519: 'ed25519-public-key' } as const;

class NodePublicKey implements PublicKey {
  readonly kind: PublicKey['kind'];
  readonly key: KeyObject;

  constructor(key: KeyObject, types: readonly (keyof typeof KINDS)[]) {
    const type = types.find((one) => one === key.asymmetricKeyType);
    if (type === undefined) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot use key: ${types.join(' or ')} expected, it is ${key.asymmetricKeyType}`,
      );
    }
    this.kind = KINDS[type];
    this.key = key;
  }
}

export const nodeSignatures: Signatures = {
  importPublicKey(pem) {
    try {
      return new NodePublicKey(createPublicKey(pem), ['rsa', 'ed25519']);
    } catch (error) {
      throw new ThimbleError('FORMAT', 'Cannot read public key', { cause: error });
    }
  },
  importCertificateKey(der) {
    try {
      return new NodePublicKey(new X509Certificate(der).publicKey, ['rsa']);
    } catch (error) {
      throw new ThimbleError('FORMAT', 'Cannot read certificate', { cause: error });
    }
  },
  verifyRsaSha1: (key, data, signature) => verify('RSA-SHA1', data, keyObject(key, 'rsa'), signature),
  recoverRsa(key, signature) {
    const rsa = keyObject(key, 'rsa');
    try {
      return publicDecrypt({ key: rsa, padding: constants.RSA_PKCS1_PADDING }, signature);
    } catch {
      // Wrong padding or wrong length: by definition not signed with this key.
      return undefined;
    }
  },
  // No digest is named: Ed25519 brings its own.
  verifyEd25519: (key, data, signature) => verify(null, data, keyObject(key, 'ed25519'), signature),
};

function keyObject(key: PublicKey, type: keyof typeof KINDS): KeyObject {
  if (key instanceof NodePublicKey && key.kind === KINDS[type]) return key.key;
  throw new ThimbleError('INTERNAL', `A public key of another platform or kind was passed in: ${key.kind}`);
}
