/** Signs whitelists (docs/format.md#whitelist) and publishes them. */

import { createPublicKey, type KeyObject } from 'node:crypto';
import { existsSync, utimesSync } from 'node:fs';
import { decodePemCertificate } from '../core/certificate.ts';
import { type HashAlgorithm, hashBytes } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';
import type { Clock, Hashing, Signatures } from '../core/ports.ts';
import { formatSignedText } from '../core/signed-text.ts';
import { importPublicKeys, verifyCertificate, verifyWhitelist } from '../core/trust.ts';
import {
  formatWhitelist,
  parseWhitelist,
  type SignedWhitelist,
  WHITELIST_PATH,
  type Whitelist,
} from '../core/whitelist.ts';
import { openStorage } from '../storage/open-storage.ts';
import type { Storage } from '../storage/storage.ts';
import { storageLocation } from '../storage/storage-location.ts';
import { keyPaths } from './key-paths.ts';
import type { KeyPlace } from './key-place.ts';
import {
  listedCertificates,
  openMasterKey,
  type RepositoryKeys,
  readKeyFile,
  signWhitelist,
} from './keys.ts';
import { KeyOpener } from './private-keys.ts';
import type { RepositorySettings } from './repository-settings.ts';

const SECONDS_PER_DAY = 24 * 3600;

export interface WhitelistPorts {
  readonly hashing: Hashing;
  readonly signatures: Signatures;
  readonly clock: Clock;
}

export interface WhitelistRequest {
  readonly fqrn: Fqrn;
  readonly hashAlgorithm: HashAlgorithm;
  readonly days: number;
}

/** A whitelist of these certificates, valid from now on. Throws FORMAT for what is no certificate. */
export async function makeWhitelist(
  { fqrn, hashAlgorithm, days }: WhitelistRequest,
  keys: Pick<RepositoryKeys, 'masterKey' | 'certificates'>,
  { hashing, clock }: Pick<WhitelistPorts, 'hashing' | 'clock'>,
): Promise<{ readonly whitelist: Whitelist; readonly bytes: Uint8Array }> {
  const nowSeconds = clock.unixSeconds();
  const whitelist = {
    createdSeconds: nowSeconds,
    expiresSeconds: nowSeconds + days * SECONDS_PER_DAY,
    fqrn,
    fingerprints: keys.certificates.map((pem) =>
      hashBytes(hashing, hashAlgorithm, decodePemCertificate(pem)),
    ),
  };
  const lines = formatWhitelist(whitelist, 'publisher');
  const bytes = await formatSignedText(hashing, hashAlgorithm, lines, (text) => signWhitelist(keys, text));
  parseWhitelist(hashing, bytes);
  return { whitelist, bytes };
}

/** Signs a whitelist of the certificates in use and publishes it. Throws as `makeWhitelist`, and STORAGE. */
export async function writeWhitelist(
  settings: RepositorySettings,
  keys: Pick<RepositoryKeys, 'masterKey' | 'certificates'>,
  ports: Pick<WhitelistPorts, 'hashing' | 'clock'>,
  days: number = settings.whitelistDays,
): Promise<Whitelist> {
  const { whitelist, bytes } = await makeWhitelist({ ...settings, days }, keys, ports);
  await withStorage(settings, (storage) => storage.replace(WHITELIST_PATH, bytes));
  return whitelist;
}

export interface ResignOptions {
  readonly days?: number | undefined;
  /** Where the master key is, if not beside the others. */
  readonly masterKeyFile?: string | undefined;
}

/** Publishes a new whitelist of all certificates in use. Throws USAGE for a master key that no client here has. */
export async function resignWhitelist(
  place: KeyPlace,
  { days, masterKeyFile }: ResignOptions,
  ports: WhitelistPorts,
): Promise<Whitelist> {
  const { settings, folder, ask } = place;
  const path = masterKeyFile ?? keyPaths(folder, settings.fqrn).masterKey;
  const masterKey = openMasterKey(new KeyOpener(ask), path);
  if (!masterPublicKeys(place).some((pem) => isPublicHalf(pem, masterKey))) {
    throw new ThimbleError(
      'USAGE',
      `Cannot sign with ${path}: it is not the master key of ${settings.fqrn}`,
      {
        hint: `clients have ${keyPaths(folder, settings.fqrn).publicKey}`,
      },
    );
  }
  const certificates = listedCertificates(folder, settings.fqrn);
  const request = { ...settings, days: days ?? settings.whitelistDays };
  const { whitelist, bytes } = await makeWhitelist(request, { masterKey, certificates }, ports);
  await publishWhitelist(place, bytes, ports);
  return whitelist;
}

