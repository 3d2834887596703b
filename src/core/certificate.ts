/** X.509 certificates, as far as the trust chain needs them: PEM armour, fingerprint, public key. */

import { type Bytes, byteStringOf } from './bytes/byte-string.ts';
import { decodeBase64 } from './bytes/hex.ts';
import { ThimbleError } from './errors.ts';

/** Inflated certificates are a few kB; guards inflating. */
export const MAX_CERTIFICATE_BYTES = 256 * 1024;

/** DER of the first certificate in a PEM file. Throws FORMAT. */
export function decodePemCertificate(pem: Bytes): Bytes {
  const match = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/.exec(
    byteStringOf(pem),
  );
  if (match === null)
    throw new ThimbleError('FORMAT', 'Cannot read certificate: there is no PEM block CERTIFICATE');
  return decodeBase64(match[1]!);
}
