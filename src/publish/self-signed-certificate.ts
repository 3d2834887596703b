import { type KeyObject, webcrypto } from 'node:crypto';
import type { Fqrn } from '../core/fqrn.ts';

const CERTIFICATE_YEARS = 30;

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** PEM of the certificate of a repository key. What counts for clients is its place in the whitelist alone. */
export async function selfSignedCertificate(
  { privateKey, publicKey }: KeyPair,
  fqrn: Fqrn,
  nowSeconds: number,
): Promise<string> {
  // Loaded here only: it takes a tenth of a second, and certificates are made a few times in the life of a repository.
  await import('reflect-metadata');
  const { X509CertificateGenerator } = await import('@peculiar/x509');
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
  const { subtle } = webcrypto;
  const der = (key: KeyObject, type: 'pkcs8' | 'spki') =>
    key.export({ type, format: 'der' } as never) as Buffer;
  const notBefore = new Date(nowSeconds * 1000);
  const notAfter = new Date(notBefore);
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + CERTIFICATE_YEARS);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${fqrn} CernVM-FS Release Managers`,
    notBefore,
    notAfter,
    signingAlgorithm: algorithm,
    keys: {
      privateKey: await subtle.importKey('pkcs8', der(privateKey, 'pkcs8'), algorithm, false, ['sign']),
      publicKey: await subtle.importKey('spki', der(publicKey, 'spki'), algorithm, true, ['verify']),
    },
  });
  return `${certificate.toString('pem')}\n`;
}
