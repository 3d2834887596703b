/** Certificates for servers that speak TLS, trusted by this process for as long as it runs. */

import 'reflect-metadata';
import { randomUUID, webcrypto } from 'node:crypto';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 24 * 3600 * 1000;

export interface ServerCertificate {
  readonly key: string;
  readonly cert: string;
}

/** For a DNS name, valid from yesterday on for `days`; negative for one that has expired. */
export async function trustedCertificate(name: string, days = 1): Promise<ServerCertificate> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      // OpenSSL looks for trusted certificates by this, and stops at the first.
      name: `CN=${name}, OU=${randomUUID()}`,
      notBefore: new Date(now - (1 + Math.abs(days)) * DAY_MS),
      notAfter: new Date(now + days * DAY_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }])],
    },
    webcrypto,
  );
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const cert = certificate.toString('pem');
  setDefaultCACertificates([...getCACertificates('default'), cert]);
  return { key: `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----\n`, cert };
}