/** Publishes a whitelist that was signed elsewhere. Throws as `verifyWhitelist` and `verifyCertificate` do. */
export async function installWhitelist(
  place: KeyPlace,
  bytes: Uint8Array,
  ports: WhitelistPorts,
): Promise<Whitelist> {
  const { fqrn } = place.settings;
  const signed = parseWhitelist(ports.hashing, bytes);
  const keys = masterPublicKeys(place).flatMap((pem) => importPublicKeys(ports.signatures, pem));
  verifyWhitelist(ports, signed, fqrn, keys, ports.clock.unixSeconds());
  for (const certificate of listedCertificates(place.folder, fqrn))
    verifyCertificate(ports, signed, certificate);
  await publishWhitelist(place, bytes, ports);
  return signed.whitelist;
}

/** What is published now, not verified; `undefined` if nothing is, or nothing that can be read. Throws STORAGE. */
export async function readWhitelist(
  settings: RepositorySettings,
  { hashing }: Pick<WhitelistPorts, 'hashing'>,
): Promise<SignedWhitelist | undefined> {
  const bytes = await withStorage(settings, (storage) => storage.read(WHITELIST_PATH));
  try {
    return bytes === undefined ? undefined : parseWhitelist(hashing, bytes);
  } catch {
    // A damaged one lists nothing, and has to be replaceable.
    return undefined;
  }
}

/** Whether a whitelist has a certificate. */
export function isListed(
  ports: Pick<WhitelistPorts, 'hashing' | 'signatures'>,
  whitelist: SignedWhitelist | undefined,
  certificatePem: Uint8Array,
): boolean {
  if (whitelist === undefined) return false;
  try {
    verifyCertificate(ports, whitelist, certificatePem);
    return true;
  } catch {
    // The one thing it throws for.
    return false;
  }
}

export function isPublicHalf(publicPem: Uint8Array, privateKey: KeyObject): boolean {
  return createPublicKey(Buffer.from(publicPem)).equals(createPublicKey(privateKey));
}

/** The master keys that clients may have: today's, and the one after it. */
function masterPublicKeys({ folder, settings }: KeyPlace): Uint8Array[] {
  const next = keyPaths(folder, settings.fqrn, 'next').publicKey;
  return [keyPaths(folder, settings.fqrn).publicKey, ...(existsSync(next) ? [next] : [])].map((path) =>
    readKeyFile(path),
  );
}

/** Notes when the whitelist began to have the next certificate: by the time of its file. */
async function publishWhitelist(
  { settings, folder }: KeyPlace,
  bytes: Uint8Array,
  ports: WhitelistPorts,
): Promise<void> {
  const next = keyPaths(folder, settings.fqrn, 'next').certificate;
  const pem = existsSync(next) ? readKeyFile(next) : undefined;
  const wasListed = pem !== undefined && isListed(ports, await readWhitelist(settings, ports), pem);
  await withStorage(settings, (storage) => storage.replace(WHITELIST_PATH, bytes));
  if (pem !== undefined && !wasListed) stamp(next, ports.clock);
}

/** Makes a file as old as the step of a change of keys that it belongs to. */
export function stamp(path: string, clock: Pick<Clock, 'unixSeconds'>): void {
  const now = clock.unixSeconds();
  utimesSync(path, now, now);
}

async function withStorage<T>(
  settings: RepositorySettings,
  action: (storage: Storage) => Promise<T>,
): Promise<T> {
  const storage = openStorage(storageLocation(settings.storage));
  try {
    return await action(storage);
  } finally {
    await storage.close();
  }
}
