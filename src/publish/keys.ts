/**
 * Keys of a repository: the master key signs the whitelist, the repository key signs manifests, and a certificate carries
 * the repository key's public half (docs/format.md#trust).
 */

import {
  constants,
  createPrivateKey,
  generateKeyPair,
  type KeyObject,
  privateEncrypt,
  sign,
  webcrypto,
} from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';

const RSA_BITS = 2048;
const CERTIFICATE_YEARS = 30;

export interface RepositoryKeys {
  readonly masterKey: KeyObject;
  readonly repositoryKey: KeyObject;
  /** PEM, as it is published. */
  readonly certificate: Uint8Array;
  /** PEM, for clients. */
  readonly publicKey: Uint8Array;
}

interface KeyPaths {
  readonly masterKey: string;
  readonly publicKey: string;
  readonly repositoryKey: string;
  readonly certificate: string;
}

export function keyPaths(folder: string, fqrn: Fqrn): KeyPaths {
  const path = (extension: string) => join(folder, `${fqrn}.${extension}`);
  return {
    masterKey: path('masterkey'),
    publicKey: path('pub'),
    repositoryKey: path('key'),
    certificate: path('crt'),
  };
}

/** Makes all keys of a new repository. Existing files are never overwritten: throws CONFLICT. */
export async function createKeys(folder: string, fqrn: Fqrn, nowSeconds: number): Promise<RepositoryKeys> {
  const paths = keyPaths(folder, fqrn);
  const taken = Object.values(paths).find((path) => existsSync(path));
  if (taken !== undefined) throw new ThimbleError('CONFLICT', `Cannot write key file ${taken}: it exists`);
  const generate = promisify(generateKeyPair);
  const [master, repository] = await Promise.all([
    generate('rsa', { modulusLength: RSA_BITS }),
    generate('rsa', { modulusLength: RSA_BITS }),
  ]);
  const certificate = await selfSignedCertificate(
    repository.privateKey,
    repository.publicKey,
    fqrn,
    nowSeconds,
  );
  const write = (path: string, content: string, mode: number) => {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      chmodSync(folder, 0o700);
      writeFileSync(path, content, { mode, flag: 'wx' });
    } catch (error) {
      throw new ThimbleError('STORAGE', `Cannot write key file ${path}`, { cause: error });
    }
  };
  // PKCS#1, which the reference tools write and read.
  write(paths.masterKey, pem(master.privateKey, 'pkcs1'), 0o600);
  write(paths.repositoryKey, pem(repository.privateKey, 'pkcs1'), 0o600);
  write(paths.publicKey, pem(master.publicKey, 'spki'), 0o644);
  write(paths.certificate, certificate, 0o644);
  return loadKeys(folder, fqrn);
}

/** Throws NOT_FOUND, FORMAT. */
export function loadKeys(folder: string, fqrn: Fqrn): RepositoryKeys {
  const paths = keyPaths(folder, fqrn);
  return {
    masterKey: privateKey(paths.masterKey),
    repositoryKey: privateKey(paths.repositoryKey),
    certificate: keyFile(paths.certificate),
    publicKey: keyFile(paths.publicKey),
  };
}

/** The manifest's signature: RSASSA-PKCS1-v1_5 with SHA-1 over the characters of the hash. */
export function signManifest(keys: RepositoryKeys, hashText: Uint8Array): Uint8Array {
  return sign('RSA-SHA1', hashText, keys.repositoryKey);
}

/** The whitelist's signature: the hash text itself under PKCS#1 type 1 padding, without a digest. */
export function signWhitelist(keys: RepositoryKeys, hashText: Uint8Array): Uint8Array {
  return privateEncrypt({ key: keys.masterKey, padding: constants.RSA_PKCS1_PADDING }, hashText);
}

async function selfSignedCertificate(
  privateKeyObject: KeyObject,
  publicKeyObject: KeyObject,
  fqrn: Fqrn,
  nowSeconds: number,
): Promise<string> {
  // Loaded here only: it takes a tenth of a second, and certificates are made once in the life of a repository.
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
      privateKey: await subtle.importKey('pkcs8', der(privateKeyObject, 'pkcs8'), algorithm, false, ['sign']),
      publicKey: await subtle.importKey('spki', der(publicKeyObject, 'spki'), algorithm, true, ['verify']),
    },
  });
  return `${certificate.toString('pem')}\n`;
}

function pem(key: KeyObject, type: 'pkcs1' | 'spki'): string {
  return key.export({ type, format: 'pem' } as never) as string;
}

function keyFile(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read key file ${path}`, { cause: error });
  }
}

function privateKey(path: string): KeyObject {
  const bytes = keyFile(path);
  try {
    return createPrivateKey(Buffer.from(bytes));
  } catch (error) {
    throw new ThimbleError('FORMAT', `Cannot read key file ${path}: it is not a private key in PEM`, {
      cause: error,
    });
  }
}
