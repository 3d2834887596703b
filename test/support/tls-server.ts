/** A web server with TLS, whose certificate is for `localhost`. */

import { KeyObject, webcrypto } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

export interface TlsServer {
  readonly port: number;
  /** In PEM; it vouches for itself. */
  readonly certificate: string;
  /** Paths that were asked for. */
  readonly paths: readonly string[];
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 86_400_000;

export async function startTlsServer(t: Pick<TestContext, 'after'>, body: string): Promise<TlsServer> {
  const { key, certificate } = await certificateForLocalhost();
  const paths: string[] = [];
  const server = createServer({ key, cert: certificate }, (request, answer) => {
    paths.push(request.url ?? '');
    answer.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, certificate, paths };
}

async function certificateForLocalhost(): Promise<{ key: string; certificate: string }> {
  await import('reflect-metadata');
  const { SubjectAlternativeNameExtension, X509CertificateGenerator } = await import('@peculiar/x509');
  const keys = (await webcrypto.subtle.generateKey(ALGORITHM, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=localhost',
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + DAY_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }])],
  });
  const key = KeyObject.from(keys.privateKey);
  return {
    key: key.export({ type: 'pkcs8', format: 'pem' }) as string,
    certificate: certificate.toString('pem'),
  };
}
