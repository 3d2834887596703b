/**
 * Keys of a repository (docs/format.md#trust): the master key signs the whitelist, the repository key signs manifests, a
 * certificate carries the repository key's public half, and an Ed25519 key signs manifests once more.
 */

import {
  constants,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  privateEncrypt,
  sign,
  X509Certificate,
} from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { ed25519Message, formatEd25519Line, verifyEd25519Signature } from '../core/ed25519-signature.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';
import type { SignedManifest } from '../core/manifest.ts';
import { type TrustPorts, verifyManifestSignature } from '../core/trust.ts';
import { keyPaths, oldPath } from './key-paths.ts';
import { type AskPassphrase, encodePrivateKey, KeyOpener, writeKeyFile } from './private-keys.ts';
import { type KeyPair, selfSignedCertificate } from './self-signed-certificate.ts';

const RSA_BITS = 2048;

export interface RepositoryKeys {
  /** Read when it is first asked for: publishing does not need it, so it can be elsewhere. Throws as `KeyOpener.open`. */
  readonly masterKey: KeyObject;
  readonly repositoryKey: KeyObject;
  /** PEM, as it is published. */
  readonly certificate: Uint8Array;
  /** PEM of all that the whitelist lists: the one above, and during a change of keys the one before or after it. */
  readonly certificates: readonly Uint8Array[];
  /** Each signs every manifest; there are none in repositories without, and two during a change of keys. */
  readonly ed25519Keys: readonly KeyObject[];
  /** PEM, for clients. */
  readonly publicKey: Uint8Array;
}

export interface CreateKeysOptions {
  /** Protects the private keys. */
  readonly passphrase?: Uint8Array | undefined;
  /** Whether there is to be an Ed25519 key. */
  readonly ed25519?: boolean;
}

/** Makes all keys of a new repository. Existing files are never overwritten: throws CONFLICT; STORAGE. */
export async function createKeys(
  folder: string,
  fqrn: Fqrn,
  nowSeconds: number,
  { passphrase, ed25519 = true }: CreateKeysOptions = {},
): Promise<RepositoryKeys> {
  const paths = keyPaths(folder, fqrn);
  const taken = Object.values(paths).find((path) => existsSync(path));
  if (taken !== undefined) throw new ThimbleError('CONFLICT', `Cannot write key file ${taken}: it exists`);
  const [master, repository] = await Promise.all([generateRsa(), generateRsa()]);
  const certificate = await selfSignedCertificate(repository, fqrn, nowSeconds);
  writeKeyFile(paths.masterKey, encodePrivateKey(master.privateKey, passphrase), 0o600);
  writeKeyFile(paths.repositoryKey, encodePrivateKey(repository.privateKey, passphrase), 0o600);
  writeKeyFile(paths.publicKey, encodePublicKey(master.publicKey), 0o644);
  writeKeyFile(paths.certificate, certificate, 0o644);
  if (ed25519) {
    const { privateKey, publicKey } = await generateEd25519();
    writeKeyFile(paths.ed25519Key, encodePrivateKey(privateKey, passphrase), 0o600);
    writeKeyFile(paths.ed25519PublicKey, encodePublicKey(publicKey), 0o644);
  }
  // All of them are read once, so that none is published that cannot be used.
  return { ...loadKeys(folder, fqrn, passphrase === undefined ? undefined : () => passphrase) };
}

export function generateRsa(): Promise<KeyPair> {
  return promisify(generateKeyPair)('rsa', { modulusLength: RSA_BITS });
}

export function generateEd25519(): Promise<KeyPair> {
  return promisify(generateKeyPair)('ed25519');
}

export function encodePublicKey(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }) as string;
}

/** Throws NOT_FOUND, FORMAT, USAGE as `KeyOpener.open` does. */
export function loadKeys(folder: string, fqrn: Fqrn, ask?: AskPassphrase): RepositoryKeys {
  const opener = new KeyOpener(ask);
  const paths = keyPaths(folder, fqrn);
  const next = keyPaths(folder, fqrn, 'next');
  const repositoryKey = opener.open(paths.repositoryKey, 'rsa');
  const certificates = listedCertificates(folder, fqrn);
  // A change of keys that was cut off may have moved the key and not yet its certificate.
  const certificate = certificates.find((pem) => carries(pem, repositoryKey));
  if (certificate === undefined) {
    throw new ThimbleError(
      'FORMAT',
      `Cannot use key file ${paths.repositoryKey}: no certificate belongs to it`,
      {
        hint: `${paths.certificate} has to be made from it`,
      },
    );
  }
  const ed25519Keys = [paths.ed25519Key, next.ed25519Key]
    .filter((path) => existsSync(path))
    .map((path) => opener.open(path, 'ed25519'));
  let masterKey: KeyObject | undefined;
  return {
    get masterKey() {
      masterKey ??= openMasterKey(opener, paths.masterKey);
      return masterKey;
    },
    repositoryKey,
    certificate,
    certificates,
    ed25519Keys,
    publicKey: readKeyFile(paths.publicKey),
  };
}

