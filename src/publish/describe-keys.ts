/** What is known of the keys of a repository without opening any private key. */

import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { decodePemCertificate } from '../core/certificate.ts';
import { formatFingerprint, hashBytes } from '../core/content-hash.ts';
import { messageOf } from '../core/errors.ts';
import { keyPaths, oldPath } from './key-paths.ts';
import type { KeyPlace } from './key-place.ts';
import { isProtected, OTHERS_MAY } from './private-keys.ts';
import { isListed, readWhitelist, type WhitelistPorts } from './whitelist-writer.ts';

export type KeyFileKind = 'private key' | 'public key' | 'certificate';

export interface KeyFileReport {
  readonly path: string;
  readonly kind: KeyFileKind;
  /** Such as `0600`. */
  readonly mode: string;
  /** What is wrong with the file; `null` if nothing is. */
  readonly problem: string | null;
  /** Of private keys, whether a passphrase protects it. */
  readonly isProtected: boolean | null;
  /** Of certificates as whitelists have it; of public keys `SHA256:` and base64, of the key in DER, as ssh-keygen writes them. */
  readonly fingerprint: string | null;
  /** Of certificates, whether the published whitelist has it. */
  readonly isListed: boolean | null;
}

export interface KeyReport {
  readonly fqrn: string;
  readonly folder: string;
  readonly files: readonly KeyFileReport[];
  /** `null` if there is none that can be read. */
  readonly whitelist: {
    readonly createdSeconds: number;
    readonly expiresSeconds: number;
    readonly fingerprints: readonly string[];
  } | null;
}

/** Throws STORAGE. */
export async function describeKeys(place: KeyPlace, ports: WhitelistPorts): Promise<KeyReport> {
  const { settings, folder } = place;
  const whitelist = await readWhitelist(settings, ports);
  const describe = (path: string, kind: KeyFileKind): KeyFileReport => {
    const stats = statSync(path);
    const mode = (stats.mode & 0o777).toString(8).padStart(4, '0');
    const none = { problem: null, isProtected: null, fingerprint: null, isListed: null };
    try {
      const pem = readFileSync(path);
      if (kind === 'private key') {
        const problem = (stats.mode & OTHERS_MAY) === 0 ? null : 'others may use it too: chmod 600';
        return { path, kind, mode, ...none, problem, isProtected: isProtected(pem) };
      }
      if (kind === 'public key') return { path, kind, mode, ...none, fingerprint: keyFingerprint(pem) };
      new X509Certificate(pem);
      const hash = hashBytes(ports.hashing, settings.hashAlgorithm, decodePemCertificate(pem));
      const listed = isListed(ports, whitelist, pem);
      return { path, kind, mode, ...none, fingerprint: formatFingerprint(hash), isListed: listed };
    } catch (error) {
      return { path, kind, mode, ...none, problem: messageOf(error) };
    }
  };
  return {
    fqrn: settings.fqrn,
    folder,
    files: keyFiles(place)
      .filter(([path]) => existsSync(path))
      .map(([path, kind]) => describe(path, kind)),
    whitelist:
      whitelist === undefined
        ? null
        : {
            createdSeconds: whitelist.whitelist.createdSeconds,
            expiresSeconds: whitelist.whitelist.expiresSeconds,
            fingerprints: whitelist.whitelist.fingerprints.map(formatFingerprint),
          },
  };
}

function keyFiles({ folder, settings }: KeyPlace): (readonly [path: string, kind: KeyFileKind])[] {
  const current = keyPaths(folder, settings.fqrn);
  const both = [current, keyPaths(folder, settings.fqrn, 'next')];
  return [
    ...both.flatMap(
      (paths) =>
        [
          [paths.masterKey, 'private key'],
          [paths.publicKey, 'public key'],
          [paths.repositoryKey, 'private key'],
          [paths.certificate, 'certificate'],
          [paths.ed25519Key, 'private key'],
          [paths.ed25519PublicKey, 'public key'],
        ] as const,
    ),
    [oldPath(current.masterKey), 'private key'],
    [oldPath(current.publicKey), 'public key'],
    [oldPath(current.certificate), 'certificate'],
  ];
}

function keyFingerprint(pem: Buffer): string {
  const der = createPublicKey(pem).export({ type: 'spki', format: 'der' });
  return `SHA256:${createHash('sha256').update(der).digest('base64').replace(/=+$/, '')}`;
}
