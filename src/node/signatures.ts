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

class NodePublicKey implements PublicKey {
  readonly kind = 'rsa-public-key';
  readonly key: KeyObject;

  constructor(key: KeyObject) {
    if (key.asymmetricKeyType !== 'rsa') {
      throw new ThimbleError('FORMAT', `Cannot use key: RSA expected, it is ${key.asymmetricKeyType}`);
    }
    this.key = key;
  }
}

export const nodeSignatures: Signatures = {
  importPublicKey(pem) {
    try {
      return new NodePublicKey(createPublicKey(pem));
    } catch (error) {
      throw new ThimbleError('FORMAT', 'Cannot read public key', { cause: error });
    }
  },
  importCertificateKey(der) {
    try {
      return new NodePublicKey(new X509Certificate(der).publicKey);
    } catch (error) {
      throw new ThimbleError('FORMAT', 'Cannot read certificate', { cause: error });
    }
  },
  verifyRsaSha1: (key, data, signature) => verify('RSA-SHA1', data, keyObject(key), signature),
  recoverRsa(key, signature) {
    try {
      return publicDecrypt({ key: keyObject(key), padding: constants.RSA_PKCS1_PADDING }, signature);
    } catch {
      // Wrong padding or wrong length: by definition not signed with this key.
      return undefined;
    }
  },
};

function keyObject(key: PublicKey): KeyObject {
  if (key instanceof NodePublicKey) return key.key;
  throw new ThimbleError('INTERNAL', 'A public key of another platform was passed in');
}
