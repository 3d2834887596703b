import type { KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { ThimbleError } from '../core/errors.ts';
import { keyPaths, oldPath } from './key-paths.ts';
import type { KeyPlace } from './key-place.ts';
import { encodePrivateKey, KeyOpener, type PrivateKeyType, writeKeyFile } from './private-keys.ts';

/**
 * Protects all private keys that are here by another passphrase, or by none, and answers which. Each file is replaced whole;
 * if this is cut off, it can be begun again with the same two passphrases. Throws NOT_FOUND, USAGE, FORMAT, STORAGE.
 */
export function changePassphrase(
  { settings, folder, ask }: KeyPlace,
  passphrase: Uint8Array | undefined,
): readonly string[] {
  const files = privateKeyFiles(folder, settings.fqrn).filter(([path]) => existsSync(path));
  if (files.length === 0) throw new ThimbleError('NOT_FOUND', `Cannot find a private key in ${folder}`);
  const opener = new KeyOpener(ask);
  const again = new KeyOpener(passphrase === undefined ? undefined : () => passphrase);
  // All of them before the first is changed: a wrong passphrase changes nothing.
  const keys = files.map(([path, type]) => ({ path, key: openEither(opener, again, path, type) }));
  for (const { path, key } of keys) {
    writeKeyFile(path, encodePrivateKey(key, passphrase), 0o600, { replace: true });
  }
  return keys.map(({ path }) => path);
}

/** The private key files that may be here. */
export function privateKeyFiles(
  folder: string,
  fqrn: KeyPlace['settings']['fqrn'],
): readonly (readonly [path: string, type: PrivateKeyType])[] {
  const both = [keyPaths(folder, fqrn), keyPaths(folder, fqrn, 'next')];
  return [
    ...both.flatMap(
      ({ masterKey, repositoryKey, ed25519Key }) =>
        [
          [masterKey, 'rsa'],
          [repositoryKey, 'rsa'],
          [ed25519Key, 'ed25519'],
        ] as const,
    ),
    [oldPath(keyPaths(folder, fqrn).masterKey), 'rsa'],
  ];
}

/** With the old passphrase, or with the new one, which a run that was cut off may have given the file already. */
function openEither(opener: KeyOpener, again: KeyOpener, path: string, type: PrivateKeyType): KeyObject {
  try {
    return opener.open(path, type);
  } catch (error) {
    try {
      return again.open(path, type);
    } catch {
      // What is wrong with the old one says more.
      throw error;
    }
  }
}