/** Throws as `KeyOpener.open` does; where there is no such file, it says what to do without. */
export function openMasterKey(opener: KeyOpener, path: string): KeyObject {
  if (existsSync(path)) return opener.open(path, 'rsa');
  throw new ThimbleError('NOT_FOUND', `Cannot sign the whitelist: there is no master key ${path}`, {
    hint: 'give it with --master-key FILE, or sign where it is: see thimble repo resign --help',
  });
}

/** PEM of the certificates that belong on the whitelist. Throws NOT_FOUND. */
export function listedCertificates(folder: string, fqrn: Fqrn): Uint8Array[] {
  const { certificate } = keyPaths(folder, fqrn);
  const others = [keyPaths(folder, fqrn, 'next').certificate, oldPath(certificate)];
  const all = [certificate, ...others.filter((path) => existsSync(path))].map((path) => readKeyFile(path));
  // In the middle of a change one may be there twice.
  return all.filter((pem, at) => all.findIndex((other) => Buffer.from(other).equals(pem)) === at);
}

/** Throws NOT_FOUND. */
export function readKeyFile(path: string, what = 'key file'): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read ${what} ${path}`, { cause: error });
  }
}

function carries(certificatePem: Uint8Array, privateKey: KeyObject): boolean {
  try {
    return new X509Certificate(certificatePem).checkPrivateKey(privateKey);
  } catch {
    // No certificate, so not one of this key.
    return false;
  }
}

// ---- signatures ----

/** The manifest's signature: RSASSA-PKCS1-v1_5 with SHA-1 over the characters of the hash. */
export function signManifest({ repositoryKey }: Pick<RepositoryKeys, 'repositoryKey'>, hashText: Uint8Array) {
  return sign('RSA-SHA1', hashText, repositoryKey);
}

/** The lines of a manifest, and behind them a signature of each Ed25519 key over them. */
export function withEd25519({ ed25519Keys }: Pick<RepositoryKeys, 'ed25519Keys'>, lines: readonly string[]) {
  const message = ed25519Message(lines);
  return [
    ...lines,
    ...ed25519Keys.map((key) => formatEd25519Line(sign(null, message, key).toString('base64'))),
  ];
}

/** The whitelist's signature: the hash text itself under PKCS#1 type 1 padding, without a digest. */
export function signWhitelist({ masterKey }: Pick<RepositoryKeys, 'masterKey'>, hashText: Uint8Array) {
  return privateEncrypt({ key: masterKey, padding: constants.RSA_PKCS1_PADDING }, hashText);
}

/**
 * Checks that a manifest was signed by these keys: by that of any certificate in use, and if there are Ed25519 keys, by one
 * of them. Throws INTEGRITY, TRUST.
 */
export function verifyOwnManifest(
  ports: TrustPorts,
  signed: SignedManifest,
  keys: Pick<RepositoryKeys, 'certificates' | 'ed25519Keys'>,
): void {
  verifyOwnCertificate(ports, signed, keys);
  if (keys.ed25519Keys.length === 0) return;
  const publicKeys = keys.ed25519Keys.map((key) =>
    ports.signatures.importPublicKey(encodePublicKey(createPublicKey(key))),
  );
  try {
    verifyEd25519Signature(ports.signatures, signed, publicKeys);
  } catch (error) {
    throw new ThimbleError('TRUST', `Cannot go on from the manifest of ${signed.manifest.fqrn}`, {
      hint: `if nobody else wrote it, sign it again: thimble repo resign ${signed.manifest.fqrn} --manifest`,
      cause: error,
    });
  }
}

/** Checks the signature that every manifest has. Throws INTEGRITY. */
export function verifyOwnCertificate(
  ports: TrustPorts,
  signed: SignedManifest,
  { certificates }: Pick<RepositoryKeys, 'certificates'>,
): void {
  let failure: unknown;
  for (const certificate of certificates) {
    try {
      verifyManifestSignature(ports, signed, certificate);
      return;
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}
