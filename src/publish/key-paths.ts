/** The names of the key files of a repository. Apart from what reads them: a mount needs no more. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Fqrn } from '../core/fqrn.ts';

export interface KeyPaths {
  readonly masterKey: string;
  readonly publicKey: string;
  readonly repositoryKey: string;
  readonly certificate: string;
  readonly ed25519Key: string;
  readonly ed25519PublicKey: string;
}

/** The key files of a repository; with `next`, those that will replace them at the end of a change of keys. */
export function keyPaths(folder: string, fqrn: Fqrn, which: 'current' | 'next' = 'current'): KeyPaths {
  const path = (extension: string) =>
    join(folder, which === 'next' ? `${fqrn}.next.${extension}` : `${fqrn}.${extension}`);
  return {
    masterKey: path('masterkey'),
    publicKey: path('pub'),
    repositoryKey: path('key'),
    certificate: path('crt'),
    ed25519Key: path('ed25519'),
    // Not `.pub`: readers of the reference take all such files of a folder, and know RSA alone.
    ed25519PublicKey: path('ed25519pub'),
  };
}

/** Where a file goes that a change of keys has replaced; no reader takes `--key DIR` for its name. */
export function oldPath(path: string): string {
  return `${path}.old`;
}

/** The public keys that readers on this machine go by: those in use, and those of a change of keys. */
export function publicKeyFiles(folder: string, fqrn: Fqrn): string[] {
  const current = keyPaths(folder, fqrn);
  const next = keyPaths(folder, fqrn, 'next');
  const others = [current.ed25519PublicKey, next.publicKey, next.ed25519PublicKey];
  return [current.publicKey, ...others.filter((path) => existsSync(path))];
}
