/**
 * The trust chain (docs/format.md#trust): a master key signs the whitelist, the whitelist names certificates, a
 * certificate's key signs the manifest, the manifest names the root catalog, and everything below is named by hash.
 */

import { type Bytes, byteStringOf, equalBytes } from './bytes/byte-string.ts';
import { decodePemCertificate } from './certificate.ts';
import { algorithmOf, hashBytes } from './content-hash.ts';
import { ThimbleError } from './errors.ts';
import type { SignedManifest } from './manifest.ts';
import type { Hashing, PublicKey, Signatures } from './ports.ts';
import { signedBytes } from './signed-text.ts';
import { isExpired, type SignedWhitelist } from './whitelist.ts';

export interface TrustPorts {
  readonly hashing: Hashing;
  readonly signatures: Signatures;
}

/** Throws TRUST unless the manifest is for `fqrn`. */
export function verifyManifestName({ manifest }: SignedManifest, fqrn: string): void {
  if (manifest.fqrn === fqrn) return;
  throw new ThimbleError(
    'TRUST',
    `Cannot trust manifest: it is of ${JSON.stringify(manifest.fqrn)}, ${fqrn} expected`,
    {
      hint: 'check the address: it should end with the name of the repository',
    },
  );
}

/** Checks the manifest's signature with the certificate that it names. Throws INTEGRITY, FORMAT. */
export function verifyManifestSignature(
  { hashing, signatures }: TrustPorts,
  { manifest, signed }: SignedManifest,
  certificatePem: Bytes,
): void {
  const key = signatures.importCertificateKey(decodePemCertificate(certificatePem));
  // The hash was compared when the manifest was read; the signature is over its characters.
  if (signatures.verifyRsaSha1(key, signedBytes(signed.hash), signed.signature)) return;
  throw new ThimbleError(
    'INTEGRITY',
    `Cannot trust manifest of ${manifest.fqrn}: its signature does not match`,
    {
      details: { hash: hashBytes(hashing, 'sha1', certificatePem) },
    },
  );
}

/** Throws TRUST for the wrong name, an expired whitelist, or a signature by none of the keys. */
export function verifyWhitelist(
  { signatures }: TrustPorts,
  { whitelist, signed }: SignedWhitelist,
  fqrn: string,
  masterKeys: readonly PublicKey[],
  nowSeconds: number,
): void {
  if (whitelist.fqrn !== fqrn) {
    throw new ThimbleError(
      'TRUST',
      `Cannot trust whitelist: it is of ${JSON.stringify(whitelist.fqrn)}, ${fqrn} expected`,
    );
  }
  const wanted = signedBytes(signed.hash);
  const isSigned = masterKeys.some((key) => {
    const recovered = signatures.recoverRsa(key, signed.signature);
    return recovered !== undefined && equalBytes(recovered, wanted);
  });
  if (!isSigned) {
    throw new ThimbleError(
      'TRUST',
      `Cannot trust whitelist of ${fqrn}: none of the ${masterKeys.length} given keys signed it`,
      {
        hint: 'check that the key belongs to this repository; the publisher has it as <name>.pub',
      },
    );
  }
  if (isExpired(whitelist, nowSeconds)) {
    const expiry = new Date(whitelist.expiresSeconds * 1000).toISOString().slice(0, 19);
    throw new ThimbleError('TRUST', `Cannot trust whitelist of ${fqrn}: it expired at ${expiry}Z`, {
      hint: 'the publisher has to sign it again; if it should still be valid, check the clock of this machine',
    });
  }
}

/** Throws TRUST unless the whitelist has the certificate. */
export function verifyCertificate(
  { hashing }: TrustPorts,
  { whitelist }: SignedWhitelist,
  certificatePem: Bytes,
): void {
  const der = decodePemCertificate(certificatePem);
  const isListed = whitelist.fingerprints.some((hash) => hashBytes(hashing, algorithmOf(hash), der) === hash);
  if (isListed) return;
  throw new ThimbleError(
    'TRUST',
    `Cannot trust manifest of ${whitelist.fqrn}: its certificate is not in the whitelist`,
  );
}

/** Reads PEM public keys, of RSA and Ed25519, several in one file too. Throws FORMAT. */
export function importPublicKeys(signatures: Signatures, pem: Bytes): PublicKey[] {
  const blocks = byteStringOf(pem).match(
    /-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----/g,
  );
  if (blocks === null) throw new ThimbleError('FORMAT', 'Cannot read key: there is no PEM block PUBLIC KEY');
  return blocks.map((block) => signatures.importPublicKey(block));
}
